#include "agent/enforcer/pass.h"

#include "agent/enforcer/judge.h"
#include "agent/enforcer/order.h"

namespace podfence {

Pass::Pass(const Plan& plan, const WholeSets& whole, std::vector<TreeNode> nodes, EnforceReport& report)
    : plan_(plan), whole_(whole), nodes_(std::move(nodes)), report_(report) {
  for (const TreeNode& node : nodes_) wanted_.push_back(WantedOf(node, plan_));
}

void Pass::FindDrift(const LeftFences& left) {
  for (const TreeNode& node : nodes_) {
    const auto known = left.find(node.path);
    if (known == left.end()) continue;
    const std::string_view why = known->second.id == node.cgroup.id()
                                     ? "someone changed it since it was written; written again"
                                     : "someone replaced the cgroup by a new one; written again";
    for (const Difference& difference : Compare(known->second.fence, node.now, whole_)) {
      Finding finding = MakeFinding(FindingKind::kDrift, node.fence, node.cgroup.path(), difference, why);
      finding.repaired = true;  // taken back where the write fails
      report_.findings.push_back(std::move(finding));
    }
  }
}

bool Pass::Write(TreeNode& node, std::string_view file, const std::string& value) {
  const bool set = file == kCpusetCpus || file == kCpusetMems;
  const absl::Status status = set ? WriteCpuset(node.cgroup, file, value, whole_) : node.cgroup.Write(file, value);
  ++report_.writes;
  if (status.ok() || absl::IsNotFound(status)) return status.ok();  // a cgroup that is gone needs nothing
  for (Finding& finding : report_.findings) {
    if (finding.path == node.cgroup.path() && finding.file == file) finding.repaired = false;
  }
  Finding finding = MakeFinding(FindingKind::kWriteFailed, node.fence, node.cgroup.path(), {file, value, ""}, "");
  finding.message = std::string(status.message());
  report_.findings.push_back(std::move(finding));
  return false;
}

void Pass::SetCpus(TreeNode& node, const CpuSet& cpus) {
  cpusets_written_ = true;
  if (Write(node, kCpusetCpus, cpus.ToString())) node.now.cpus = cpus;
}

void Pass::ReadBack() {
  if (!cpusets_written_) return;
  cpusets_written_ = false;
  for (TreeNode& node : nodes_) {
    absl::StatusOr<CpuSet> effective = ReadCpus(node.cgroup, kCpusetCpusEffective);
    // Gone is harmless; what cannot be read is taken as it was, so that no CPU counts as free that may not be.
    if (absl::IsNotFound(effective.status())) node.effective.Clear();
    if (effective.ok()) node.effective = *std::move(effective);
  }
}

void Pass::Vacate() {
  std::vector<CpusetChange> changes;
  for (size_t i = 0; i < nodes_.size(); ++i) {
    const CpuSet& wanted = wanted_[i].cpus;
    changes.push_back({!wanted.empty() && wanted.IsSubsetOf(plan_.exclusive), Simplified(nodes_[i].now.cpus, whole_),
                       Simplified(wanted, whole_)});
    if (std::optional<Finding> finding = FindUnknown(nodes_[i], wanted_[i])) {
      report_.findings.push_back(*std::move(finding));
    }
  }
  CpusetOrder order = OrderCpusets(changes, whole_.cpus);
  for (const CpusetWrite& write : order.vacate) SetCpus(nodes_[write.cgroup], write.cpus);
  ReadBack();
  for (size_t i = 0; i < nodes_.size(); ++i) {
    const CpuSet foreign = ForeignCpus(nodes_[i], wanted_[i], plan_);
    if (foreign.empty()) continue;
    stuck_ |= foreign;
    report_.findings.push_back(StillShared(nodes_[i], wanted_[i], foreign));
  }
  hand_over_ = std::move(order.hand_over);
  grow_ = std::move(order.grow);
}

void Pass::HandOver() {
  for (const CpusetWrite& write : hand_over_) {
    TreeNode& node = nodes_[write.cgroup];
    if (!write.cpus.Intersects(stuck_)) SetCpus(node, write.cpus);
  }
  for (size_t i = 0; i < nodes_.size(); ++i) {
    for (const Difference& difference : Compare(wanted_[i], nodes_[i].now, whole_)) {
      if (difference.file == kCpusetCpus || IsPartitionFile(difference.file)) continue;
      if (!Write(nodes_[i], difference.file, difference.expected)) continue;
      if (difference.file == kCpusetMems) nodes_[i].now.mems = wanted_[i].mems;
      if (difference.file == kMemoryMax) nodes_[i].now.memory_max = wanted_[i].memory_max;
      if (difference.file == kCpuWeight) nodes_[i].now.cpu_weight = wanted_[i].cpu_weight;
      if (difference.file == kCpuMax) nodes_[i].now.cpu_max = wanted_[i].cpu_max;
    }
  }
  for (size_t i = 0; i < nodes_.size(); ++i) SetPartition(nodes_[i], wanted_[i]);
}

void Pass::SetPartition(TreeNode& node, const Fence& wanted) {
  if (wanted.partition == "root" && node.now.cpus != wanted.cpus) return;  // not handed over yet
  for (const Difference& difference : Compare(wanted, node.now, whole_)) {
    if (!IsPartitionFile(difference.file)) continue;
    cpusets_written_ = true;
    partitioned_ |= difference.file == kCpusetCpusPartition;
    // One that became invalid is dissolved first: only so do the CPUs that it lost come back to the kernel's root.
    if (difference.file == kCpusetCpusPartition && difference.found != "member" &&
        !Write(node, difference.file, "member")) {
      return;
    }
    if (!Write(node, difference.file, difference.expected)) return;
    if (difference.file == kCpusetCpusExclusive) node.now.cpus_exclusive = wanted.cpus_exclusive;
    if (difference.file != kCpusetCpusPartition) continue;
    // The kernel takes the word and says beside it why it could not keep it.
    const absl::StatusOr<std::string> found = node.cgroup.Read(kCpusetCpusPartition);
    if (!found.ok()) return;
    node.now.partition = *found;
    if (*found == wanted.partition) continue;
    report_.findings.push_back(NoPartition(node, wanted, *found));
  }
}

void Pass::Grow() {
  for (const CpusetWrite& write : grow_) SetCpus(nodes_[write.cgroup], write.cpus);
  ReadBack();
  for (const TreeNode& node : nodes_) {
    if (node.fence == nullptr) continue;
    report_.live.push_back({*node.fence, node.cgroup.path(), node.cgroup.id()});
    if (std::optional<Finding> finding = FindNotEffective(node, whole_)) {
      report_.findings.push_back(*std::move(finding));
    }
  }
}

LeftFences Pass::Left() const {
  LeftFences left;
  for (const TreeNode& node : nodes_) {
    if (node.fence == nullptr) continue;
    LeftFence& fence = left[node.path];
    fence = {node.cgroup.id(), node.now};
    fence.fence.held = node.fence->held;  // what is someone else's to write is no drift
  }
  return left;
}

}  // namespace podfence
