#pragma once

// CPU affinities of tasks and of unbound workqueues, as the host fence reads and sets them.

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "agent/core/cpu_set.h"

namespace podfence {

// NotFound: the task is gone. InvalidArgument from SetAffinity: the kernel does not let this task be moved.
absl::StatusOr<CpuSet> GetAffinity(pid_t tid);
absl::Status SetAffinity(pid_t tid, const CpuSet& cpus);

// The kernel's bitmap format of masks in /sys: words of 8 hex digits, the highest first, separated by commas.
absl::StatusOr<CpuSet> ParseHexMask(std::string_view text);
std::string ToHexMask(const CpuSet& cpus);

// What is left of `original` inside `limit`; all of limit where that is nothing.
CpuSet Confine(const CpuSet& original, const CpuSet& limit);

}  // namespace podfence
