#include "agent/allocator/memory_requests.h"

#include <algorithm>

#include "agent/core/text.h"

namespace podfence {
namespace {

uint64_t AmountOf(const MemoryRequests& requests, std::string_view resource) {
  for (const MemoryRequest& request : requests) {
    if (request.resource == resource) return request.bytes;
  }
  return 0;
}

// The resource's amount, added in resource order where it was missing.
uint64_t& At(MemoryRequests& requests, std::string_view resource) {
  auto place = requests.begin();
  while (place != requests.end() && place->resource < resource) ++place;
  if (place == requests.end() || place->resource != resource) place = requests.insert(place, {resource, 0});
  return place->bytes;
}

void AddTo(MemoryRequests& sums, const MemoryRequests& requests) {
  for (const MemoryRequest& request : requests) At(sums, request.resource) += request.bytes;
}

absl::StatusOr<MemoryRequests> FromList(const ResourceList& list) {
  MemoryRequests requests;
  for (const auto& [resource, amount] : list) {
    if (!IsMemoryResource(resource)) continue;
    const int64_t bytes = amount.Value();
    if (Quantity::FromInt(bytes) != amount) {
      return absl::InvalidArgumentError("[memorymanager] failed to represent quantity as int64");
    }
    requests.push_back({resource, static_cast<uint64_t>(bytes)});
  }
  return requests;
}

bool IsZeroOrUnequal(const ResourceRequirements& resources, std::string_view resource) {
  const auto request = resources.requests.find(resource);
  const auto limit = resources.limits.find(resource);
  if (request == resources.requests.end() || request->second.IsZero()) return true;
  return limit == resources.limits.end() || request->second != limit->second;
}

// The first resource of the budget that taken leaves nothing of; empty: there is some left of all.
std::string_view UsedUp(const MemoryRequests& budget, const MemoryRequests& taken) {
  for (const MemoryRequest& request : budget) {
    if (AmountOf(taken, request.resource) >= request.bytes) return request.resource;
  }
  return {};
}

}  // namespace

bool RequestsEqualLimits(const Container& container) {
  return !IsZeroOrUnequal(container.resources, kCpu) && !IsZeroOrUnequal(container.resources, kMemory);
}

bool IsMemoryResource(std::string_view resource) {
  return resource == kMemory || resource.starts_with(kHugePagesPrefix);
}

absl::StatusOr<MemoryRequests> ContainerMemoryRequests(const Pod& pod, const Container& container) {
  if (pod.HasPodLevelResources() && !RequestsEqualLimits(container)) return MemoryRequests();
  return FromList(container.resources.requests);
}

absl::StatusOr<MemoryRequests> PodMemoryRequests(const Pod& pod) {
  if (pod.HasPodLevelResources()) {
    absl::StatusOr<MemoryRequests> budget = FromList(pod.resources->requests);
    if (!budget.ok()) return budget;
    budget->erase(std::remove_if(budget->begin(), budget->end(), [](const MemoryRequest& r) { return r.bytes == 0; }),
                  budget->end());
    return budget;
  }
  MemoryRequests peak_of_init;
  MemoryRequests sidecars;
  for (const Container& container : pod.init_containers) {
    const absl::StatusOr<MemoryRequests> requests = ContainerMemoryRequests(pod, container);
    if (!requests.ok()) return requests.status();
    if (IsSidecar(container)) {
      AddTo(sidecars, *requests);
      continue;
    }
    for (const MemoryRequest& request : *requests) {
      uint64_t& peak = At(peak_of_init, request.resource);
      peak = std::max(peak, AmountOf(sidecars, request.resource) + request.bytes);
    }
  }
  MemoryRequests needed;
  for (const Container& container : pod.containers) {
    const absl::StatusOr<MemoryRequests> requests = ContainerMemoryRequests(pod, container);
    if (!requests.ok()) return requests.status();
    AddTo(needed, *requests);
  }
  // Resources that only init containers ask for are not counted: so the reference.
  for (MemoryRequest& request : needed) {
    request.bytes =
        std::max(request.bytes + AmountOf(sidecars, request.resource), AmountOf(peak_of_init, request.resource));
  }
  return needed;
}

absl::Status CheckPodSharedPool(const Pod& pod) {
  const absl::StatusOr<MemoryRequests> budget = PodMemoryRequests(pod);
  if (!budget.ok()) return budget.status();
  bool someone_shares = false;
  MemoryRequests exclusive;  // of containers that live as long as the pod
  for (const Container& container : pod.init_containers) {
    const absl::StatusOr<MemoryRequests> requests = ContainerMemoryRequests(pod, container);
    if (!requests.ok()) return requests.status();
    if (IsSidecar(container)) {
      if (requests->empty()) someone_shares = true;
      AddTo(exclusive, *requests);
    } else if (requests->empty()) {
      const std::string_view resource = UsedUp(*budget, exclusive);
      if (!resource.empty()) {
        return absl::FailedPreconditionError(
            Cat("pod rejected, pod has shared init containers but no ", resource, " available for them"));
      }
    }
  }
  for (const Container& container : pod.containers) {
    const absl::StatusOr<MemoryRequests> requests = ContainerMemoryRequests(pod, container);
    if (!requests.ok()) return requests.status();
    if (requests->empty()) someone_shares = true;
    AddTo(exclusive, *requests);
  }
  const std::string_view resource = someone_shares ? UsedUp(*budget, exclusive) : std::string_view();
  if (resource.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(Cat("pod rejected, sum of exclusive container ", resource,
                                           " requests equals pod budget, leaving no memory for shared containers"));
}

}  // namespace podfence
