#include "agent/pods/defaults.h"

#include <algorithm>
#include <array>
#include <optional>

#include "agent/core/text.h"
#include "agent/pods/manifest.h"

namespace podfence {
namespace {

void RoundUp(ResourceList& list) {
  for (auto& [name, amount] : list) amount.RoundUpToMilli();
}

void DefaultRequirements(ResourceRequirements& resources) {
  RoundUp(resources.limits);
  RoundUp(resources.requests);
  if (resources.limits.empty()) return;
  if (resources.requests.empty()) {
    resources.requests = resources.limits;
    return;
  }
  for (const auto& [name, amount] : resources.limits) resources.requests.try_emplace(name, amount);
}

// FNV-1a of 128 bits (draft-eastlake-fnv), as the kubelet's hasher for static pods.
std::string Fnv128a(std::string_view text) {
  using Word = unsigned __int128;
  constexpr Word kPrime = (Word{0x0000000001000000} << 64) | 0x000000000000013B;
  Word hash = (Word{0x6C62272E07BB0142} << 64) | 0x62B821756295C58D;
  for (char c : text) {
    hash ^= static_cast<unsigned char>(c);
    hash *= kPrime;
  }
  return Cat(absl::Hex(static_cast<uint64_t>(hash >> 64), absl::kZeroPad16),
             absl::Hex(static_cast<uint64_t>(hash), absl::kZeroPad16));
}

std::string UidFromContent(const Pod& pod) {
  nlohmann::json content = PodToJson(pod);
  content.erase("status");
  return Fnv128a(content.dump());
}

QosClass QosOf(const ResourceRequirements& resources) {
  std::optional<QosClass> qos;
  for (std::string_view name : std::array{kCpu, kMemory}) {
    const auto amount = [name](const ResourceList& list) {
      const auto found = list.find(name);
      return found == list.end() ? Quantity() : found->second;
    };
    const Quantity request = amount(resources.requests);
    if (request != amount(resources.limits)) return QosClass::kBurstable;
    const QosClass one = request.IsZero() ? QosClass::kBestEffort : QosClass::kGuaranteed;
    if (qos.value_or(one) != one) return QosClass::kBurstable;
    qos = one;
  }
  return *qos;
}

}  // namespace

QosClass ComputeQos(const Pod& pod) {
  if (pod.HasPodLevelResources()) return QosOf(*pod.resources);
  std::optional<QosClass> qos;
  ForEachContainer(pod, [&](const Container& container, bool) {
    const QosClass one = QosOf(container.resources);
    qos = qos.value_or(one) == one ? one : QosClass::kBurstable;
  });
  return qos.value_or(QosClass::kBestEffort);
}

void DefaultPod(Pod& pod) {
  if (pod.uid.empty()) pod.uid = UidFromContent(pod);
  if (pod.termination_grace_period_seconds < 0) pod.termination_grace_period_seconds = 1;
  for (Container& container : pod.init_containers) DefaultRequirements(container.resources);
  for (Container& container : pod.containers) DefaultRequirements(container.resources);
  RoundUp(pod.overhead);
  if (pod.resources) {
    RoundUp(pod.resources->requests);
    RoundUp(pod.resources->limits);
  }
  pod.qos = ComputeQos(pod);
}

}  // namespace podfence
