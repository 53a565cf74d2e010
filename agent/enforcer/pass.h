#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "agent/enforcer/enforcer.h"
#include "agent/enforcer/order.h"
#include "agent/enforcer/tree.h"

namespace podfence {

// What we left in the control files of each cgroup, by relative path: what drift is measured against.
struct LeftFence {
  uint64_t id = 0;  // of the cgroup
  Fence fence;
  absl::Time refused = absl::InfinitePast();  // when the kernel last refused to make it a partition
};
using LeftFences = std::map<std::string, LeftFence, std::less<>>;

struct PassOptions {
  bool repair = true;  // EnforcerOptions::repair
  CpuSet offline;      // CPUs that are switched off
};

// One pass over our own tree: brings what exists to the plan. The steps are called in this order, with the host's
// fence between them; each adds to the report.
class Pass {
 public:
  Pass(const Plan& plan, const WholeSets& whole, std::vector<TreeNode> nodes, PassOptions options,
       EnforceReport& report);

  // Names what differs from what we left: it was someone else.
  void FindDrift(const LeftFences& left);
  // Takes shared cgroups, and whoever else has too much, off CPUs that are not theirs, and reads that back.
  void Vacate();
  // Gives owners their CPUs, except those that a shared cgroup could not be taken off. Then quotas, weights and limits,
  // and the owners' scheduling domains.
  void HandOver();
  // Lets shared cgroups grow.
  void Grow();
  // Writes the NUMA nodes. At the end, because the kernel moves the memory of what lives there before such a write
  // returns (cpuset_write_resmask), however long that takes; nothing else of the fence waits for it.
  void MoveMemory();
  // Reads back every effective set and what was repaired.
  void Report();
  // Whether HandOver made or dissolved a partition: the kernel gives tasks of the root cgroup other CPUs then.
  bool partitioned() const { return partitioned_; }
  // What stands in the files now.
  LeftFences Left() const;
  // Every cgroup, with its effective set as read back.
  const std::vector<TreeNode>& nodes() const { return nodes_; }

 private:
  bool Write(TreeNode& node, std::string_view file, const std::string& value);
  // Writes what differs in those files.
  void WriteFiles(bool (*of)(std::string_view file));
  void SetCpus(TreeNode& node, const CpuSet& cpus);
  // Writes the files of the scheduling domain and reads back what came of it.
  void SetPartition(size_t index);
  // A cpuset decides about all below it, so after a write every effective set is read anew.
  void ReadBack();
  void Leave(size_t index, const LeftFence& before, const std::vector<FileDifference>& differences);
  void CheckRepairs();

  const Plan& plan_;
  const WholeSets& whole_;
  const PassOptions options_;
  std::vector<TreeNode> nodes_;
  // In the nodes' order: what was decided, and what is written, which leaves alone what is not to be repaired.
  std::vector<Fence> decided_;
  std::vector<Fence> wanted_;
  std::vector<absl::Time> refused_;  // LeftFence::refused
  // Of nodes by index: files that stay as someone made them, with what we had left there; and the cgroup's id before.
  std::map<size_t, std::vector<std::pair<std::string_view, Fence>>> left_alone_;
  std::map<size_t, uint64_t> replaced_;
  bool cpusets_written_ = false;  // since the last ReadBack
  bool partitioned_ = false;
  std::vector<CpusetWrite> hand_over_;
  std::vector<CpusetWrite> grow_;
  CpuSet stuck_;  // CPUs that someone still shares
  EnforceReport& report_;
};

}  // namespace podfence
