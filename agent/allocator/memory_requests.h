#pragma once

// What containers and pods ask of the Memory manager (memorymanager/policy_static.go:
// getContainerRequestedResources, getPodRequestedResources, validatePodScopeResources).

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/core/pod.h"

namespace podfence {

// An amount of memory, or of huge pages of one size. The name is one of the pod's own and lives as long as the pod.
struct MemoryRequest {
  std::string_view resource;
  uint64_t bytes = 0;
  friend bool operator==(const MemoryRequest&, const MemoryRequest&) = default;
};

// In resource order, each resource once.
using MemoryRequests = std::vector<MemoryRequest>;

// Requests and limits are set and equal, for CPU and memory both: within a pod-level budget only such a container may
// hold something of its own (cm/qos/helpers.go IsContainerEquivalentQOSGuaranteed).
bool RequestsEqualLimits(const Container& container);

// Whether the name is one the Memory manager looks after: memory, or huge pages of some size.
bool IsMemoryResource(std::string_view resource);

// What the container asks for on its own; empty: it shares. InvalidArgument, in the reference's words: an amount that
// is no whole number of bytes.
absl::StatusOr<MemoryRequests> ContainerMemoryRequests(const Pod& pod, const Container& container);

// What the pod asks for as a whole: its budget, or, without one, the most that its containers need at one time.
// InvalidArgument as above.
absl::StatusOr<MemoryRequests> PodMemoryRequests(const Pod& pod);

// Whether every container that needs the pod shared pool finds something in it. FailedPrecondition, in the
// reference's words: the exclusive requests leave nothing. InvalidArgument as above.
absl::Status CheckPodSharedPool(const Pod& pod);

}  // namespace podfence
