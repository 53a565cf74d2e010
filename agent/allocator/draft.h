#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "agent/allocator/hints.h"
#include "agent/core/decision.h"
#include "agent/core/node_state.h"
#include "agent/core/text.h"

namespace podfence {

// A decision in the making: the node's books and one pod's allocation, changed by the providers in turn. Thrown away
// whole when anything refuses the pod, so that a refused pod leaves no trace. Only the counters outlive a refusal.
struct Draft {
  const NodeState* before = nullptr;
  std::shared_ptr<const Pod> pod;
  CpuSet shared_cpus;
  std::vector<NumaNodeMemory> nodes;
  PodAllocation allocation;  // containers are there, in order, with nothing given to them yet
  CounterGrowth counters;
  TraceStep* trace = nullptr;  // where the caller wants to know; else null

  // CPUs of this pod's one-shot init containers, for later containers of it (policy_static.go cpusToReuse).
  CpuSet cpus_to_reuse;
  // Memory of this pod's one-shot init containers by node set and resource (initContainersReusableMemory).
  struct ReusableMemory {
    NumaSet numa;
    std::string resource;
    uint64_t bytes = 0;
  };
  std::vector<ReusableMemory> memory_to_reuse;
};

// Why a provider could not allocate: the reference's reason and wording (pkg/kubelet/cm/admission).
struct Refusal {
  std::string reason;
  std::string message;
};

// admission/errors.go: an error without a reason of its own.
inline Refusal Unexpected(std::string_view what) {
  return {"UnexpectedAdmissionError", Cat("Allocate failed due to ", what, ", which is unexpected")};
}

}  // namespace podfence
