#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "agent/cgroup/cgroup.h"
#include "agent/cgroup/control.h"
#include "agent/enforcer/finding.h"
#include "agent/enforcer/plan.h"

namespace podfence {

// What the kernel says of one cgroup.
struct FenceState {
  Fence now;         // its control files; held: which were read; role and names are empty
  CpuSet effective;  // cpuset.cpus.effective
};
// Reads cpuset.cpus, whoever holds it, and the files that are held; the others are as a fence without them.
absl::StatusOr<FenceState> ReadFence(const Cgroup& cgroup, const HeldFiles& held);
// Empty for a set that holds the whole machine: to inherit all or to name all is the same, and the kernel does not
// always let one be written instead of the other (WriteCpuset).
CpuSet Simplified(const CpuSet& cpus, const WholeSets& whole);
NumaSet Simplified(NumaSet mems, const WholeSets& whole);

// One cgroup of ours as the kernel shows it.
struct TreeNode {
  Cgroup cgroup;
  std::string path;              // relative to our own cgroup
  const Fence* fence = nullptr;  // of the plan; null: no decision names it
  CpuSet guest_cpus;             // where no decision names it: the CPUs that it belongs on
  Fence now;
  CpuSet effective;
  absl::Time read;  // when the above had been
};

// The cgroup at a path relative to our own; NotFound where there is none.
absl::StatusOr<Cgroup> OpenBelow(const Cgroup& own, std::string_view path);

// Reads our own cgroup, the pods' and their containers', parents first. What stands below a container is the
// container's and not looked at. Cgroups that no decision names are in it where processes live in them; cgroups that
// vanish meanwhile are not. What cannot be read is an error; given `unseen`, it goes there with the cgroups below it,
// and the rest is read.
absl::StatusOr<std::vector<TreeNode>> ReadTree(const Cgroup& own, const Plan& plan,
                                               std::vector<Unseen>* unseen = nullptr);

// A cgroup that processes may live in: where they can run, and on which of these CPUs they may.
struct Runner {
  std::string path;  // absolute
  CpuSet effective;
  CpuSet own;
};
// Those that hold others of ours are left out: no process lives in them.
std::vector<Runner> RunnersOf(const std::vector<TreeNode>& nodes);

// The own cgroup, the pods' and their groups: each must pass its controllers on, or the fences below are not there at
// all.
absl::StatusOr<std::vector<Cgroup>> OpenParents(const Cgroup& own, const Plan& plan);
// Whether something that is fenced lives below such a one. Before, systemd keeps no controllers on in a pod's slice:
// CRI-O's monitor, which comes first, wants none.
bool HoldsFenced(const Cgroup& own, const Plan& plan, const Cgroup& parent);

// One control file that does not say what a fence wants.
struct FileDifference {
  std::string_view file;
  std::string expected;
  std::string found;
};
// Of the files that the one holds and the other has: all but the CPUs, then cpuset.cpus, then the partition's. Sets are
// compared simplified; memory.max counts in whole pages, as the kernel keeps it.
std::vector<FileDifference> Compare(const Fence& wanted, const Fence& now, const WholeSets& whole);

// Takes over what `from` has for one control file.
void CopyFile(std::string_view file, const Fence& from, Fence& to);

// Whether a file belongs to the scheduling domain: it can be written once the CPUs are the container's own.
inline bool IsPartitionFile(std::string_view file) {
  return file == kCpusetCpusExclusive || file == kCpusetCpusPartition;
}
// The least and the most that cpuset.cpus.effective may be where a cgroup is held to `cpus`: those of partitions below
// it have left it. Where these are all, the kernel shows the parent's set, and nothing can be said (least is empty).
struct EffectiveRange {
  CpuSet least;
  CpuSet most;
  bool Holds(const CpuSet& effective) const {
    if (least == most) return effective == most;
    return least.empty() || (least.IsSubsetOf(effective) && effective.IsSubsetOf(most));
  }
};
EffectiveRange ExpectEffective(CgroupRole role, const CpuSet& cpus, const CpuSet& partitions, const WholeSets& whole);

// Fills in the message: "<path>/<file>: expected …, found …" and the reason.
Finding MakeFinding(FindingKind kind, const Fence* fence, const std::string& path, const FileDifference& difference,
                    std::string_view why);

}  // namespace podfence
