#include "agent/enforcer/kube_values.h"

#include <algorithm>
#include <cmath>

namespace podfence {
namespace {

constexpr int64_t kMinShares = 2;
constexpr int64_t kMaxShares = 262144;

// An amount of a list; zero counts as none, as in the kubelet.
const Quantity* Find(const ResourceList& list, std::string_view name) {
  const auto found = list.find(name);
  return found == list.end() || found->second.IsZero() ? nullptr : &found->second;
}

Quantity Get(const ResourceList& list, std::string_view name) {
  const Quantity* found = Find(list, name);
  return found == nullptr ? Quantity() : *found;
}

// One resource over all containers: app containers and sidecars run together; a one-shot init container runs with
// the sidecars before it.
Quantity Aggregate(const Pod& pod, ResourceList ResourceRequirements::*list, std::string_view name) {
  Quantity sidecars;
  Quantity peak;
  for (const Container& container : pod.init_containers) {
    Quantity amount = Get(container.resources.*list, name);
    if (IsSidecar(container)) {
      sidecars += amount;
      peak = std::max(peak, sidecars);
    } else {
      amount += sidecars;
      peak = std::max(peak, amount);
    }
  }
  Quantity sum = sidecars;
  for (const Container& container : pod.containers) sum += Get(container.resources.*list, name);
  return std::max(peak, sum);
}

Quantity PodAmount(const Pod& pod, ResourceList ResourceRequirements::*list, std::string_view name) {
  Quantity amount = Aggregate(pod, list, name);
  if (pod.resources) {
    const auto own = ((*pod.resources).*list).find(name);
    if (own != ((*pod.resources).*list).end()) amount = own->second;
  }
  return amount;
}

bool LimitDeclared(const Pod& pod, std::string_view name) {
  if (pod.resources && Find(pod.resources->limits, name) != nullptr) return true;
  bool all = true;
  ForEachContainer(pod, [&](const Container& container, bool) {
    if (Find(container.resources.limits, name) == nullptr) all = false;
  });
  return all;
}

Quantity PodLimit(const Pod& pod, std::string_view name) {
  if (!LimitDeclared(pod, name)) return Quantity();
  Quantity limit = PodAmount(pod, &ResourceRequirements::limits, name);
  if (!limit.IsZero()) limit += Get(pod.overhead, name);
  return limit;
}

Quantity ContainerLimit(const Pod& pod, const Container& container, std::string_view name) {
  const Quantity own = Get(container.resources.limits, name);
  return own.IsZero() && pod.resources ? Get(pod.resources->limits, name) : own;
}

Amounts FromQuantities(const Quantity& cpu, const Quantity& memory) {
  Amounts amounts;
  if (!cpu.IsZero()) amounts.cpu_milli = cpu.MilliValue();
  if (!memory.IsZero()) amounts.memory_bytes = memory.Value();
  return amounts;
}

}  // namespace

CpuMax CpuMaxOf(std::optional<int64_t> milli_cpu, uint64_t period_us) {
  CpuMax max{.quota_us = std::nullopt, .period_us = period_us};
  if (!milli_cpu) return max;
  const auto milli = static_cast<uint64_t>(std::max<int64_t>(*milli_cpu, 0));
  max.quota_us = std::max<uint64_t>(milli * period_us / 1000, kMinQuotaUs);
  return max;
}

uint64_t CpuWeight(int64_t milli_cpu) {
  const int64_t shares =
      milli_cpu > kMaxShares ? kMaxShares : std::clamp(milli_cpu * 1024 / 1000, kMinShares, kMaxShares);
  if (shares == kMinShares) return 1;
  if (shares == kMaxShares) return 10000;
  const double log = std::log2(static_cast<double>(shares));
  return static_cast<uint64_t>(std::ceil(std::pow(10, (log * log + 125 * log) / 612.0 - 7.0 / 34.0)));
}

Amounts PodRequests(const Pod& pod) {
  Quantity cpu = PodAmount(pod, &ResourceRequirements::requests, kCpu);
  Quantity memory = PodAmount(pod, &ResourceRequirements::requests, kMemory);
  cpu += Get(pod.overhead, kCpu);
  memory += Get(pod.overhead, kMemory);
  return FromQuantities(cpu, memory);
}

Amounts PodLimits(const Pod& pod) { return FromQuantities(PodLimit(pod, kCpu), PodLimit(pod, kMemory)); }

Amounts ContainerLimits(const Pod& pod, const Container& container) {
  return FromQuantities(ContainerLimit(pod, container, kCpu), ContainerLimit(pod, container, kMemory));
}

std::optional<int64_t> OwnCpuLimit(const Container& container) {
  const Quantity* own = Find(container.resources.limits, kCpu);
  if (own == nullptr) return std::nullopt;
  return own->MilliValue();
}

int64_t ContainerCpuRequest(const Pod& pod, const Container& container) {
  const auto request = container.resources.requests.find(kCpu);
  if (request != container.resources.requests.end()) return request->second.MilliValue();
  return ContainerLimit(pod, container, kCpu).MilliValue();
}

}  // namespace podfence
