#include "agent/allocator/allocator.h"

#include <utility>

#include "absl/status/status.h"
#include "agent/allocator/admit.h"
#include "agent/allocator/explain.h"
#include "agent/allocator/validate.h"
#include "agent/core/text.h"

namespace podfence {
namespace {

HintMerger MakeMerger(const Machine& machine, const TopologyOptions& options) {
  std::vector<int> ids;
  std::vector<std::vector<uint64_t>> distances;
  for (const NumaNode& node : machine.nodes) {
    ids.push_back(node.id);
    distances.push_back(node.distances);
  }
  return {std::move(ids), std::move(distances), options};
}

StateChange MakeChange(Draft draft) {
  return {.uid = draft.pod->uid,
          .pod = std::move(draft.allocation),
          .shared_cpus = std::move(draft.shared_cpus),
          .nodes = std::move(draft.nodes)};
}

// The pod of the draft gives back all it holds.
StateChange ReleaseAll(const Managers& managers, Draft draft) {
  managers.cpu.Release(draft);
  managers.memory.Release(draft);
  StateChange change = MakeChange(std::move(draft));
  change.pod.reset();
  return change;
}

Rejection Violated(const Pod& pod, const absl::Status& violation) {
  Rejection rejection;
  rejection.reason = kInvariantViolation;
  rejection.message =
      Cat("pod ", pod.FullName(), " is refused, since the decision on it is wrong: ", violation.message(),
          "; this is a defect of Podfence: please report it with the node's state");
  return rejection;
}

}  // namespace

struct Allocator::Parts {
  Machine machine;
  Policy policy;
  Managers managers;
  CpuSet never_exclusive;
  absl::StatusOr<StateChange> Checked(const NodeState& before, StateChange change) const {
    if (absl::Status valid = ValidateChange(never_exclusive, before, change); !valid.ok()) return valid;
    return change;
  }
};

absl::StatusOr<Allocator> Allocator::Create(Machine machine, Policy policy) {
  if (absl::Status status = ValidateMachine(machine); !status.ok()) return status;
  // The order in which the kubelet makes its managers, and so meets what is wrong.
  absl::StatusOr<TopologyOptions> topology = ParseTopologyOptions(machine, policy);
  if (!topology.ok()) return topology.status();
  absl::StatusOr<CpuManager> cpu = CpuManager::Create(machine, policy);
  if (!cpu.ok()) return cpu.status();
  absl::StatusOr<MemoryManager> memory = MemoryManager::Create(machine, policy);
  if (!memory.ok()) return memory.status();
  Managers managers{*topology, MakeMerger(machine, *topology), *std::move(cpu), *std::move(memory)};
  CpuSet never_exclusive = NeverExclusive(machine, managers.cpu.reserved_cpus());
  return Allocator(std::unique_ptr<Parts>(
      new Parts{std::move(machine), std::move(policy), std::move(managers), std::move(never_exclusive)}));
}

Allocator::Allocator(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Allocator::Allocator(Allocator&&) noexcept = default;
Allocator& Allocator::operator=(Allocator&&) noexcept = default;
Allocator::~Allocator() = default;

const Machine& Allocator::machine() const { return parts_->machine; }
const Policy& Allocator::policy() const { return parts_->policy; }
const CpuSet& Allocator::reserved_cpus() const { return parts_->managers.cpu.reserved_cpus(); }

NodeState Allocator::InitialState() const {
  NodeState state;
  state.shared_cpus = parts_->managers.cpu.InitialSharedCpus();
  state.nodes = parts_->managers.memory.InitialNodes();
  return state;
}

AdmitResult Allocator::Admit(const NodeState& state, std::shared_ptr<const Pod> pod,
                             const std::vector<DeviceHints>& devices, Trace* trace) const {
  if (state.pods.contains(pod->uid)) {
    Rejection rejection;
    rejection.reason = "AlreadyAdmitted";
    rejection.message = Cat("pod ", pod->FullName(), " (uid ", pod->uid, ") is already admitted; remove it first");
    AdmitResult refused;
    refused.outcome = std::move(rejection);
    return refused;
  }
  Draft draft = NewDraft(state, std::move(pod));
  std::optional<AdmissionFailure> failure =
      AdmitIntoDraft(parts_->managers, parts_->managers.merger, devices, draft, trace);
  AdmitResult result;
  result.counters = draft.counters;
  if (failure) {
    result.outcome = Explain({parts_->machine, parts_->policy, parts_->managers, devices}, draft, *failure);
    const std::shared_ptr<const Pod> refused = draft.pod;
    absl::StatusOr<StateChange> returned = parts_->Checked(state, ReleaseAll(parts_->managers, std::move(draft)));
    if (!returned.ok()) {
      result.outcome = Violated(*refused, returned.status());
    } else if (returned->nodes != state.nodes) {
      result.books_after_refusal = *std::move(returned);
    }
    return result;
  }
  SetIsolation(parts_->managers, draft);
  const std::shared_ptr<const Pod> admitted = draft.pod;
  absl::StatusOr<StateChange> change = parts_->Checked(state, MakeChange(std::move(draft)));
  if (change.ok()) {
    result.outcome = *std::move(change);
  } else {
    result.outcome = Violated(*admitted, change.status());
  }
  return result;
}

absl::StatusOr<StateChange> Allocator::Restore(const NodeState& state, PodAllocation allocation) const {
  const std::string name = allocation.pod->FullName();
  if (state.pods.contains(allocation.pod->uid)) {
    return absl::AlreadyExistsError(Cat("pod ", name, " (uid ", allocation.pod->uid, ") is already admitted"));
  }
  Draft draft = NewDraft(state, allocation.pod);
  draft.allocation = std::move(allocation);
  const CpuSet held = draft.allocation.HeldCpus();
  if (const CpuSet taken = held - state.shared_cpus; !taken.empty()) {
    return absl::FailedPreconditionError(
        Cat("pod ", name, " held CPUs ", taken.ToString(), ", which are not free now"));
  }
  draft.shared_cpus -= held;
  if (absl::Status status = parts_->managers.memory.Restore(draft); !status.ok()) return status;
  return parts_->Checked(state, MakeChange(std::move(draft)));
}

absl::StatusOr<StateChange> Allocator::Start(const NodeState& state, std::string_view uid,
                                             std::string_view container) const {
  const auto found = state.pods.find(uid);
  if (found == state.pods.end()) {
    return absl::NotFoundError(Cat("start of container ", container, ": no pod with uid ", uid, " is admitted"));
  }
  const Container* started = found->second.pod->FindContainer(container);
  if (started == nullptr) {
    return absl::NotFoundError(Cat("start of container ", container, ": pod ", found->second.pod->FullName(),
                                   " has no container of that name"));
  }
  Draft draft = NewDraft(state, found->second.pod);
  draft.allocation = found->second;
  parts_->managers.memory.Start(draft, *started);
  return parts_->Checked(state, MakeChange(std::move(draft)));
}

absl::StatusOr<StateChange> Allocator::Remove(const NodeState& state, std::string_view uid) const {
  const auto found = state.pods.find(uid);
  if (found == state.pods.end()) {
    return absl::NotFoundError(Cat("removal: no pod with uid ", uid, " is admitted"));
  }
  Draft draft = NewDraft(state, found->second.pod);
  draft.allocation = found->second;
  return parts_->Checked(state, ReleaseAll(parts_->managers, std::move(draft)));
}

}  // namespace podfence
