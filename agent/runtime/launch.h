#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/cgroup/cgroup.h"
#include "agent/cgroup/unique_fd.h"
#include "agent/core/pod.h"

namespace podfence {

// A process as execve takes it.
struct Command {
  std::string executable;         // a path
  std::vector<std::string> argv;  // argv[0] as it was written
  std::vector<std::string> env;   // NAME=VALUE
  std::string working_dir = "/";
};

// The command of a container: command then args, with $(NAME) replaced by the container's variables as Kubernetes does
// (third_party/forked/golang/expansion: "$$" stands for "$", unknown names stay as they are); a program without a slash
// is looked for in PATH. The environment is PATH, HOSTNAME and the container's own variables, nothing of the agent's.
// InvalidArgument: no command, or the program is in none of PATH's directories.
absl::StatusOr<Command> BuildCommand(const Pod& pod, const Container& container);
// Replaces $(NAME) in text by values of "NAME=VALUE" entries, the last of a name counts.
std::string ExpandVariables(std::string_view text, const std::vector<std::string>& env);

// A process that was started.
struct Launched {
  pid_t pid = 0;
  UniqueFd pidfd;  // readable when it ended
  // Says, once the process is gone, why it could not execute its program; empty where it could (StartError).
  UniqueFd error_pipe;
};

// Starts command in the cgroup from its first instruction on (clone3 with CLONE_INTO_CGROUP, Linux 5.7), as a session
// of its own: signals as a fresh process has them, all CPUs of the cgroup allowed, stdin from /dev/null, stdout and
// stderr to `output`, no other descriptor. It does not end with the caller. Does not wait for execve.
absl::StatusOr<Launched> Launch(const Command& command, const Cgroup& cgroup, int output);

// Why execve did not happen, from the error pipe of a process that ended; empty: it did.
std::string StartError(const UniqueFd& error_pipe, const Command& command);

}  // namespace podfence
