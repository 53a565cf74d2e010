#pragma once

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/enforcer/plan.h"
#include "agent/nri/values.h"

namespace podfence {

// What decisions come to in NRI's terms. Pure.

// The resources that a fence holds. NRI cannot say an empty set; a quota of -1 is none.
NriResources ResourcesOf(const Fence& fence);

// What `present` lacks of `wanted`: only what differs, so that nothing is written twice; none: nothing.
std::optional<NriResources> DifferingResources(const NriResources& wanted, const NriResources& present);

// Whether a container is created with what was decided for it. FailedPrecondition names what is missing or different,
// and the plugin that set it.
absl::Status CheckAdjusted(const Fence& fence, const NriValidation& validation);

// A resize that the kubelet asks for of a container in a pod with exclusive CPUs: no other amount of CPU was decided,
// nor of memory where that was assigned on NUMA nodes (the kubelet refuses it too where its own static policies are on,
// allocation/handlers.go). asked: cpu.max of the limits that were decided on; present: what the runtime has, in which
// quotas are ours and shares the kubelet's. FailedPrecondition.
absl::Status CheckResize(const Fence& fence, const std::optional<CpuMax>& asked, const NriResources& present,
                         const NriResources& wanted);

// A resize of the budget of a pod with exclusive CPUs: what was decided from the old one cannot follow. The kubelet
// also asks where nothing changes (it has no record yet of what it actuated, kuberuntime_manager.go
// computePodResizeAction).
absl::Status CheckPodResize(const NriPod& pod, const std::optional<NriResources>& wanted);

// The container's annotation that holds the decision on its pod, for an agent whose checkpoint is lost; containerd and
// CRI-O keep it with the container.
inline constexpr char kDecisionAnnotation[] = "podfence.decision";

}  // namespace podfence
