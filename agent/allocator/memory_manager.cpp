#include "agent/allocator/memory_manager.h"

#include <algorithm>
#include <utility>

#include "agent/allocator/memory_books.h"
#include "agent/allocator/memory_hints.h"
#include "agent/allocator/memory_requests.h"
#include "agent/core/text.h"

namespace podfence {
namespace {

std::vector<MemoryBlock> BlocksOf(const MemoryRequests& requests, NumaSet numa) {
  std::vector<MemoryBlock> blocks;
  blocks.reserve(requests.size());
  for (const MemoryRequest& request : requests) {
    blocks.push_back({numa, std::string(request.resource), request.bytes});
  }
  return blocks;
}

void DropEmpty(MemoryRequests& requests) {
  requests.erase(std::remove_if(requests.begin(), requests.end(), [](const MemoryRequest& r) { return r.bytes == 0; }),
                 requests.end());
}

uint64_t* ReusableOn(Draft& draft, NumaSet numa, std::string_view resource) {
  for (Draft::ReusableMemory& entry : draft.memory_to_reuse) {
    if (entry.numa == numa && entry.resource == resource) return &entry.bytes;
  }
  return nullptr;
}

// A one-shot init container leaves its memory to those after it; any other uses up what was left to it
// (updatePodReusableMemory).
void UpdateReusable(Draft& draft, const Container& container, const std::vector<MemoryBlock>& blocks) {
  const bool leaves = IsOneShotInit(*draft.pod, container);
  for (const MemoryBlock& block : blocks) {
    uint64_t* reusable = ReusableOn(draft, block.numa, block.resource);
    if (!leaves) {
      if (reusable != nullptr) *reusable -= std::min(*reusable, block.bytes);
    } else if (reusable == nullptr) {
      draft.memory_to_reuse.push_back({block.numa, block.resource, block.bytes});
    } else {
      *reusable = std::max(*reusable, block.bytes);
    }
  }
}

// What a container reuses is no longer an earlier init container's, so that the blocks of a pod add up to what it
// holds (updateInitContainersMemoryBlocks).
void ShrinkEarlierInit(Draft& draft, const Container& container, const std::vector<MemoryBlock>& blocks) {
  for (const MemoryBlock& block : blocks) {
    uint64_t bytes = block.bytes;
    for (const Container& init : draft.pod->init_containers) {
      if (init.name == container.name || bytes == 0) break;
      if (IsSidecar(init)) continue;
      ContainerAllocation* earlier = draft.allocation.Find(init.name);
      if (earlier == nullptr) continue;
      for (MemoryBlock& held : earlier->memory) {
        if (held.resource != block.resource || held.numa != block.numa) continue;
        const uint64_t part = std::min(held.bytes, bytes);
        held.bytes -= part;
        bytes -= part;
      }
    }
  }
}

// The nodes that serve the requests: the topology manager's affinity, extended where it has not enough, or the default
// where it has none. FailedPrecondition, in the reference's words.
absl::StatusOr<NumaSet> ChooseNodes(const Draft& draft, const MemoryRequests& requests, Hint affinity) {
  const bool any_node = affinity.numa.empty();
  if (!any_node && HasFree(draft.nodes, affinity.numa, requests)) {
    if (!ViolatesGroups(draft.nodes, affinity.numa)) return affinity.numa;
    return absl::FailedPreconditionError("[memorymanager] preferred hint violates NUMA node allocation");
  }
  const std::optional<HintFamily> family = MemoryFamily(draft.nodes, requests, draft.memory_to_reuse);
  const std::optional<Hint> best = family ? NarrowestHint(*family, affinity.numa) : std::nullopt;
  if (!best) {
    return absl::FailedPreconditionError(
        any_node
            ? "[memorymanager] failed to get the default NUMA affinity, no NUMA nodes with enough memory is available"
            : "[memorymanager] failed to find NUMA nodes to extend the current topology hint");
  }
  if (!best->preferred && affinity.preferred) {
    return absl::FailedPreconditionError(any_node ? "[memorymanager] failed to find the default preferred hint"
                                                  : "[memorymanager] failed to find the extended preferred hint");
  }
  if (ViolatesGroups(draft.nodes, best->numa)) {
    return absl::FailedPreconditionError("[memorymanager] preferred hint violates NUMA node allocation");
  }
  return best->numa;
}

void Note(const Draft& draft, std::string_view whose, const std::vector<MemoryBlock>& blocks) {
  if (draft.trace == nullptr) return;
  for (const MemoryBlock& block : blocks) {
    draft.trace->notes.push_back(
        Cat(whose, " took ", block.bytes, " bytes of ", block.resource, " of NUMA nodes ", block.numa.ToString()));
  }
}

// Parts the pod's budget among its containers, all on the same nodes: exclusive containers get what they ask for,
// one-shot init containers that share get all that earlier sidecars left, the rest share what is left at the end.
// Amounts are the reference's to the bit: a container's huge pages that the budget does not name make the shared rest
// wrap around. Only the pod's own blocks are booked, so no book is wrong by it.
void PartBudget(Draft& draft, const MemoryRequests& budget, NumaSet numa) {
  const Pod& pod = *draft.pod;
  MemoryRequests rest = budget;
  const auto take = [&rest](const MemoryRequests& requests, bool is_init) {
    for (const MemoryRequest& request : requests) {
      auto place = std::find_if(rest.begin(), rest.end(),
                                [&](const MemoryRequest& known) { return known.resource >= request.resource; });
      if (place == rest.end() || place->resource != request.resource) {
        if (is_init) continue;
        place = rest.insert(place, {request.resource, 0});
      }
      place->bytes -= request.bytes;
    }
  };
  std::vector<ContainerAllocation*> sharing;
  ForEachContainer(pod, [&](const Container& container, bool is_init) {
    ContainerAllocation* allocation = draft.allocation.Find(container.name);
    if (allocation == nullptr) return;
    MemoryRequests requests = *ContainerMemoryRequests(pod, container);
    const bool one_shot = is_init && !IsSidecar(container);
    ++draft.counters.Allocations(Resource::kMemory, Source::kPod);
    ++draft.counters.Assignments(Resource::kMemory,
                                 requests.empty() ? Assignment::kPodShared : Assignment::kPodExclusive);
    if (requests.empty() && !one_shot) {
      sharing.push_back(allocation);
      return;
    }
    if (requests.empty()) {
      requests = rest;
    } else if (!one_shot) {
      take(requests, is_init);
    }
    DropEmpty(requests);
    allocation->memory = BlocksOf(requests, numa);
    Note(draft, container.name, allocation->memory);
  });
  DropEmpty(rest);
  for (ContainerAllocation* allocation : sharing) allocation->memory = BlocksOf(rest, numa);
}

// Every resource gets the same sets; there is one at least.
ProviderHints HintsFor(const Draft& draft, const MemoryRequests& requests) {
  ProviderHints hints;
  std::optional<HintFamily> family = MemoryFamily(draft.nodes, requests, draft.memory_to_reuse);
  if (!family) return hints;
  hints.resize(requests.size());
  for (size_t r = 0; r < requests.size(); ++r) {
    hints[r].resource = requests[r].resource;
    hints[r].kind = ResourceHints::Kind::kFamily;
    if (r > 0) hints[r].family = *family;
  }
  hints[0].family = *std::move(family);
  return hints;
}

void ReleaseContainer(Draft& draft, ContainerAllocation& container) {
  // Within a pod's blocks the containers' parts are not booked.
  if (draft.allocation.memory.empty()) {
    for (const MemoryBlock& block : container.memory) ReturnMemory(draft.nodes, block);
  }
  container.memory.clear();
  container.memory_isolation = Isolation::kHost;
}

std::vector<std::pair<std::string, uint64_t>> Named(const absl::StatusOr<MemoryRequests>& requests) {
  std::vector<std::pair<std::string, uint64_t>> named;
  if (!requests.ok()) return named;
  for (const MemoryRequest& request : *requests) named.emplace_back(request.resource, request.bytes);
  return named;
}

}  // namespace

struct MemoryManager::Rules {
  bool is_static = false;
  std::vector<NumaNodeMemory> initial;
};

MemoryManager::MemoryManager(std::unique_ptr<Rules> rules) : rules_(std::move(rules)) {}
MemoryManager::MemoryManager(MemoryManager&&) noexcept = default;
MemoryManager::~MemoryManager() = default;

absl::StatusOr<MemoryManager> MemoryManager::Create(const Machine& machine, const Policy& policy) {
  auto rules = std::make_unique<Rules>();
  if (policy.memory_manager_policy == "Static") {
    absl::StatusOr<std::vector<NumaNodeMemory>> books = FreshBooks(machine, policy);
    if (!books.ok()) return books.status();
    rules->is_static = true;
    rules->initial = *std::move(books);
  } else if (policy.memory_manager_policy == "BestEffort") {
    return absl::InvalidArgumentError(
        "memoryManagerPolicy: policy \"BestEffort\" is not available for platform \"linux\"");
  } else if (policy.memory_manager_policy != "None") {
    return absl::InvalidArgumentError(
        Cat("memoryManagerPolicy: unknown policy: \"", policy.memory_manager_policy, "\" (None or Static)"));
  }
  return MemoryManager(std::move(rules));
}

std::vector<NumaNodeMemory> MemoryManager::InitialNodes() const { return rules_->initial; }

ProviderHints MemoryManager::ContainerHints(const Draft& draft, const Container& container) const {
  if (!Manages(*draft.pod)) return {};
  const absl::StatusOr<MemoryRequests> requests = ContainerMemoryRequests(*draft.pod, container);
  // The reference admits an amount that it cannot represent without alignment, and refuses it when it allocates.
  if (!requests.ok() || requests->empty()) return {};
  return HintsFor(draft, *requests);
}

ProviderHints MemoryManager::PodHints(const Draft& draft) const {
  if (!Manages(*draft.pod)) return {};
  const absl::StatusOr<MemoryRequests> requests = PodMemoryRequests(*draft.pod);
  if (!requests.ok() || requests->empty()) return {};
  if (draft.pod->HasPodLevelResources() && !CheckPodSharedPool(*draft.pod).ok()) {
    ProviderHints unsatisfiable(requests->size());
    for (size_t r = 0; r < requests->size(); ++r) {
      unsatisfiable[r].resource = (*requests)[r].resource;
      unsatisfiable[r].kind = ResourceHints::Kind::kList;
    }
    return unsatisfiable;
  }
  return HintsFor(draft, *requests);
}

std::optional<Refusal> MemoryManager::Allocate(Draft& draft, const Container& container, const Hint& affinity) const {
  if (!Manages(*draft.pod)) return std::nullopt;
  const absl::StatusOr<MemoryRequests> requests = ContainerMemoryRequests(*draft.pod, container);
  if (!requests.ok()) return Unexpected(ToStd(requests.status().message()));
  ContainerAllocation* allocation = draft.allocation.Find(container.name);
  if (requests->empty() || allocation == nullptr) return std::nullopt;
  const absl::StatusOr<NumaSet> numa = ChooseNodes(draft, *requests, affinity);
  if (!numa.ok()) {
    ++draft.counters.Errors(Resource::kMemory, Source::kNode);
    return Unexpected(ToStd(numa.status().message()));
  }
  for (const MemoryRequest& request : *requests) {
    const uint64_t* reusable = ReusableOn(draft, *numa, request.resource);
    const uint64_t reused = reusable == nullptr ? 0 : std::min(*reusable, request.bytes);
    TakeMemory(draft.nodes, *numa, request.resource, request.bytes - reused);
    ++draft.counters.Allocations(Resource::kMemory, Source::kNode);
  }
  allocation->memory = BlocksOf(*requests, *numa);
  UpdateReusable(draft, container, allocation->memory);
  ShrinkEarlierInit(draft, container, allocation->memory);
  ++draft.counters.Assignments(Resource::kMemory, Assignment::kNodeExclusive);
  Note(draft, container.name, allocation->memory);
  return std::nullopt;
}

std::optional<Refusal> MemoryManager::AllocatePod(Draft& draft, const Hint& affinity) const {
  if (!Manages(*draft.pod)) return std::nullopt;
  const absl::StatusOr<MemoryRequests> budget = PodMemoryRequests(*draft.pod);
  if (!budget.ok()) return std::nullopt;  // the reference lets such a pod in without memory of its own
  if (absl::Status pool = CheckPodSharedPool(*draft.pod); !pool.ok()) {
    ++draft.counters.Errors(Resource::kMemory, Source::kPod);
    return Refusal{"EmptyPodSharedPoolError", std::string(ToStd(pool.message()))};
  }
  const absl::StatusOr<NumaSet> numa = ChooseNodes(draft, *budget, affinity);
  if (!numa.ok()) {
    ++draft.counters.Errors(Resource::kMemory, Source::kPod);
    return Unexpected(ToStd(numa.status().message()));
  }
  for (const MemoryRequest& request : *budget) TakeMemory(draft.nodes, *numa, request.resource, request.bytes);
  draft.allocation.memory = BlocksOf(*budget, *numa);
  Note(draft, "the pod", draft.allocation.memory);
  PartBudget(draft, *budget, *numa);
  return std::nullopt;
}

void MemoryManager::Start(Draft& draft, const Container& container) const {
  for (const Container& init : draft.pod->init_containers) {
    if (init.name == container.name) break;
    ContainerAllocation* earlier = IsSidecar(init) ? nullptr : draft.allocation.Find(init.name);
    if (earlier != nullptr) ReleaseContainer(draft, *earlier);
  }
}

void MemoryManager::Release(Draft& draft) const {
  for (ContainerAllocation& container : draft.allocation.containers) ReleaseContainer(draft, container);
  for (const MemoryBlock& block : draft.allocation.memory) ReturnMemory(draft.nodes, block);
  draft.allocation.memory.clear();
}

absl::Status MemoryManager::Restore(Draft& draft) const {
  std::vector<const MemoryBlock*> booked;
  for (const MemoryBlock& block : draft.allocation.memory) booked.push_back(&block);
  if (booked.empty()) {
    for (const ContainerAllocation& container : draft.allocation.containers) {
      for (const MemoryBlock& block : container.memory) booked.push_back(&block);
    }
  }
  for (const MemoryBlock* block : booked) {
    if (ViolatesGroups(draft.nodes, block->numa) ||
        !HasFree(draft.nodes, block->numa, {{.resource = block->resource, .bytes = block->bytes}})) {
      return absl::FailedPreconditionError(Cat("pod ", draft.pod->FullName(), " held ", block->bytes, " bytes of ",
                                               block->resource, " on NUMA nodes ", block->numa.ToString(),
                                               ", which are not free now"));
    }
    TakeMemory(draft.nodes, block->numa, block->resource, block->bytes);
  }
  return absl::OkStatus();
}

Isolation MemoryManager::IsolationOf(const Draft& draft, const Container& container) const {
  const ContainerAllocation* allocation = draft.allocation.Find(container.name);
  if (allocation == nullptr || allocation->memory.empty()) return Isolation::kHost;
  const bool shares = draft.pod->HasPodLevelResources() && !RequestsEqualLimits(container);
  return shares ? Isolation::kPod : Isolation::kContainer;
}

bool MemoryManager::Manages(const Pod& pod) const { return rules_->is_static && pod.qos == QosClass::kGuaranteed; }

std::vector<std::pair<std::string, uint64_t>> MemoryManager::Requests(const Pod& pod,
                                                                      const Container& container) const {
  if (!Manages(pod)) return {};
  return Named(ContainerMemoryRequests(pod, container));
}

std::vector<std::pair<std::string, uint64_t>> MemoryManager::Requests(const Pod& pod) const {
  if (!Manages(pod)) return {};
  return Named(PodMemoryRequests(pod));
}

}  // namespace podfence
