#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace podfence {

// What /proc/TID/stat says of a task (proc_pid_stat(5)).
struct TaskStat {
  uint32_t flags = 0;       // PF_…
  uint64_t start_time = 0;  // clock ticks since boot: with the id it names one task for ever

  bool IsKernelThread() const { return (flags & 0x00200000) != 0; }  // PF_KTHREAD
  bool IsBound() const { return (flags & 0x04000000) != 0; }         // PF_NO_SETAFFINITY
  static absl::StatusOr<TaskStat> Parse(std::string_view text);
};
// NotFound: the task is gone.
absl::StatusOr<TaskStat> ReadTaskStat(const std::string& proc_root, pid_t tid);

}  // namespace podfence
