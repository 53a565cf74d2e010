#pragma once

#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "agent/core/machine.h"

namespace podfence {

struct Isolated {
  absl::StatusOr<Machine> machine;
  std::string said;  // what load, or hwloc below it, wrote to stderr, at most 16 KiB
};

// Runs load in a child process and brings its answer back. hwloc 2.9's XML import dereferences null pointers on many
// damaged files, prints to stderr as it likes and obeys a score of environment variables; in a child a crash is an
// error that says so, the text is caught, the environment is clean, and time (kill after `limit`) and memory (1 GiB)
// have an end. An error that load returns keeps its code and message; a child that dies or hangs is InvalidArgument or
// DeadlineExceeded.
Isolated LoadIsolated(const std::function<absl::StatusOr<Machine>()>& load, absl::Duration limit);

}  // namespace podfence
