#include "agent/enforcer/give_back.h"

#include <algorithm>

namespace podfence {
namespace {

// As if nothing had been decided.
NodeState WithoutDecisions(const NodeState& state, const CpuSet& all) {
  NodeState plain = state;
  plain.shared_cpus = all;
  for (auto& [uid, allocation] : plain.pods) {
    allocation.cpus.reset();
    for (ContainerAllocation& container : allocation.containers) {
      container.cpus.reset();
      container.cpu_isolation = Isolation::kHost;
      container.memory.clear();
    }
  }
  return plain;
}

bool HasContainerIn(const PodPlace& place, const std::string& group) {
  return std::ranges::any_of(place.containers,
                             [&](const auto& entry) { return entry.second.starts_with(group + "/"); });
}

}  // namespace

Plan GiveBackPlan(const NodeState& state, const PlanContext& context) {
  Plan plan = MakePlan(WithoutDecisions(state, context.all), context);
  for (Fence& fence : plan.fences) {
    fence.cpus.Clear();
    fence.held.cpus = fence.role != CgroupRole::kTop;
    fence.held.mems = fence.role == CgroupRole::kContainer;
    // Of an ephemeral container nothing was ever held but its CPUs.
    const bool decided = state.pods.contains(fence.uid) && state.pods.find(fence.uid)->second.Find(fence.container);
    if (!context.kubelet_quota) fence.cpu_max.quota_us.reset();
    fence.held.cpu_max = fence.role == CgroupRole::kPod || (fence.role == CgroupRole::kContainer && decided);
  }
  for (const auto& [uid, place] : context.places->pods) {
    Fence group;
    group.path = QuotaGroupOf(place.path);
    group.role = CgroupRole::kQuotaGroup;
    group.uid = uid;
    group.held = {.mems = false, .cpu_weight = false, .memory_max = false};
    if (state.pods.contains(uid) && HasContainerIn(place, group.path)) plan.fences.push_back(std::move(group));
  }
  return plan;
}

}  // namespace podfence
