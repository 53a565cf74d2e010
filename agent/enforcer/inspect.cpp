#include "agent/enforcer/inspect.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <utility>

#include "agent/cgroup/control.h"
#include "agent/core/text.h"
#include "agent/enforcer/host_fence.h"
#include "agent/enforcer/judge.h"
#include "agent/enforcer/offline.h"
#include "agent/enforcer/tree.h"

namespace podfence {
namespace {

// Without anything that was left there before, every file that is not the plan's is drift; but the kernel's own refusal
// of a partition, which it says in the file.
Finding Differs(const TreeNode& node, const FileDifference& difference) {
  if (difference.file == kCpusetCpusPartition && difference.found.starts_with("root invalid")) {
    return NoPartition(node, *node.fence, difference.found);
  }
  return MakeFinding(FindingKind::kDrift, node.fence, node.cgroup.path(), difference, "it is not as decided");
}

void Judge(const TreeNode& node, const Plan& plan, const WholeSets& whole, const CpuSet& offline,
           std::vector<Finding>& findings) {
  Fence wanted = WantedOf(node);
  if (LostToOffline(wanted, node.now, offline)) wanted.partition = node.now.partition;
  const auto add = [&](std::optional<Finding> finding) {
    if (finding) findings.push_back(*std::move(finding));
  };
  // A pod that no decision names yet, or that does not fit, is shared like others: where it is so, nothing is amiss.
  const bool shared_as_others = Simplified(node.now.cpus, whole) == Simplified(wanted.cpus, whole);
  if (!plan.runtime_cgroups || !shared_as_others) add(FindUnknown(node, wanted));
  if (node.fence != nullptr) {
    for (const FileDifference& difference : Compare(wanted, node.now, whole)) add(Differs(node, difference));
  }
  add(FindNotEffective(node, whole));
  const CpuSet foreign = ForeignCpus(node, wanted, plan);
  if (!foreign.empty()) add(StillShared(node, wanted, foreign));
}

// Whether one of the paths could not be read, or one above it.
bool IsUnseen(const std::string& path, const std::vector<Unseen>& unseen) {
  return std::ranges::any_of(
      unseen, [&](const Unseen& each) { return path == each.what || path.starts_with(Cat(each.what, "/")); });
}

}  // namespace

void SortLives(const Plan& plan, const std::string& own_path, const std::vector<TreeNode>& nodes,
               Inspection& inspection) {
  for (const Fence& fence : plan.fences) {
    const auto node = std::ranges::find(nodes, fence.path, &TreeNode::path);
    const bool container = fence.role == CgroupRole::kContainer;
    if (node == nodes.end()) {
      if (container && !IsUnseen(Cat(own_path, "/", fence.path), inspection.unseen)) inspection.idle.push_back(fence);
      continue;
    }
    const absl::StatusOr<bool> lives = container ? IsPopulated(node->cgroup) : true;
    if (!lives.ok() && !absl::IsNotFound(lives.status())) {
      inspection.unseen.push_back({node->cgroup.path(), std::string(lives.status().message())});
    } else if (lives.value_or(false)) {
      inspection.live.push_back({fence, node->cgroup.path(), node->cgroup.id()});
    } else {
      inspection.idle.push_back(fence);
    }
  }
}

absl::StatusOr<Inspection> Inspect(const NodeState& state, const std::string& cgroup_root, const Machine& machine,
                                   const EnforcerOptions& options, const Places* places) {
  const absl::StatusOr<Cgroup> root = OpenHierarchy(cgroup_root);
  if (!root.ok()) return root.status();
  const std::string& name = places != nullptr && !places->top.empty() ? places->top : options.name;
  const absl::StatusOr<Cgroup> own = root->OpenChild(name);
  if (!own.ok() && !absl::IsNotFound(own.status())) return own.status();
  const PlanContext context{.all = machine.Cpus(),
                            .reserved = options.reserved,
                            .cpu_manager = options.cpu_manager,
                            .partitions = options.partitions && own.ok() && own->Has(kCpusetCpusExclusive),
                            .places = places,
                            .quota_period_us = options.quota_period_us,
                            .kubelet_quota = options.kubelet_quota};
  const Plan plan = MakePlan(state, context);
  absl::StatusOr<WholeSets> whole = ReadWhole(*root, name);
  if (!whole.ok()) return whole.status();
  const absl::StatusOr<CpuSet> offline = ReadOfflineCpus(options.sys_root);
  if (!offline.ok()) return offline.status();
  whole->cpus -= *offline;

  Inspection inspection;
  inspection.findings = PlanFindings(plan, *root, name);
  std::vector<TreeNode> nodes;
  if (own.ok()) {  // none before the first agent: then nothing of ours runs
    absl::StatusOr<std::vector<TreeNode>> read = ReadTree(*own, plan, &inspection.unseen);
    if (!read.ok()) return read.status();
    nodes = *std::move(read);
    const absl::StatusOr<std::vector<Cgroup>> parents = OpenParents(*own, plan);
    if (!parents.ok()) return parents.status();
    for (const Cgroup& parent : *parents) {
      absl::StatusOr<std::optional<Finding>> off = FindControllersOff(parent);
      if (!off.ok()) return off.status();
      if (*off && HoldsFenced(*own, plan, parent)) inspection.findings.push_back(**std::move(off));
    }
  }
  for (const TreeNode& node : nodes) Judge(node, plan, *whole, *offline, inspection.findings);
  std::ranges::move(FindCpusOffline(nodes, *offline), std::back_inserter(inspection.findings));
  std::ranges::move(FindMemoryOutside(nodes, inspection.unseen), std::back_inserter(inspection.findings));
  absl::StatusOr<std::optional<Finding>> quota = FindQuotaAbove(*root, plan);
  if (!quota.ok()) {
    inspection.unseen.push_back({Cat(root->path(), "/", kCpuMax), std::string(quota.status().message())});
  } else if (*quota) {
    inspection.findings.push_back(**std::move(quota));
  }
  SortLives(plan, Cat(root->path(), "/", name), nodes, inspection);
  if (options.host && !plan.exclusive.empty()) {
    InspectHost(*options.host, *root, name, plan.exclusive, inspection.findings, inspection.unseen);
  }
  return inspection;
}

}  // namespace podfence
