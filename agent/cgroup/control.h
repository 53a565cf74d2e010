#pragma once

// Typed access to the control files of one cgroup (Documentation/admin-guide/cgroup-v2.rst). Every function returns
// the errors of Cgroup::Read and Write, and DataLoss where a file's text is not what the kernel documents.

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "agent/cgroup/cgroup.h"
#include "agent/core/cpu_set.h"
#include "agent/core/numa_set.h"

namespace podfence {

inline constexpr std::string_view kCpusetCpus = "cpuset.cpus";
inline constexpr std::string_view kCpusetCpusEffective = "cpuset.cpus.effective";
// Since Linux 6.7: the CPUs that partitions at or below a cgroup may take for themselves. A cgroup that says "root" in
// cpuset.cpus.partition has a scheduling domain of its own, and its CPUs leave the effective sets of all above it.
inline constexpr std::string_view kCpusetCpusExclusive = "cpuset.cpus.exclusive";
inline constexpr std::string_view kCpusetCpusPartition = "cpuset.cpus.partition";
inline constexpr std::string_view kCpusetMems = "cpuset.mems";
inline constexpr std::string_view kCpusetMemsEffective = "cpuset.mems.effective";
inline constexpr std::string_view kCpuMax = "cpu.max";
inline constexpr std::string_view kCpuWeight = "cpu.weight";
inline constexpr std::string_view kSubtreeControl = "cgroup.subtree_control";
inline constexpr std::string_view kMemoryMax = "memory.max";
inline constexpr std::string_view kMemoryNumaStat = "memory.numa_stat";

// cpu.max: at most quota_us of CPU time in every period_us; no quota: "max", and the period says nothing.
struct CpuMax {
  std::optional<uint64_t> quota_us;
  uint64_t period_us = 100000;

  static absl::StatusOr<CpuMax> Parse(std::string_view text);
  std::string ToString() const;
  friend bool operator==(const CpuMax& a, const CpuMax& b) {
    return a.quota_us == b.quota_us && (!a.quota_us || a.period_us == b.period_us);
  }
};

// cpu.stat. The throttling fields are absent where cpu is not enabled.
struct CpuStat {
  uint64_t usage_usec = 0;
  std::optional<uint64_t> nr_periods;
  std::optional<uint64_t> nr_throttled;
  std::optional<uint64_t> throttled_usec;

  static absl::StatusOr<CpuStat> Parse(std::string_view text);
};

// memory.numa_stat: for each kind of memory ("anon", "file", …) the bytes on each NUMA node.
struct NumaStat {
  std::map<std::string, std::map<int, uint64_t>, std::less<>> bytes;

  static absl::StatusOr<NumaStat> Parse(std::string_view text);
  // The bytes of one kind on the nodes outside `nodes`.
  uint64_t Outside(std::string_view kind, NumaSet nodes) const;
  // Those of anon and file together.
  uint64_t PagesOutside(NumaSet nodes) const;
};

// "0-1,3" of NUMA nodes; node ids above NumaSet::kMaxNode are OutOfRange.
absl::StatusOr<NumaSet> ParseNodeList(std::string_view text);

// cpuset.cpus, cpuset.cpus.effective; an empty cpuset.cpus means "inherit", never "no CPU".
absl::StatusOr<CpuSet> ReadCpus(const Cgroup& cgroup, std::string_view file);
absl::Status WriteCpus(const Cgroup& cgroup, const CpuSet& cpus);
// cpuset.mems, cpuset.mems.effective.
absl::StatusOr<NumaSet> ReadMems(const Cgroup& cgroup, std::string_view file);
absl::Status WriteMems(const Cgroup& cgroup, NumaSet mems);

// What the hierarchy's root may use: the effective sets of a cgroup that inherits all the way up, and the CPUs that
// partitions below its child `own` have taken out of them.
struct WholeSets {
  CpuSet cpus;
  NumaSet mems;
};
absl::StatusOr<WholeSets> ReadWhole(const Cgroup& root, std::string_view own);
// Writes a list into cpuset.cpus or cpuset.mems; an empty one lets the cgroup inherit. The kernel refuses to empty a
// set that was not empty while processes live below (cpuset.c validate_change: ENOSPC): the whole set is written there,
// which allows the same.
absl::Status WriteCpuset(const Cgroup& cgroup, std::string_view file, const std::string& list, const WholeSets& whole);

absl::StatusOr<CpuMax> ReadCpuMax(const Cgroup& cgroup);
absl::StatusOr<uint64_t> ReadCpuWeight(const Cgroup& cgroup);                 // 1 to 10000
absl::StatusOr<std::optional<uint64_t>> ReadMemoryMax(const Cgroup& cgroup);  // bytes; none: "max"
absl::StatusOr<CpuStat> ReadCpuStat(const Cgroup& cgroup);
absl::StatusOr<NumaStat> ReadNumaStat(const Cgroup& cgroup);

// The processes (cgroup.procs) or threads (cgroup.threads) of this one cgroup, as listed; 0 stands for a process
// outside the reader's pid namespace.
absl::StatusOr<std::vector<pid_t>> ReadProcs(const Cgroup& cgroup);
absl::StatusOr<std::vector<pid_t>> ReadThreads(const Cgroup& cgroup);
// Moves a whole process into the cgroup.
absl::Status MoveProcess(const Cgroup& cgroup, pid_t pid);
// Whether any process lives in the subtree (cgroup.events: populated).
absl::StatusOr<bool> IsPopulated(const Cgroup& cgroup);
// cgroup.controllers or cgroup.subtree_control, as listed.
absl::StatusOr<std::vector<std::string>> ReadControllers(const Cgroup& cgroup, std::string_view file);

}  // namespace podfence
