#include "agent/cgroup/control.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "agent/core/text.h"

namespace podfence {
namespace {

std::vector<absl::string_view> Fields(std::string_view text) {
  return absl::StrSplit(ToAbsl(text), absl::ByAnyChar(" \t\n"), absl::SkipEmpty());
}

absl::Status NotDocumented(std::string_view file, std::string_view text) {
  return absl::DataLossError(Cat(file, " says \"", text, "\", which is not its documented form"));
}

// Names the file's place in an error that parsing its text gave.
absl::Status At(const Cgroup& cgroup, std::string_view file, const absl::Status& status) {
  return absl::Status(status.code(), Cat(cgroup.path(), "/", file, ": ", ToStd(status.message())));
}

// Reads a file and parses its text.
template <typename T, typename Parser>
absl::StatusOr<T> ReadAs(const Cgroup& cgroup, std::string_view file, Parser&& parse) {
  const absl::StatusOr<std::string> text = cgroup.Read(file);
  if (!text.ok()) return text.status();
  absl::StatusOr<T> value = parse(*text);
  if (!value.ok()) return At(cgroup, file, value.status());
  return value;
}

absl::StatusOr<uint64_t> ParseNumber(std::string_view file, std::string_view text) {
  uint64_t number = 0;
  if (!absl::SimpleAtoi(ToAbsl(text), &number)) return NotDocumented(file, text);
  return number;
}

absl::StatusOr<std::vector<pid_t>> ReadPids(const Cgroup& cgroup, std::string_view file) {
  return ReadAs<std::vector<pid_t>>(cgroup, file, [&](const std::string& text) -> absl::StatusOr<std::vector<pid_t>> {
    std::vector<pid_t> pids;
    for (absl::string_view field : Fields(text)) {
      pid_t pid = 0;
      if (!absl::SimpleAtoi(field, &pid)) return NotDocumented(file, ToStd(field));
      pids.push_back(pid);
    }
    return pids;
  });
}

}  // namespace

absl::StatusOr<CpuMax> CpuMax::Parse(std::string_view text) {
  const std::vector<absl::string_view> fields = Fields(text);
  if (fields.size() != 2) return NotDocumented(kCpuMax, text);
  CpuMax max;
  if (fields[0] != "max") {
    const absl::StatusOr<uint64_t> quota = ParseNumber(kCpuMax, ToStd(fields[0]));
    if (!quota.ok()) return quota.status();
    max.quota_us = *quota;
  }
  const absl::StatusOr<uint64_t> period = ParseNumber(kCpuMax, ToStd(fields[1]));
  if (!period.ok()) return period.status();
  max.period_us = *period;
  return max;
}

std::string CpuMax::ToString() const { return quota_us ? Cat(*quota_us, " ", period_us) : Cat("max ", period_us); }

absl::StatusOr<CpuStat> CpuStat::Parse(std::string_view text) {
  CpuStat stat;
  bool has_usage = false;
  for (absl::string_view line : absl::StrSplit(ToAbsl(text), '\n', absl::SkipEmpty())) {
    const std::vector<absl::string_view> fields = Fields(ToStd(line));
    if (fields.size() != 2) return NotDocumented("cpu.stat", ToStd(line));
    const absl::StatusOr<uint64_t> value = ParseNumber("cpu.stat", ToStd(fields[1]));
    if (!value.ok()) return value.status();
    if (fields[0] == "usage_usec") {
      stat.usage_usec = *value;
      has_usage = true;
    } else if (fields[0] == "nr_periods") {
      stat.nr_periods = *value;
    } else if (fields[0] == "nr_throttled") {
      stat.nr_throttled = *value;
    } else if (fields[0] == "throttled_usec") {
      stat.throttled_usec = *value;
    }
  }
  if (!has_usage) return NotDocumented("cpu.stat", text);
  return stat;
}

absl::StatusOr<NumaStat> NumaStat::Parse(std::string_view text) {
  NumaStat stat;
  for (absl::string_view line : absl::StrSplit(ToAbsl(text), '\n', absl::SkipEmpty())) {
    const std::vector<absl::string_view> fields = Fields(ToStd(line));
    std::map<int, uint64_t>& nodes = stat.bytes[std::string(fields[0])];
    for (size_t i = 1; i < fields.size(); ++i) {
      const std::pair<absl::string_view, absl::string_view> part = absl::StrSplit(fields[i], absl::MaxSplits('=', 1));
      int node = 0;
      uint64_t bytes = 0;
      if (part.first.substr(0, 1) != "N" || !absl::SimpleAtoi(part.first.substr(1), &node) ||
          !absl::SimpleAtoi(part.second, &bytes)) {
        return NotDocumented(kMemoryNumaStat, ToStd(line));
      }
      nodes[node] = bytes;
    }
  }
  return stat;
}

uint64_t NumaStat::Outside(std::string_view kind, NumaSet nodes) const {
  uint64_t sum = 0;
  const auto found = bytes.find(kind);
  if (found == bytes.end()) return sum;
  for (const auto& [node, amount] : found->second) {
    if (node > NumaSet::kMaxNode || !nodes.Contains(node)) sum += amount;
  }
  return sum;
}

uint64_t NumaStat::PagesOutside(NumaSet nodes) const { return Outside("anon", nodes) + Outside("file", nodes); }

absl::StatusOr<NumaSet> ParseNodeList(std::string_view text) {
  const absl::StatusOr<CpuSet> list = CpuSet::Parse(text);
  if (!list.ok()) return list.status();
  NumaSet nodes;
  for (int node : *list) {
    if (node > NumaSet::kMaxNode) {
      return absl::OutOfRangeError(
          Cat("NUMA node ", node, " in \"", text, "\": at most ", NumaSet::kMaxNode, " is known"));
    }
    nodes.Add(node);
  }
  return nodes;
}

absl::StatusOr<CpuSet> ReadCpus(const Cgroup& cgroup, std::string_view file) {
  return ReadAs<CpuSet>(cgroup, file, [](const std::string& text) { return CpuSet::Parse(text); });
}
absl::Status WriteCpus(const Cgroup& cgroup, const CpuSet& cpus) { return cgroup.Write(kCpusetCpus, cpus.ToString()); }

absl::StatusOr<NumaSet> ReadMems(const Cgroup& cgroup, std::string_view file) {
  return ReadAs<NumaSet>(cgroup, file, [](const std::string& text) { return ParseNodeList(text); });
}
absl::Status WriteMems(const Cgroup& cgroup, NumaSet mems) { return cgroup.Write(kCpusetMems, mems.ToString()); }

absl::StatusOr<WholeSets> ReadWhole(const Cgroup& root, std::string_view own) {
  absl::StatusOr<CpuSet> cpus = ReadCpus(root, kCpusetCpusEffective);
  if (!cpus.ok()) return cpus.status();
  const absl::StatusOr<NumaSet> mems = ReadMems(root, kCpusetMemsEffective);
  if (!mems.ok()) return mems.status();
  const absl::StatusOr<Cgroup> ours = root.OpenChild(own);
  const absl::StatusOr<CpuSet> taken = ours.ok() ? ReadCpus(*ours, kCpusetCpusExclusive) : ours.status();
  if (!taken.ok() && !absl::IsNotFound(taken.status())) return taken.status();
  if (taken.ok()) *cpus |= *taken;
  return WholeSets{*std::move(cpus), *mems};
}

absl::Status WriteCpuset(const Cgroup& cgroup, std::string_view file, const std::string& list, const WholeSets& whole) {
  absl::Status status = cgroup.Write(file, list);
  if (!list.empty() || !absl::IsResourceExhausted(status)) return status;
  return cgroup.Write(file, file == kCpusetMems ? whole.mems.ToString() : whole.cpus.ToString());
}

absl::StatusOr<CpuMax> ReadCpuMax(const Cgroup& cgroup) {
  return ReadAs<CpuMax>(cgroup, kCpuMax, [](const std::string& text) { return CpuMax::Parse(text); });
}

absl::StatusOr<uint64_t> ReadCpuWeight(const Cgroup& cgroup) {
  return ReadAs<uint64_t>(cgroup, kCpuWeight, [](const std::string& text) { return ParseNumber(kCpuWeight, text); });
}

absl::StatusOr<std::optional<uint64_t>> ReadMemoryMax(const Cgroup& cgroup) {
  using Limit = std::optional<uint64_t>;
  return ReadAs<Limit>(cgroup, kMemoryMax, [](const std::string& text) -> absl::StatusOr<Limit> {
    if (text == "max") return Limit();
    const absl::StatusOr<uint64_t> bytes = ParseNumber(kMemoryMax, text);
    if (!bytes.ok()) return bytes.status();
    return Limit(*bytes);
  });
}

absl::StatusOr<CpuStat> ReadCpuStat(const Cgroup& cgroup) {
  return ReadAs<CpuStat>(cgroup, "cpu.stat", [](const std::string& text) { return CpuStat::Parse(text); });
}
absl::StatusOr<NumaStat> ReadNumaStat(const Cgroup& cgroup) {
  return ReadAs<NumaStat>(cgroup, kMemoryNumaStat, [](const std::string& text) { return NumaStat::Parse(text); });
}

absl::StatusOr<std::vector<pid_t>> ReadProcs(const Cgroup& cgroup) { return ReadPids(cgroup, "cgroup.procs"); }
absl::StatusOr<std::vector<pid_t>> ReadThreads(const Cgroup& cgroup) { return ReadPids(cgroup, "cgroup.threads"); }
absl::Status MoveProcess(const Cgroup& cgroup, pid_t pid) { return cgroup.Write("cgroup.procs", Cat(pid)); }

absl::StatusOr<bool> IsPopulated(const Cgroup& cgroup) {
  return ReadAs<bool>(cgroup, "cgroup.events", [](const std::string& text) -> absl::StatusOr<bool> {
    for (absl::string_view line : absl::StrSplit(text, '\n')) {
      if (line == "populated 0") return false;
      if (line == "populated 1") return true;
    }
    return NotDocumented("cgroup.events", text);
  });
}

absl::StatusOr<std::vector<std::string>> ReadControllers(const Cgroup& cgroup, std::string_view file) {
  const absl::StatusOr<std::string> text = cgroup.Read(file);
  if (!text.ok()) return text.status();
  std::vector<std::string> names;
  for (absl::string_view name : Fields(*text)) names.emplace_back(name);
  return names;
}

}  // namespace podfence
