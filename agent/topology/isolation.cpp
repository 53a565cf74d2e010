#include "agent/topology/isolation.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "agent/core/text.h"
#include "agent/topology/machine_json.h"

namespace podfence {
namespace {

using nlohmann::json;

constexpr size_t kMaxAnswer = size_t{16} << 20;
constexpr size_t kMaxSaid = size_t{16} << 10;

// A pipe whose ends close themselves.
class Pipe {
 public:
  Pipe() {
    if (pipe2(ends_, O_CLOEXEC) != 0) ends_[0] = ends_[1] = -1;
  }
  ~Pipe() {
    Close(0);
    Close(1);
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  bool ok() const { return ends_[0] >= 0; }
  int reader() const { return ends_[0]; }
  int writer() const { return ends_[1]; }
  void CloseReader() { Close(0); }
  void CloseWriter() { Close(1); }

 private:
  void Close(int end) {
    if (ends_[end] >= 0) close(ends_[end]);
    ends_[end] = -1;
  }
  int ends_[2] = {-1, -1};
};

void WriteAll(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(fd, text.data(), text.size());
    if (written < 0 && errno != EINTR) return;  // the parent has gone: nobody wants the answer
    if (written > 0) text.remove_prefix(static_cast<size_t>(written));
  }
}

void CleanEnvironment() {
  std::vector<std::string> names;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view variable = *entry;
    if (variable.starts_with("HWLOC_")) names.emplace_back(variable.substr(0, variable.find('=')));
  }
  for (const std::string& name : names) unsetenv(name.c_str());
}

void LimitResources() {
  const rlimit no_core = {0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
#ifndef __SANITIZE_ADDRESS__  // AddressSanitizer's shadow alone is larger than any limit
  const rlimit memory = {rlim_t{1} << 30, rlim_t{1} << 30};
  setrlimit(RLIMIT_AS, &memory);
#endif
}

std::string Encode(const absl::StatusOr<Machine>& machine) {
  json answer;
  if (machine.ok()) {
    answer = {{"name", machine->name}, {"offline", machine->offline.ToString()}, {"topology", MachineToJson(*machine)}};
  } else {
    answer = {{"code", static_cast<int>(machine.status().code())}, {"message", ToStd(machine.status().message())}};
  }
  return answer.dump(-1, ' ', false, json::error_handler_t::replace);
}

absl::StatusOr<Machine> Decode(const std::string& text) {
  const json answer = json::parse(text, nullptr, false);
  if (answer.is_discarded()) return absl::InternalError("the answer of the reading process is damaged");
  if (answer.contains("code")) {
    return absl::Status(static_cast<absl::StatusCode>(answer["code"].get<int>()), answer["message"].get<std::string>());
  }
  absl::StatusOr<Machine> machine = MachineFromJson(answer["topology"], answer["name"].get<std::string>());
  if (!machine.ok()) return machine;
  absl::StatusOr<CpuSet> offline = CpuSet::Parse(answer["offline"].get<std::string>());
  if (!offline.ok()) return offline.status();
  machine->offline = *std::move(offline);
  return machine;
}

[[noreturn]] void RunChild(const std::function<absl::StatusOr<Machine>()>& load, const Pipe& answer, const Pipe& said,
                           pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);
  dup2(said.writer(), STDERR_FILENO);
  CleanEnvironment();
  LimitResources();
  WriteAll(answer.writer(), Encode(load()));
  _exit(0);
}

// Takes what is there to read; false at the end of the stream, or where an answer grows beyond all sense.
bool Drain(int fd, std::string& text, size_t max, bool cut) {
  char buffer[8192];
  const ssize_t got = read(fd, buffer, sizeof(buffer));
  if (got < 0) return errno == EINTR;
  if (got == 0) return false;
  const size_t room = max - text.size();
  if (static_cast<size_t>(got) > room && !cut) return false;
  text.append(buffer, std::min(static_cast<size_t>(got), room));
  return true;
}

// Reads both pipes to their ends; false where the deadline came first.
bool ReadUntilEnd(const Pipe& answer_pipe, std::string& answer, const Pipe& said_pipe, std::string& said,
                  absl::Time deadline) {
  pollfd fds[] = {{answer_pipe.reader(), POLLIN, 0}, {said_pipe.reader(), POLLIN, 0}};
  while (fds[0].fd >= 0 || fds[1].fd >= 0) {
    const int64_t left = absl::ToInt64Milliseconds(deadline - absl::Now());
    if (left <= 0) return false;
    if (poll(fds, 2, static_cast<int>(std::min<int64_t>(left, 1000))) <= 0) continue;
    if (fds[0].revents != 0 && !Drain(fds[0].fd, answer, kMaxAnswer, false)) fds[0].fd = -1;
    if (fds[1].revents != 0 && !Drain(fds[1].fd, said, kMaxSaid, true)) fds[1].fd = -1;
  }
  return true;
}

absl::Status ErrnoStatus(const char* operation) {
  return absl::ErrnoToStatus(errno, Cat(operation, " for the process that reads the machine"));
}

}  // namespace

Isolated LoadIsolated(const std::function<absl::StatusOr<Machine>()>& load, absl::Duration limit) {
  Pipe answer_pipe;
  Pipe said_pipe;
  if (!answer_pipe.ok() || !said_pipe.ok()) return {ErrnoStatus("pipe"), ""};
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child < 0) return {ErrnoStatus("fork"), ""};
  if (child == 0) RunChild(load, answer_pipe, said_pipe, parent);
  answer_pipe.CloseWriter();
  said_pipe.CloseWriter();

  std::string answer;
  std::string said;
  const bool in_time = ReadUntilEnd(answer_pipe, answer, said_pipe, said, absl::Now() + limit);
  if (!in_time) kill(child, SIGKILL);
  // With the reader gone, a child that still writes ends by itself.
  answer_pipe.CloseReader();
  said_pipe.CloseReader();
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return {ErrnoStatus("waitpid"), std::move(said)};
  }
  if (!in_time) {
    return {absl::DeadlineExceededError(Cat("hwloc took longer than ", absl::FormatDuration(limit))), std::move(said)};
  }
  if (WIFSIGNALED(status)) {
    return {absl::InvalidArgumentError(Cat("hwloc crashed on it (", strsignal(WTERMSIG(status)), ")")),
            std::move(said)};
  }
  if (WEXITSTATUS(status) != 0) {
    return {absl::InvalidArgumentError(Cat("hwloc gave up on it (exit code ", WEXITSTATUS(status), ")")),
            std::move(said)};
  }
  return {Decode(answer), std::move(said)};
}

}  // namespace podfence
