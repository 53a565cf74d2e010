#include "agent/cgroup/task_stat.h"

#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "agent/cgroup/files.h"
#include "agent/core/text.h"

namespace podfence {

absl::StatusOr<TaskStat> TaskStat::Parse(std::string_view text) {
  // The name, in parentheses, may hold anything: the fields are counted from its end. Field 3 is the state.
  const size_t name_end = text.rfind(')');
  TaskStat stat;
  if (name_end != std::string_view::npos) {
    const std::vector<absl::string_view> fields =
        absl::StrSplit(ToAbsl(text.substr(name_end + 1)), ' ', absl::SkipEmpty());
    if (fields.size() > 19 && absl::SimpleAtoi(fields[6], &stat.flags) &&
        absl::SimpleAtoi(fields[19], &stat.start_time)) {
      return stat;
    }
  }
  return absl::DataLossError(Cat("\"", text.substr(0, 80), "\" is no line of /proc/PID/stat"));
}

absl::StatusOr<TaskStat> ReadTaskStat(const std::string& proc_root, pid_t tid) {
  const absl::StatusOr<std::string> text = ReadSmallFile(Cat(proc_root, "/", tid, "/stat"));
  if (!text.ok()) return text.status();
  return TaskStat::Parse(*text);
}

}  // namespace podfence
