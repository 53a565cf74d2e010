#pragma once

// What the tests of the Memory manager share: short ways to say machines, pods and requests.

#include <initializer_list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "agent/allocator/draft.h"
#include "agent/core/machine.h"
#include "agent/core/pod.h"
#include "agent/core/policy.h"

namespace podfence::memory_testing {

inline constexpr uint64_t kMi = uint64_t{1} << 20;
inline constexpr uint64_t kGi = uint64_t{1} << 30;

inline Quantity Amount(const char* text) { return *Quantity::Parse(text); }

inline ResourceList List(std::initializer_list<std::pair<const char*, const char*>> amounts) {
  ResourceList list;
  for (const auto& [resource, amount] : amounts) list[resource] = Amount(amount);
  return list;
}

// A container whose requests are its limits.
inline Container Equal(const char* name, std::initializer_list<std::pair<const char*, const char*>> amounts) {
  Container container;
  container.name = name;
  container.resources.requests = container.resources.limits = List(amounts);
  return container;
}

inline Container Sidecar(Container container) {
  container.restart_policy = RestartPolicy::kAlways;
  return container;
}

inline std::shared_ptr<Pod> GuaranteedPod(std::vector<Container> containers, std::vector<Container> init = {}) {
  auto pod = std::make_shared<Pod>();
  pod->uid = pod->name = "pod";
  pod->qos = QosClass::kGuaranteed;
  pod->containers = std::move(containers);
  pod->init_containers = std::move(init);
  return pod;
}

inline void SetBudget(Pod& pod, std::initializer_list<std::pair<const char*, const char*>> amounts) {
  pod.resources = ResourceRequirements{List(amounts), List(amounts)};
}

// Nodes 0, 1, … of these sizes in GiB, with one CPU each.
inline Machine MachineOf(std::initializer_list<uint64_t> gib) {
  Machine machine;
  int id = 0;
  for (uint64_t size : gib) {
    NumaNode node;
    node.id = id;
    node.memory = size * kGi;
    node.distances.assign(gib.size(), 20);
    node.distances[id] = 10;
    node.cores.push_back({.socket = id, .l3 = std::nullopt, .threads = {id}});
    machine.nodes.push_back(std::move(node));
    ++id;
  }
  return machine;
}

// Static, with 1 GiB reserved on node 0.
inline Policy StaticPolicy() {
  Policy policy;
  policy.reserved = List({{"cpu", "1"}, {"memory", "1Gi"}});
  policy.reserved_memory = {{.numa_node = 0, .limits = List({{"memory", "1Gi"}})}};
  return policy;
}

inline Draft DraftOf(std::shared_ptr<const Pod> pod, std::vector<NumaNodeMemory> nodes) {
  Draft draft;
  draft.pod = draft.allocation.pod = std::move(pod);
  draft.nodes = std::move(nodes);
  ForEachContainer(*draft.pod, [&](const Container& container, bool) {
    draft.allocation.containers.emplace_back().name = container.name;
  });
  return draft;
}

}  // namespace podfence::memory_testing
