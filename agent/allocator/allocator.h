#pragma once

// allocator/ decides which CPUs and which memory every container of a node gets. It is a pure function of machine,
// policy, state and event: no I/O, no clock, no other room but core/. It reproduces kubelet v1.37.2's CPU, Memory and
// Topology managers decision for decision (pkg/kubelet/cm/{cpumanager,memorymanager,topologymanager}, feature gate
// PodLevelResourceManagers, KEP-5526), and every result is validated (validate.h) before anyone sees it.
//
//   Allocator::Admit ─ scope (admit.cpp) ─→ providers' hints (cpu_manager, memory_manager) ─→ merge (hints, merge)
//                                         └→ allocation into a Draft, thrown away whole when anything refuses

#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "agent/allocator/hints.h"
#include "agent/core/decision.h"
#include "agent/core/machine.h"
#include "agent/core/node_state.h"
#include "agent/core/pod.h"
#include "agent/core/policy.h"

namespace podfence {

class CpuManager;
class MemoryManager;
struct TopologyOptions;

// Hints of a further provider (devices), given as input: for the whole pod where container is empty (pod scope), else
// for that container. They are merged before CPU and memory, as the reference's device manager is.
struct DeviceHints {
  std::string container;
  ProviderHints hints;
};

class Allocator {
 public:
  // Checks machine and policy together, as the kubelet does when its managers start. InvalidArgument says what is
  // wrong in the reference's terms and names the configuration key.
  static absl::StatusOr<Allocator> Create(Machine machine, Policy policy);
  Allocator(Allocator&&) noexcept;
  Allocator& operator=(Allocator&&) noexcept;
  ~Allocator();

  const Machine& machine() const;
  const Policy& policy() const;
  // CPUs that are never exclusive (reservedSystemCPUs, or the lowest cores for the reserved amount).
  const CpuSet& reserved_cpus() const;

  // The state of a node without pods.
  NodeState InitialState() const;

  // Decides on a pod that pods/ has defaulted and validated. The caller applies and commits the change, or, of a
  // refusal, AdmitResult::books_after_refusal where there is one. A UID that is already in the state is AlreadyExists'
  // rejection (reason "AlreadyAdmitted"): the agent never admits twice. trace, where given, is filled with the hints,
  // merges and picks of the decision.
  AdmitResult Admit(const NodeState& state, std::shared_ptr<const Pod> pod,
                    const std::vector<DeviceHints>& devices = {}, Trace* trace = nullptr) const;

  // Takes up a pod as it was decided before, by an agent whose checkpoint is lost: in the state it then holds just
  // that. AlreadyExists for a UID in the state, FailedPrecondition where what it holds is not free.
  absl::StatusOr<StateChange> Restore(const NodeState& state, PodAllocation allocation) const;

  // A container was started: an earlier one-shot init container's memory that is no longer needed is freed
  // (memory_manager.go AddContainer). NotFound names an unknown UID or container.
  absl::StatusOr<StateChange> Start(const NodeState& state, std::string_view uid, std::string_view container) const;

  // The pod is gone: everything it holds is free again. NotFound names an unknown UID.
  absl::StatusOr<StateChange> Remove(const NodeState& state, std::string_view uid) const;

 private:
  struct Parts;
  explicit Allocator(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace podfence
