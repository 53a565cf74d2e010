#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "agent/enforcer/enforcer.h"
#include "agent/enforcer/order.h"
#include "agent/enforcer/tree.h"

namespace podfence {

// What we left in the control files of each cgroup, by relative path: what drift is measured against.
struct LeftFence {
  uint64_t id = 0;  // of the cgroup
  Fence fence;
};
using LeftFences = std::map<std::string, LeftFence, std::less<>>;

// One pass over our own tree: brings what exists to the plan. The steps are called in this order, with the host's
// fence between them; each adds to the report.
class Pass {
 public:
  Pass(const Plan& plan, const WholeSets& whole, std::vector<TreeNode> nodes, EnforceReport& report);

  // Names what differs from what we left: it was someone else.
  void FindDrift(const LeftFences& left);
  // Takes shared cgroups, and whoever else has too much, off CPUs that are not theirs, and reads that back.
  void Vacate();
  // Gives owners their CPUs, except those that a shared cgroup could not be taken off. Then everything but cpusets, and
  // their scheduling domains.
  void HandOver();
  // Lets shared cgroups grow, and reads every effective set back.
  void Grow();
  // Whether HandOver made or dissolved a partition: the kernel gives tasks of the root cgroup other CPUs then.
  bool partitioned() const { return partitioned_; }
  // What stands in the files now.
  LeftFences Left() const;

 private:
  bool Write(TreeNode& node, std::string_view file, const std::string& value);
  void SetCpus(TreeNode& node, const CpuSet& cpus);
  // Writes the files of the scheduling domain and reads back what came of it.
  void SetPartition(TreeNode& node, const Fence& wanted);
  // A cpuset decides about all below it, so after a write every effective set is read anew.
  void ReadBack();

  const Plan& plan_;
  const WholeSets& whole_;
  std::vector<TreeNode> nodes_;
  std::vector<Fence> wanted_;     // in the nodes' order
  bool cpusets_written_ = false;  // since the last ReadBack
  bool partitioned_ = false;
  std::vector<CpusetWrite> hand_over_;
  std::vector<CpusetWrite> grow_;
  CpuSet stuck_;  // CPUs that someone still shares
  EnforceReport& report_;
};

}  // namespace podfence
