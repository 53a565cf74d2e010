#pragma once

// What containers and pods ask of the CPU manager's static policy (cpumanager/policy_static.go: guaranteedCPUs,
// podGuaranteedCPUs, validatePodScopeResources).

#include "absl/status/status.h"
#include "agent/core/pod.h"

namespace podfence {

// CPUs the container gets for itself: its whole CPU request in a Guaranteed pod; under a pod-level budget only where
// its requests equal its limits. 0: it shares.
int ContainerExclusiveCpus(const Pod& pod, const Container& container);

// CPUs the pod gets for itself as a whole: its budget where that is a whole number, or, without one, the most that its
// containers need at one time. 0: it shares.
int PodExclusiveCpus(const Pod& pod);

// Whether every container that needs the pod shared pool finds a CPU in it. FailedPrecondition, in the reference's
// words: the exclusive requests leave nothing of the pod's budget.
absl::Status CheckPodSharedCpus(const Pod& pod);

}  // namespace podfence
