#include "agent/runtime/launch.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>

#include "agent/cgroup/descriptor_limit.h"
#include "agent/core/text.h"

namespace podfence {
namespace {

// What the child was doing when it failed, as it tells through the pipe.
enum class Stage : int { kSession, kDescriptors, kDirectory, kExecute };
struct Failure {
  Stage stage;
  int error;
};

std::vector<char*> Pointers(const std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  pointers.reserve(texts.size() + 1);
  for (const std::string& text : texts) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

// Everything the child needs, made before: after clone3 it may only make system calls, since other threads of the
// agent may hold any lock.
struct ChildPlan {
  const char* executable;
  char* const* argv;
  char* const* env;
  const char* working_dir;
  int null_fd;
  int output_fd;
  int error_fd;
  rlimit descriptors;
};

[[noreturn]] void Fail(const ChildPlan& plan, Stage stage) {
  const int error = errno;
  const Failure failure{stage, error};
  // Nobody may be left to read it; the exit code says it too, as shells do.
  [[maybe_unused]] const ssize_t ignored = write(plan.error_fd, &failure, sizeof(failure));
  _exit(stage == Stage::kExecute && error == ENOENT ? 127 : 126);
}

[[noreturn]] void RunChild(const ChildPlan& plan) {
  // The kernel's own call: glibc's refuses its two internal signals, which a parent may have left ignored. All zero is
  // SIG_DFL without flags.
  struct {
    void* handler;
    unsigned long flags;
    void* restorer;
    uint64_t mask;
  } standard = {};
  for (int signal = 1; signal < NSIG; ++signal) {
    syscall(SYS_rt_sigaction, signal, &standard, nullptr, sizeof standard.mask);
  }
  if (setsid() < 0) Fail(plan, Stage::kSession);
  if (dup2(plan.null_fd, STDIN_FILENO) < 0 || dup2(plan.output_fd, STDOUT_FILENO) < 0 ||
      dup2(plan.output_fd, STDERR_FILENO) < 0 || close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) != 0) {
    Fail(plan, Stage::kDescriptors);
  }
  // An affinity of the agent (the host fence sets one on it) would be inherited and for ever cut what the cgroup
  // allows.
  std::array<unsigned char, 1024> every_cpu;
  every_cpu.fill(0xff);
  sched_setaffinity(0, every_cpu.size(), reinterpret_cast<const cpu_set_t*>(every_cpu.data()));
  setrlimit(RLIMIT_NOFILE, &plan.descriptors);
  umask(022);
  if (chdir(plan.working_dir) != 0) Fail(plan, Stage::kDirectory);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  execve(plan.executable, plan.argv, plan.env);
  Fail(plan, Stage::kExecute);
}

// The value of the last entry of that name.
std::optional<std::string_view> ValueOf(const std::vector<std::string>& env, std::string_view name) {
  for (auto entry = env.rbegin(); entry != env.rend(); ++entry) {
    const std::string_view text = *entry;
    if (text.size() > name.size() && text.starts_with(name) && text[name.size()] == '=') {
      return text.substr(name.size() + 1);
    }
  }
  return std::nullopt;
}

absl::StatusOr<std::string> FindExecutable(const std::string& program, const std::vector<std::string>& env) {
  if (program.find('/') != std::string::npos) return program;
  const std::string_view path = ValueOf(env, "PATH").value_or("");
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find(':', begin), path.size());
    const std::string candidate = Cat(path.substr(begin, end - begin), "/", program);
    struct stat info {};
    if (stat(candidate.c_str(), &info) == 0 && S_ISREG(info.st_mode) && access(candidate.c_str(), X_OK) == 0) {
      return candidate;
    }
    begin = end + 1;
  }
  return absl::InvalidArgumentError(Cat("executable \"", program, "\" is in none of PATH's directories (", path, ")"));
}

}  // namespace

std::string ExpandVariables(std::string_view text, const std::vector<std::string>& env) {
  std::string result;
  for (size_t i = 0; i < text.size(); ++i) {
    const std::string_view rest = text.substr(i);
    if (rest.starts_with("$$")) {
      ++i;
    } else if (const size_t end = rest.starts_with("$(") ? rest.find(')') : std::string_view::npos;
               end != std::string_view::npos) {
      result += ValueOf(env, rest.substr(2, end - 2)).value_or(rest.substr(0, end + 1));
      i += end;
      continue;
    }
    result += text[i];
  }
  return result;
}

absl::StatusOr<Command> BuildCommand(const Pod& pod, const Container& container) {
  if (container.command.empty()) {
    return absl::InvalidArgumentError(
        Cat("container ", container.name, " of pod ", pod.FullName(),
            " has no command: images are not pulled here, so their entrypoint is not known. Give it a command"));
  }
  Command command;
  command.env = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", Cat("HOSTNAME=", pod.name)};
  for (const EnvVar& variable : container.env) {
    command.env.push_back(Cat(variable.name, "=", ExpandVariables(variable.value, command.env)));
  }
  for (const std::string& part : container.command) command.argv.push_back(ExpandVariables(part, command.env));
  for (const std::string& part : container.args) command.argv.push_back(ExpandVariables(part, command.env));
  if (!container.working_dir.empty()) command.working_dir = container.working_dir;
  absl::StatusOr<std::string> executable = FindExecutable(command.argv[0], command.env);
  if (!executable.ok()) return executable.status();
  command.executable = *std::move(executable);
  return command;
}

absl::StatusOr<Launched> Launch(const Command& command, const Cgroup& cgroup, int output) {
  const auto failed = [&](std::string_view what) {
    return absl::ErrnoToStatus(errno, Cat("start ", command.executable, " in ", cgroup.path(), ": ", what));
  };
  UniqueFd null(open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!null) return failed("open /dev/null");
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) != 0) return failed("pipe");
  UniqueFd error_read(ends[0]);
  UniqueFd error_write(ends[1]);

  const std::vector<char*> argv = Pointers(command.argv);
  const std::vector<char*> env = Pointers(command.env);
  const ChildPlan plan{command.executable.c_str(),
                       argv.data(),
                       env.data(),
                       command.working_dir.c_str(),
                       null.get(),
                       output,
                       error_write.get(),
                       DescriptorLimitBefore()};
  int pidfd = -1;
  clone_args args{};
  args.flags = CLONE_INTO_CGROUP | CLONE_PIDFD;
  args.pidfd = reinterpret_cast<uint64_t>(&pidfd);
  args.exit_signal = SIGCHLD;
  args.cgroup = static_cast<uint64_t>(cgroup.fd());

  // No handler of the agent may run in the child.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const long pid = syscall(SYS_clone3, &args, sizeof(args));
  if (pid == 0) RunChild(plan);
  const int error = errno;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  errno = error;
  if (pid < 0) return failed("clone3 into the cgroup");
  return Launched{static_cast<pid_t>(pid), UniqueFd(pidfd), std::move(error_read)};
}

std::string StartError(const UniqueFd& error_pipe, const Command& command) {
  Failure failure{};
  if (!error_pipe || read(error_pipe.get(), &failure, sizeof(failure)) != sizeof(failure)) return "";
  std::string_view what;
  switch (failure.stage) {
    case Stage::kSession: what = "new session"; break;
    case Stage::kDescriptors: what = "set up stdin, stdout and stderr"; break;
    case Stage::kDirectory: what = "enter workingDir"; break;
    case Stage::kExecute: what = "execute"; break;
  }
  const std::string& object = failure.stage == Stage::kDirectory ? command.working_dir : command.executable;
  return Cat(what, " ", object, ": ", strerror(failure.error));
}

}  // namespace podfence
