#include "tests/nri/go_runtime.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "agent/core/text.h"

namespace podfence {
namespace {

// The exit status of a shell command, and what it printed.
std::pair<int, std::string> Shell(const std::string& command) {
  FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  std::string text;
  std::array<char, 4096> buffer{};
  while (const size_t got = fread(buffer.data(), 1, buffer.size(), pipe)) text.append(buffer.data(), got);
  return {pclose(pipe), text};
}

GoRuntime::Program Built() {
  constexpr char kSource[] = PODFENCE_NRI_RUNTIME;
  const auto [no_go, version] = Shell("go env GOVERSION");
  if (no_go != 0) return {.missing = "Go is not installed (https://go.dev/dl): 1.24 or later is needed", .errors = ""};
  int minor = 0;
  if (std::sscanf(version.c_str(), "go1.%d", &minor) != 1 || minor < 24) {
    return {.missing = Cat("Go is ", version, ", but containerd/nri 0.12 needs 1.24 or later"), .errors = ""};
  }
  // Apart, for a machine without a network is no fault of the program.
  const auto [no_modules, why] = Shell(Cat("go -C ", kSource, " mod download"));
  if (no_modules != 0) {
    return {.missing = Cat("the modules of tests/nri/runtime cannot be downloaded: ", why), .errors = ""};
  }
  const auto [failed, errors] = Shell(Cat("go -C ", kSource, " build -o ", PODFENCE_NRI_PROGRAM, " ."));
  if (failed == 0) return {};
  return {.missing = "", .errors = Cat("go build: ", errors)};
}

}  // namespace

const GoRuntime::Program& GoRuntime::Build() {
  static const Program program = Built();
  return program;
}

GoRuntime::GoRuntime(sd_event* loop) : loop_(loop) {
  std::string pattern = testing::TempDir() + "/nri.XXXXXX";
  directory_ = mkdtemp(pattern.data());
  socket_ = directory_ + "/nri.sock";
}

GoRuntime::~GoRuntime() {
  Stop();
  std::filesystem::remove_all(directory_);
}

void GoRuntime::Start(const std::vector<std::string>& arguments) {
  std::array<int, 2> in{};
  std::array<int, 2> out{};
  ASSERT_EQ(pipe2(in.data(), O_CLOEXEC), 0);
  ASSERT_EQ(pipe2(out.data(), O_CLOEXEC), 0);
  std::vector<std::string> words = {PODFENCE_NRI_PROGRAM, "-socket", socket_};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  pid_ = fork();
  ASSERT_GE(pid_, 0);
  if (pid_ == 0) {
    dup2(in[0], STDIN_FILENO);
    dup2(out[1], STDOUT_FILENO);
    execv(argv[0], argv.data());
    _exit(127);
  }
  close(in[0]);
  close(out[1]);
  in_ = UniqueFd(in[1]);
  out_ = UniqueFd(out[0]);
  fcntl(out_.get(), F_SETFL, O_NONBLOCK);
  text_.clear();
  lines_.clear();
  ASSERT_FALSE(Await("listening").is_null());
}

void GoRuntime::Stop() {
  if (pid_ < 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

nlohmann::json GoRuntime::Relay(const std::string& event, const nlohmann::json& request) {
  const std::string line = event + " " + request.dump() + "\n";
  EXPECT_EQ(write(in_.get(), line.data(), line.size()), static_cast<ssize_t>(line.size()));
  nlohmann::json answer;
  Until([&] {
    const auto found = std::find_if(lines_.begin(), lines_.end(), [](const nlohmann::json& candidate) {
      return candidate.contains("reply") || candidate.contains("error");
    });
    if (found == lines_.end()) return false;
    answer = *found;
    lines_.erase(found);
    return true;
  });
  return answer;
}

nlohmann::json GoRuntime::Await(const std::string& key) {
  nlohmann::json value;
  Until([&] {
    const auto found =
        std::find_if(lines_.begin(), lines_.end(), [&](const nlohmann::json& line) { return line.contains(key); });
    if (found == lines_.end()) return false;
    value = (*found)[key];
    lines_.erase(found);
    return true;
  });
  return value;
}

bool GoRuntime::Until(const std::function<bool()>& holds) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!holds()) {
    if (std::chrono::steady_clock::now() > end) return false;
    sd_event_run(loop_, 1000);
    Read();
  }
  return true;
}

void GoRuntime::Read() {
  std::array<char, 65536> buffer{};
  ssize_t got = 0;
  while ((got = read(out_.get(), buffer.data(), buffer.size())) > 0) text_.append(buffer.data(), got);
  for (size_t end = 0; (end = text_.find('\n')) != std::string::npos; text_.erase(0, end + 1)) {
    lines_.push_back(nlohmann::json::parse(text_.substr(0, end)));
  }
}

}  // namespace podfence
