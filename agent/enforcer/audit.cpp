#include "agent/enforcer/audit.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <utility>

#include "agent/cgroup/control.h"
#include "agent/core/text.h"
#include "agent/enforcer/judge.h"
#include "agent/enforcer/kube_values.h"
#include "agent/enforcer/offline.h"
#include "agent/enforcer/tree.h"

namespace podfence {
namespace {

// The kubelet forgets what a pod held once its containers have ended, and removes its cgroups later.
bool IsDead(const TreeNode& node) {
  if (node.fence == nullptr || node.fence->role == CgroupRole::kTop) return false;
  return !IsPopulated(node.cgroup).value_or(true);
}

// A pod's cgroups. A pod is "exclusive" here where a container of it is.
class PodAudit {
 public:
  PodAudit(const PodAllocation& allocation, const PodPlace& place, const AuditOptions& options, Plan& plan)
      : allocation_(allocation), pod_(*allocation.pod), place_(place), options_(options), plan_(plan) {}

  void Run() {
    Fence& pod = Add(place_.path, CgroupRole::kPod);
    pod.exclusive = std::ranges::any_of(allocation_.containers, IsExclusive);
    Limit(PodLimits(pod_), pod);
    ForEachContainer(pod_, [&](const Container& container, bool) {
      const auto path = place_.containers.find(container.name);
      const ContainerAllocation* held = allocation_.Find(container.name);
      if (path == place_.containers.end() || held == nullptr) return;
      Fence& fence = Add(path->second, CgroupRole::kContainer);
      fence.container = container.name;
      fence.exclusive = IsExclusive(*held);
      fence.cpus = held->cpus && !held->cpus->empty() ? *held->cpus : plan_.shared;
      fence.held.cpus = !fence.cpus.empty();
      for (const MemoryBlock& block : held->memory) fence.mems |= block.numa;
      fence.held.mems = !fence.mems.empty();
      Limit(ContainerLimits(pod_, container), fence);
    });
  }

 private:
  Fence& Add(const std::string& path, CgroupRole role) {
    Fence& fence = plan_.fences.emplace_back();
    fence.path = path;
    fence.role = role;
    fence.uid = pod_.uid;
    fence.held.cpu_weight = false;
    return fence;
  }

  void Limit(const Amounts& limits, Fence& fence) {
    const bool resizing = options_.resizing.contains(pod_.uid);
    const bool quota = options_.cpu_quota && !fence.exclusive && !resizing;
    fence.cpu_max = CpuMaxOf(quota ? limits.cpu_milli : std::nullopt, options_.quota_period_us);
    if (resizing) {
      fence.held.cpu_max = fence.exclusive;  // none, whatever the limit
      fence.held.memory_max = false;
      return;
    }
    if (limits.memory_bytes) fence.memory_max = static_cast<uint64_t>(*limits.memory_bytes);
  }

  const PodAllocation& allocation_;
  const Pod& pod_;
  const PodPlace& place_;
  const AuditOptions& options_;
  Plan& plan_;
};

// What holds pods: the kubelet sets its CPUs and its limits as it likes, but no quota.
void AddParent(const std::string& path, Plan& plan) {
  Fence& fence = plan.fences.emplace_back();
  fence.path = path;
  fence.role = CgroupRole::kTop;
  fence.held = {.cpus = false, .mems = false, .cpu_weight = false, .memory_max = false};
}

Finding EmptyPool() {
  Finding finding;
  finding.kind = FindingKind::kEmptyNodePool;
  finding.message =
      "the node shared pool is empty (strict-cpu-reservation gives every CPU that is not reserved to exclusive "
      "containers): the kubelet then sets no cpuset for shared containers, and they run on exclusive CPUs";
  return finding;
}

class NodeAudit {
 public:
  NodeAudit(const Plan& plan, const WholeSets& whole, const AuditOptions& options)
      : plan_(plan), whole_(whole), options_(options) {}

  void Judge(const TreeNode& node, std::vector<Finding>& findings) const {
    if (node.fence == nullptr) return;
    for (const FileDifference& difference : Compare(*node.fence, node.now, whole_)) {
      if (difference.file == kCpusetCpus && Lags(node)) continue;
      findings.push_back(Tell(node, difference));
    }
    if (std::optional<Finding> finding = FindNotEffective(node, whole_)) findings.push_back(*std::move(finding));
  }

  // What its tasks are held to: until the kubelet comes round, all that it had and will have.
  Fence Expected(const TreeNode& node) const {
    Fence fence = *node.fence;
    if (Lags(node)) fence.cpus |= node.now.cpus;
    return fence;
  }

