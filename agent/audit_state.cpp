#include "agent/audit_state.h"

#include <algorithm>
#include <utility>

#include "agent/allocator/cpu_requests.h"
#include "agent/allocator/memory_requests.h"

namespace podfence {
namespace {

template <typename Map, typename Key>
const typename Map::mapped_type* Find(const Map& map, const Key& key) {
  const auto found = map.find(key);
  return found == map.end() ? nullptr : &found->second;
}

// An entry of a pod with a bubble is the pod's or the container's own, every other the container's own.
Isolation IsolationOf(bool entry, bool bubble, bool own) {
  if (!entry) return Isolation::kHost;
  return bubble && !own ? Isolation::kPod : Isolation::kContainer;
}

// Containers whose CPUs have an entry, but one-shot init containers: their CPUs pass on. "": the pod itself.
std::set<std::string> EntriesOf(const KubeletCpuState& kubelet, const Pod& pod) {
  std::set<std::string> names;
  if (kubelet.pods.contains(pod.uid)) names.insert("");
  const auto* entries = Find(kubelet.containers, pod.uid);
  ForEachContainer(pod, [&](const Container& container, bool init) {
    if (init && !IsSidecar(container)) return;
    if (entries != nullptr && entries->contains(container.name)) names.insert(container.name);
  });
  return names;
}

PodAllocation AllocationOf(const KubeletState& kubelet, const std::shared_ptr<const Pod>& pod) {
  PodAllocation allocation;
  allocation.pod = pod;
  if (const CpuSet* cpus = Find(kubelet.cpu.pods, pod->uid)) allocation.cpus = *cpus;
  if (const auto* blocks = Find(kubelet.memory.pods, pod->uid)) allocation.memory = *blocks;
  const auto* cpu_entries = Find(kubelet.cpu.containers, pod->uid);
  const auto* memory_entries = Find(kubelet.memory.containers, pod->uid);
  ForEachContainer(*pod, [&](const Container& container, bool) {
    ContainerAllocation& held = allocation.containers.emplace_back();
    held.name = container.name;
    const CpuSet* cpus = cpu_entries == nullptr ? nullptr : Find(*cpu_entries, container.name);
    if (cpus != nullptr) held.cpus = *cpus;
    held.cpu_isolation =
        IsolationOf(cpus != nullptr, allocation.cpus.has_value(), ContainerExclusiveCpus(*pod, container) > 0);
    const auto* blocks = memory_entries == nullptr ? nullptr : Find(*memory_entries, container.name);
    if (blocks != nullptr) held.memory = *blocks;
    const absl::StatusOr<MemoryRequests> own = ContainerMemoryRequests(*pod, container);
    held.memory_isolation = IsolationOf(!held.memory.empty(), !allocation.memory.empty(), own.ok() && !own->empty());
  });
  return allocation;
}

}  // namespace

NodeState ComposeState(const KubeletState& kubelet, const std::vector<PodRecordPtr>& pods) {
  NodeState state;
  state.shared_cpus = kubelet.cpu.shared;
  state.nodes = kubelet.memory.nodes;
  for (const PodRecordPtr& record : pods) {
    if (record->pod != nullptr) state.pods.emplace(record->uid, AllocationOf(kubelet, record->pod));
  }
  return state;
}

std::vector<PodRecordPtr> TakenBack::LeaveOut(const KubeletState& kubelet, std::vector<PodRecordPtr> pods) {
  std::erase_if(held_, [&](const auto& entry) {
    return std::ranges::none_of(pods, [&](const PodRecordPtr& record) { return record->uid == entry.first; });
  });
  std::erase_if(pods, [&](const PodRecordPtr& record) {
    if (record->pod == nullptr) return false;
    std::set<std::string> now = EntriesOf(kubelet.cpu, *record->pod);
    std::set<std::string>& held = held_[record->uid];
    if (!std::ranges::includes(now, held)) return true;
    held = std::move(now);
    return false;
  });
  return pods;
}

std::vector<Unseen> WithoutManagers(const KubeletState& kubelet) {
  if (kubelet.cpu.policy == "static") return {};
  return {
      {"the kubelet's CPU manager", "its policy is " + kubelet.cpu.policy +
                                        ": it gives no container CPUs of its own, so there is nothing to audit. Set "
                                        "the kubelet's cpuManagerPolicy: static, or let Podfence decide (mode: "
                                        "manage)"}};
}

}  // namespace podfence
