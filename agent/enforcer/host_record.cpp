#include <charconv>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "agent/core/text.h"
#include "agent/enforcer/host_fence.h"

namespace podfence {
namespace {

constexpr std::string_view kMagic = "podfence-host-fence";
constexpr std::string_view kVersion = "1";
constexpr std::string_view kInherits = "-";

std::string ListText(const CpuSet& cpus) { return cpus.empty() ? std::string(kInherits) : cpus.ToString(); }

bool ParseList(absl::string_view text, CpuSet& cpus) {
  if (text == ToAbsl(kInherits)) return true;
  absl::StatusOr<CpuSet> list = CpuSet::Parse(ToStd(text));
  if (!list.ok()) return false;
  cpus = *std::move(list);
  return true;
}

bool ParseLine(absl::string_view line, HostRecord& record) {
  const std::vector<absl::string_view> fields = absl::StrSplit(line, absl::MaxSplits(' ', 3));
  CpuSet cpus;
  uint64_t number = 0;
  if (fields[0] == "workqueues" && fields.size() == 2) {
    if (!ParseList(fields[1], cpus)) return false;
    record.workqueues = std::move(cpus);
    return true;
  }
  if (fields.size() != 4) return false;
  if (fields[0] == "cgroup") {
    if (!absl::SimpleAtoi(fields[1], &number) || !ParseList(fields[2], cpus)) return false;
    record.cgroups[number] = {std::string(fields[3]), std::move(cpus)};
    return true;
  }
  pid_t tid = 0;
  if (fields[0] != "task" || !absl::SimpleAtoi(fields[1], &tid) || !absl::SimpleAtoi(fields[2], &number) ||
      !ParseList(fields[3], cpus)) {
    return false;
  }
  record.tasks[tid] = {number, std::move(cpus)};
  return true;
}

}  // namespace

std::string HostRecord::ToText(std::string_view boot_id) const {
  std::string text = Cat(kMagic, " ", kVersion, " ", boot_id, "\n");
  if (workqueues) text += Cat("workqueues ", ListText(*workqueues), "\n");
  for (const auto& [id, cgroup] : cgroups) {
    text += Cat("cgroup ", id, " ", ListText(cgroup.cpus), " ", cgroup.name, "\n");
  }
  for (const auto& [tid, task] : tasks) text += Cat("task ", tid, " ", task.start_time, " ", ListText(task.cpus), "\n");
  return text;
}

absl::StatusOr<HostRecord> HostRecord::Parse(std::string_view text, std::string_view boot_id) {
  HostRecord record;
  int number = 0;
  for (absl::string_view line : absl::StrSplit(ToAbsl(text), '\n', absl::SkipEmpty())) {
    ++number;
    if (number == 1) {
      const std::vector<absl::string_view> fields = absl::StrSplit(line, ' ');
      if (fields.size() != 3 || fields[0] != ToAbsl(kMagic) || fields[1] != ToAbsl(kVersion)) break;
      if (fields[2] != ToAbsl(boot_id)) return HostRecord();
      continue;
    }
    if (!ParseLine(line, record)) {
      return absl::DataLossError(Cat("host-fence, line ", number, ": \"", ToStd(line), "\" is damaged"));
    }
  }
  if (number == 0 || (number == 1 && !text.starts_with(Cat(kMagic, " ", kVersion, " ")))) {
    return absl::DataLossError(Cat("host-fence, line 1: no \"", kMagic, " ", kVersion, "\""));
  }
  return record;
}

}  // namespace podfence
