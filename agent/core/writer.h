#pragma once

#include <cstdint>
#include <string>

namespace podfence {

// Who wrote a control file, as it was then: the process may be gone, and its number another's.
struct Writer {
  int pid = 0;
  std::string comm;        // at most 15 bytes, whatever the process made them
  uint64_t cgroup_id = 0;  // its own cgroup
  uint64_t at_ns = 0;      // CLOCK_MONOTONIC
  friend bool operator==(const Writer&, const Writer&) = default;
};

}  // namespace podfence