 private:
  bool Lags(const TreeNode& node) const {
    const Fence& fence = *node.fence;
    if (fence.role != CgroupRole::kContainer || fence.exclusive || fence.cpus != plan_.shared) return false;
    return std::ranges::find(options_.earlier_pools, node.now.cpus) != options_.earlier_pools.end();
  }

  static Finding Tell(const TreeNode& node, const FileDifference& difference) {
    const Fence& fence = *node.fence;
    const bool quota = difference.file == kCpuMax && fence.exclusive;
    if (!quota) {
      return MakeFinding(FindingKind::kDrift, &fence, node.cgroup.path(), difference,
                         "it is not what the kubelet has decided");
    }
    return MakeFinding(FindingKind::kQuotaAbove, &fence, node.cgroup.path(), difference,
                       fence.role == CgroupRole::kPod
                           ? "the quota of the pod throttles its exclusive containers as soon as the others use it up; "
                             "give those CPU limits of their own, within what the exclusive ones leave"
                           : "the quota of an exclusive container can throttle it; the kubelet lifts it from 1.33 on");
  }

  const Plan& plan_;
  const WholeSets& whole_;
  const AuditOptions& options_;
};

}  // namespace

Plan MakeAuditPlan(const NodeState& state, const Places& places, const AuditOptions& options) {
  Plan plan;
  plan.runtime_cgroups = true;
  plan.shared = state.shared_cpus;
  AddParent("", plan);
  for (const std::string& path : places.classes) AddParent(path, plan);
  for (const auto& [uid, allocation] : state.pods) {
    for (const ContainerAllocation& held : allocation.containers) {
      if (IsExclusive(held)) plan.exclusive |= *held.cpus;
    }
    const auto place = places.pods.find(uid);
    if (place != places.pods.end()) PodAudit(allocation, place->second, options, plan).Run();
  }
  if (plan.shared.empty() && !plan.exclusive.empty()) plan.findings.push_back(EmptyPool());
  return plan;
}

absl::StatusOr<Inspection> Audit(const NodeState& state, const Places& places, const AuditOptions& options) {
  const absl::StatusOr<Cgroup> root = OpenHierarchy(options.cgroup_root);
  if (!root.ok()) return root.status();
  const absl::StatusOr<Cgroup> top = root->OpenChild(places.top);
  if (!top.ok()) return top.status();
  absl::StatusOr<WholeSets> whole = ReadWhole(*root, places.top);
  if (!whole.ok()) return whole.status();
  const absl::StatusOr<CpuSet> offline = ReadOfflineCpus(options.sys_root);
  if (!offline.ok()) return offline.status();
  whole->cpus -= *offline;

  const Plan plan = MakeAuditPlan(state, places, options);
  Inspection inspection;
  inspection.findings = PlanFindings(plan, *root, places.top);
  absl::StatusOr<std::vector<TreeNode>> nodes = ReadTree(*top, plan, &inspection.unseen);
  if (!nodes.ok()) return nodes.status();
  std::erase_if(*nodes, IsDead);
  const absl::StatusOr<std::vector<Cgroup>> parents = OpenParents(*top, plan);
  if (!parents.ok()) return parents.status();
  for (const Cgroup& parent : *parents) {
    // The kubelet passes controllers on with the first pod in a cgroup, a runtime with the first container.
    const bool holds = std::ranges::any_of(*nodes, [&](const TreeNode& node) {
      return node.fence != nullptr && node.cgroup.path().starts_with(Cat(parent.path(), "/"));
    });
    if (!holds) continue;
    absl::StatusOr<std::optional<Finding>> off = FindControllersOff(parent);
    if (!off.ok()) return off.status();
    if (*off) inspection.findings.push_back(**std::move(off));
  }
  const NodeAudit audit(plan, *whole, options);
  for (const TreeNode& node : *nodes) audit.Judge(node, inspection.findings);
  std::ranges::move(FindCpusOffline(*nodes, *offline), std::back_inserter(inspection.findings));
  std::ranges::move(FindMemoryOutside(*nodes, inspection.unseen), std::back_inserter(inspection.findings));
  absl::StatusOr<std::optional<Finding>> quota = FindQuotaAbove(*root, plan);
  if (!quota.ok()) return quota.status();
  if (*quota) inspection.findings.push_back(**std::move(quota));
  SortLives(plan, top->path(), *nodes, inspection);
  // Of a QoS class it is enough to know that what runs below is a container's.
  std::erase_if(inspection.live, [&](const LiveFence& live) {
    return std::ranges::any_of(places.classes,
                               [&](const std::string& path) { return live.fence.path.starts_with(Cat(path, "/")); });
  });
  for (LiveFence& live : inspection.live) {
    const auto node = std::ranges::find(*nodes, live.fence.path, &TreeNode::path);
    if (node != nodes->end()) live.fence = audit.Expected(*node);
  }
  return inspection;
}

}  // namespace podfence
