#pragma once

#include "agent/core/node_state.h"
#include "agent/enforcer/plan.h"

namespace podfence {

// The cgroups of a container runtime as Kubernetes alone would have them: no cpusets, no partitions, and the quotas
// that the kubelet computes from the limits (cm/helpers_linux.go ResourceConfigForPod, kuberuntime_container_linux.go).
// For the day Podfence leaves a node. A quota group that still holds containers has no quota of its own. Pure.
Plan GiveBackPlan(const NodeState& state, const PlanContext& context);

}  // namespace podfence
