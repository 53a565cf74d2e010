#include "agent/allocator/admit.h"

#include <utility>

#include "agent/allocator/explain.h"

namespace podfence {
namespace {

constexpr const char* kTopologyAffinityError = "TopologyAffinityError";

class Admission {
 public:
  Admission(const Managers& managers, const HintMerger& merger, const std::vector<DeviceHints>& devices, Draft& draft,
            Trace* trace)
      : managers_(managers), merger_(merger), devices_(devices), draft_(draft), trace_(trace) {}

  std::optional<AdmissionFailure> Run() {
    if (managers_.topology.policy == TopologyPolicy::kNone) return Unaligned();
    if (managers_.topology.scope == TopologyScope::kContainer) return ByContainer();
    return draft_.pod->HasPodLevelResources() ? ByPodBudget() : ByPod();
  }

 private:
  std::optional<AdmissionFailure> Unaligned() {
    return ForEach([&](const Container& container) {
      BeginStep(container.name);
      return Allocate(container, Hint{});
    });
  }

  std::optional<AdmissionFailure> ByContainer() {
    return ForEach([&](const Container& container) -> std::optional<AdmissionFailure> {
      BeginStep(container.name);
      CollectHints(container.name, managers_.cpu.ContainerHints(draft_, container),
                   managers_.memory.ContainerHints(draft_, container));
      if (!Merge()) {
        return AffinityFailure(container.name, draft_.pod->HasPodLevelResources()
                                                   ? "Pod Scope pod with pod-level resources failed admission with a "
                                                     "container-level topology manager"
                                                   : "Resources cannot be allocated with Topology locality");
      }
      return Allocate(container, merged_.best);
    });
  }

  // The pod scope for a pod without a budget: one affinity, allocated container by container.
  std::optional<AdmissionFailure> ByPod() {
    BeginStep("");
    CollectHints("", managers_.cpu.PodHints(draft_), managers_.memory.PodHints(draft_));
    if (!Merge()) return AffinityFailure("", "Resources cannot be allocated with Topology locality");
    return ForEach([&](const Container& container) { return Allocate(container, merged_.best); });
  }

  // The pod scope for a pod with a budget: one bubble.
  std::optional<AdmissionFailure> ByPodBudget() {
    BeginStep("");
    CollectHints("", managers_.cpu.PodHints(draft_), managers_.memory.PodHints(draft_));
    if (!Merge()) {
      return AffinityFailure(
          "", "Pod Scope pod with pod-level resources failed admission under pod-scope topology manager");
    }
    if (std::optional<Refusal> refusal = managers_.cpu.AllocatePod(draft_, merged_.best)) {
      return ProviderFailure(Resource::kCpu, "", std::move(*refusal));
    }
    if (std::optional<Refusal> refusal = managers_.memory.AllocatePod(draft_, merged_.best)) {
      return ProviderFailure(Resource::kMemory, "", std::move(*refusal));
    }
    return std::nullopt;
  }

  template <typename Visitor>
  std::optional<AdmissionFailure> ForEach(Visitor&& visit) {
    for (const auto* list : {&draft_.pod->init_containers, &draft_.pod->containers}) {
      for (const Container& container : *list) {
        if (std::optional<AdmissionFailure> failure = visit(container)) return failure;
      }
    }
    return std::nullopt;
  }

  std::optional<AdmissionFailure> Allocate(const Container& container, const Hint& affinity) {
    if (std::optional<Refusal> refusal = managers_.cpu.Allocate(draft_, container, affinity)) {
      return ProviderFailure(Resource::kCpu, container.name, std::move(*refusal));
    }
    if (std::optional<Refusal> refusal = managers_.memory.Allocate(draft_, container, affinity)) {
      return ProviderFailure(Resource::kMemory, container.name, std::move(*refusal));
    }
    return std::nullopt;
  }

  // The providers in the order they are registered with the topology manager: devices, CPU, memory.
  void CollectHints(const std::string& container, ProviderHints cpu, ProviderHints memory) {
    hints_.clear();
    for (const DeviceHints& device : devices_) {
      if (device.container == container) hints_.push_back(device.hints);
    }
    hints_.push_back(std::move(cpu));
    hints_.push_back(std::move(memory));
  }

  bool Merge() {
    merged_ = merger_.Merge(hints_);
    if (draft_.trace != nullptr) {
      draft_.trace->hints = ShowHints(hints_, managers_.merger.positions());
      draft_.trace->merged = merged_.best.numa;
      draft_.trace->preferred = merged_.best.preferred;
      draft_.trace->admitted = merged_.admit;
    }
    return merged_.admit;
  }

  void BeginStep(const std::string& container) {
    if (trace_ == nullptr) return;
    TraceStep& step = trace_->steps.emplace_back();
    step.container = container;
    step.admitted = true;
    draft_.trace = &step;
  }

  AdmissionFailure AffinityFailure(const std::string& container, const char* message) {
    return {.refusal = {.reason = kTopologyAffinityError, .message = message},
            .container = container,
            .provider = std::nullopt,
            .provided = std::move(hints_)};
  }

  AdmissionFailure ProviderFailure(Resource provider, const std::string& container, Refusal refusal) {
    if (draft_.trace != nullptr) draft_.trace->admitted = false;
    return {.refusal = std::move(refusal), .container = container, .provider = provider, .provided = std::move(hints_)};
  }

  const Managers& managers_;
  const HintMerger& merger_;
  const std::vector<DeviceHints>& devices_;
  Draft& draft_;
  Trace* trace_;
  std::vector<ProviderHints> hints_;
  Merged merged_;
};

}  // namespace

Draft NewDraft(const NodeState& state, std::shared_ptr<const Pod> pod) {
  Draft draft;
  draft.before = &state;
  draft.pod = std::move(pod);
  draft.shared_cpus = state.shared_cpus;
  draft.nodes = state.nodes;
  draft.allocation.pod = draft.pod;
  draft.allocation.containers.reserve(draft.pod->init_containers.size() + draft.pod->containers.size());
  ForEachContainer(*draft.pod, [&](const Container& container, bool) {
    draft.allocation.containers.emplace_back().name = container.name;
  });
  return draft;
}

std::optional<AdmissionFailure> AdmitIntoDraft(const Managers& managers, const HintMerger& merger,
                                               const std::vector<DeviceHints>& devices, Draft& draft, Trace* trace) {
  return Admission(managers, merger, devices, draft, trace).Run();
}

void SetIsolation(const Managers& managers, Draft& draft) {
  size_t index = 0;
  ForEachContainer(*draft.pod, [&](const Container& container, bool) {
    ContainerAllocation& allocation = draft.allocation.containers[index++];
    allocation.cpu_isolation = managers.cpu.IsolationOf(draft, container);
    allocation.memory_isolation = managers.memory.IsolationOf(draft, container);
  });
}

}  // namespace podfence
