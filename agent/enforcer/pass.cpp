#include "agent/enforcer/pass.h"

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"
#include "agent/core/text.h"
#include "agent/enforcer/judge.h"
#include "agent/enforcer/offline.h"
#include "agent/enforcer/order.h"

namespace podfence {

namespace {

// What the kernel refused once it mostly refuses again, and each try is a write that drift waits behind (RepairPace).
constexpr absl::Duration kTryPartitionAgain = absl::Seconds(1);

// All of it was replaced, so it is told of as a whole, and not file by file.
Finding Replaced(const TreeNode& node, uint64_t expected) {
  Finding finding;
  finding.kind = FindingKind::kDrift;
  if (node.fence != nullptr) {
    finding.pod = node.fence->uid;
    finding.container = node.fence->container;
  }
  finding.path = node.cgroup.path();
  finding.expected = Cat(expected);
  finding.found = Cat(node.cgroup.id());
  finding.message = Cat(finding.path, ": expected the cgroup of id ", expected, ", found ", finding.found,
                        ": someone replaced the cgroup by a new one");
  return finding;
}

}  // namespace

Pass::Pass(const Plan& plan, const WholeSets& whole, std::vector<TreeNode> nodes, PassOptions options,
           EnforceReport& report)
    : plan_(plan), whole_(whole), options_(std::move(options)), nodes_(std::move(nodes)), report_(report) {
  for (const TreeNode& node : nodes_) {
    decided_.push_back(WantedOf(node));
    wanted_.push_back(node.fence == nullptr && !options_.repair ? node.now : decided_.back());
    refused_.push_back(absl::InfinitePast());
    if (LostToOffline(wanted_.back(), node.now, options_.offline)) wanted_.back().partition = node.now.partition;
  }
}

void Pass::FindDrift(const LeftFences& left) {
  for (size_t i = 0; i < nodes_.size(); ++i) {
    const TreeNode& node = nodes_[i];
    const auto known = left.find(node.path);
    if (known == left.end()) continue;
    refused_[i] = known->second.refused;
    const Fence& before = known->second.fence;
    std::vector<FileDifference> differences = Compare(before, node.now, whole_);
    std::erase_if(differences, [&](const FileDifference& difference) {
      return difference.file == kCpusetCpusPartition &&
             (LostToOffline(decided_[i], node.now, options_.offline) || CameBack(before, node.now));
    });
    const size_t first = report_.findings.size();
    if (known->second.id != node.cgroup.id()) {
      report_.findings.push_back(Replaced(node, known->second.id));
    } else {
      for (const FileDifference& difference : differences) {
        report_.findings.push_back(MakeFinding(FindingKind::kDrift, node.fence, node.cgroup.path(), difference,
                                               "someone changed it since it was written"));
      }
    }
    for (size_t j = first; j < report_.findings.size(); ++j) {
      report_.findings[j].seen = node.read;
      report_.findings[j].repaired = options_.repair;  // taken back where that fails
      absl::StrAppend(&report_.findings[j].message, "; ", options_.repair ? "written again" : ToAbsl(kNotRepaired));
    }
    if (!options_.repair) Leave(i, known->second, differences);
  }
}

// What someone changed stays, unless our own decision on it is another now.
void Pass::Leave(size_t index, const LeftFence& before, const std::vector<FileDifference>& differences) {
  const std::vector<FileDifference> decided = Compare(decided_[index], before.fence, whole_);
  bool all = true;
  for (const FileDifference& difference : differences) {
    if (std::ranges::find(decided, difference.file, &FileDifference::file) != decided.end()) {
      all = false;
      continue;
    }
    CopyFile(difference.file, nodes_[index].now, wanted_[index]);
    left_alone_[index].push_back({difference.file, before.fence});
  }
  if (all && before.id != nodes_[index].cgroup.id()) replaced_[index] = before.id;
}

bool Pass::Write(TreeNode& node, std::string_view file, const std::string& value) {
  const bool set = file == kCpusetCpus || file == kCpusetMems;
  const absl::Status status = set ? WriteCpuset(node.cgroup, file, value, whole_) : node.cgroup.Write(file, value);
  ++report_.writes;
  if (status.ok() || absl::IsNotFound(status)) return status.ok();  // a cgroup that is gone needs nothing
  for (Finding& finding : report_.findings) {
    const bool about = finding.file == file || finding.file.empty();
    if (finding.path == node.cgroup.path() && about) finding.repaired = false;
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
    // A pod that the kubelet just makes has no decision for a moment: it is fenced until then, and no finding.
    if (plan_.runtime_cgroups) continue;
    if (std::optional<Finding> finding = FindUnknown(nodes_[i], decided_[i])) {
      if (!options_.repair) absl::StrAppend(&finding->message, "; ", ToAbsl(kNotRepaired));
      report_.findings.push_back(*std::move(finding));
    }
  }
  CpusetOrder order = OrderCpusets(changes, whole_.cpus);
  for (const CpusetWrite& write : order.vacate) SetCpus(nodes_[write.cgroup], write.cpus);
  ReadBack();
  for (size_t i = 0; i < nodes_.size(); ++i) {
    const CpuSet foreign = ForeignCpus(nodes_[i], decided_[i], plan_);
    if (foreign.empty()) continue;
    stuck_ |= foreign;
    report_.findings.push_back(StillShared(nodes_[i], decided_[i], foreign));
  }
  hand_over_ = std::move(order.hand_over);
  grow_ = std::move(order.grow);
}

void Pass::HandOver() {
  for (const CpusetWrite& write : hand_over_) {
    TreeNode& node = nodes_[write.cgroup];
    if (!write.cpus.Intersects(stuck_)) SetCpus(node, write.cpus);
  }
  WriteFiles(
      [](std::string_view file) { return file != kCpusetCpus && file != kCpusetMems && !IsPartitionFile(file); });
  for (size_t i = 0; i < nodes_.size(); ++i) SetPartition(i);
}

void Pass::SetPartition(size_t index) {
  TreeNode& node = nodes_[index];
  const Fence& wanted = wanted_[index];
  if (wanted.partition == "root" && node.now.cpus != wanted.cpus) return;  // not handed over yet
  for (const FileDifference& difference : Compare(wanted, node.now, whole_)) {
    if (!IsPartitionFile(difference.file)) continue;
    if (difference.file == kCpusetCpusPartition && absl::Now() - refused_[index] < kTryPartitionAgain) {
      report_.findings.push_back(NoPartition(node, wanted, difference.found));
      continue;
    }
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
    refused_[index] = absl::Now();
    report_.findings.push_back(NoPartition(node, wanted, *found));
  }
}

void Pass::WriteFiles(bool (*of)(std::string_view file)) {
  for (size_t i = 0; i < nodes_.size(); ++i) {
    for (const FileDifference& difference : Compare(wanted_[i], nodes_[i].now, whole_)) {
      if (!of(difference.file)) continue;
      if (Write(nodes_[i], difference.file, difference.expected)) CopyFile(difference.file, wanted_[i], nodes_[i].now);
    }
  }
}

void Pass::Grow() {
  for (const CpusetWrite& write : grow_) SetCpus(nodes_[write.cgroup], write.cpus);
}

void Pass::MoveMemory() {
  WriteFiles([](std::string_view file) { return file == kCpusetMems; });
}

void Pass::Report() {
  ReadBack();
  for (const TreeNode& node : nodes_) {
    if (node.fence == nullptr) continue;
    report_.live.push_back({*node.fence, node.cgroup.path(), node.cgroup.id()});
    if (std::optional<Finding> finding = FindNotEffective(node, whole_)) {
      report_.findings.push_back(*std::move(finding));
    }
  }
  CheckRepairs();
}

// A repair is one when the file says so.
void Pass::CheckRepairs() {
  for (size_t i = 0; i < nodes_.size(); ++i) {
    const auto repaired = [&](const Finding& finding) {
      return finding.repaired && finding.path == nodes_[i].cgroup.path();
    };
    if (std::ranges::none_of(report_.findings, repaired)) continue;
    const absl::StatusOr<FenceState> state = ReadFence(nodes_[i].cgroup, wanted_[i].held);
    if (absl::IsNotFound(state.status())) continue;  // gone with what was wrong in it
    const std::vector<FileDifference> left =
        state.ok() ? Compare(wanted_[i], state->now, whole_) : std::vector<FileDifference>();
    for (Finding& finding : report_.findings) {
      if (!repaired(finding)) continue;
      const bool stands = std::ranges::any_of(
          left, [&](const FileDifference& each) { return finding.file.empty() || finding.file == each.file; });
      finding.repaired = state.ok() && !stands;
    }
  }
}

LeftFences Pass::Left() const {
  LeftFences left;
  for (size_t i = 0; i < nodes_.size(); ++i) {
    const TreeNode& node = nodes_[i];
    if (node.fence == nullptr) continue;
    LeftFence& fence = left[node.path];
    fence = {node.cgroup.id(), node.now, refused_[i]};
    // What was not repaired is drift still at the next pass.
    if (const auto alone = left_alone_.find(i); alone != left_alone_.end()) {
      for (const auto& [file, before] : alone->second) CopyFile(file, before, fence.fence);
    }
    if (const auto replaced = replaced_.find(i); replaced != replaced_.end()) fence.id = replaced->second;
  }
  return left;
}

}  // namespace podfence
