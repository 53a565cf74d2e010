#pragma once

#include <cstdint>

namespace podfence {

// What the agent itself costs.
struct ProcessUsage {
  double cpu_seconds = 0;
  uint64_t resident_bytes = 0;
  uint64_t open_fds = 0;
};

// Reads it for the calling process from getrusage and /proc/self; a part that cannot be read is 0.
ProcessUsage ReadProcessUsage();

}  // namespace podfence
