#pragma once

// One admission: the scopes of the topology manager (topologymanager/scope.go, scope_container.go, scope_pod.go).

#include <optional>
#include <string>
#include <vector>

#include "agent/allocator/allocator.h"
#include "agent/allocator/cpu_manager.h"
#include "agent/allocator/draft.h"
#include "agent/allocator/memory_manager.h"
#include "agent/allocator/merge.h"

namespace podfence {

// The managers of a node, made from one configuration.
struct Managers {
  TopologyOptions topology;
  HintMerger merger;
  CpuManager cpu;
  MemoryManager memory;
};

// Where an admission failed, with what is needed to explain it.
struct AdmissionFailure {
  Refusal refusal;
  std::string container;                // empty: the pod's
  std::optional<Resource> provider;     // who could not allocate; none: the policy refused the merged hint
  std::vector<ProviderHints> provided;  // the hints that were merged last
};

// The draft of a pod that holds nothing yet. state must outlive it.
Draft NewDraft(const NodeState& state, std::shared_ptr<const Pod> pod);

// Allocates draft.pod into draft, merging hints with merger (managers.merger, or another to see what it would do). On
// failure the draft holds what was done until then, and is good for nothing but its counters and the explanation.
std::optional<AdmissionFailure> AdmitIntoDraft(const Managers& managers, const HintMerger& merger,
                                               const std::vector<DeviceHints>& devices, Draft& draft, Trace* trace);

// Fills in what each container of draft.allocation is fenced to.
void SetIsolation(const Managers& managers, Draft& draft);

}  // namespace podfence
