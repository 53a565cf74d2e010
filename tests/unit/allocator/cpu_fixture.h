#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "agent/core/machine.h"
#include "agent/core/pod.h"

namespace podfence {

// A small machine: sockets × NUMA nodes each × cores each, CPU numbers as Linux gives them: first one thread of every
// core, then their siblings. Each NUMA node is its own L3.
struct MachineShape {
  int sockets = 1;
  int nodes_per_socket = 1;
  int cores_per_node = 4;
  int threads = 2;
  int l3_per_node = 1;
};
inline Machine MakeMachine(const MachineShape& shape) {
  const int nodes = shape.sockets * shape.nodes_per_socket;
  const int cores = nodes * shape.cores_per_node;
  Machine machine;
  for (int n = 0; n < nodes; ++n) {
    NumaNode node;
    node.id = n;
    node.memory = uint64_t{8} << 30;
    node.distances.assign(static_cast<size_t>(nodes), 20);
    node.distances[static_cast<size_t>(n)] = 10;
    for (int c = 0; c < shape.cores_per_node; ++c) {
      Core core;
      core.socket = n / shape.nodes_per_socket;
      core.l3 = n * shape.l3_per_node + c * shape.l3_per_node / shape.cores_per_node;
      for (int t = 0; t < shape.threads; ++t) core.threads.push_back(t * cores + n * shape.cores_per_node + c);
      node.cores.push_back(std::move(core));
    }
    machine.nodes.push_back(std::move(node));
  }
  return machine;
}

// A container with equal requests and limits; cpu "" for none.
inline Container MakeContainer(std::string name, const std::string& cpu) {
  Container container;
  container.name = std::move(name);
  if (!cpu.empty()) {
    for (ResourceList* list : {&container.resources.requests, &container.resources.limits}) {
      (*list)[std::string(kCpu)] = *Quantity::Parse(cpu);
      (*list)[std::string(kMemory)] = *Quantity::Parse("64Mi");
    }
  }
  return container;
}
inline Container MakeSidecar(std::string name, const std::string& cpu) {
  Container container = MakeContainer(std::move(name), cpu);
  container.restart_policy = RestartPolicy::kAlways;
  return container;
}

// A Guaranteed pod; budget "" for none.
inline std::shared_ptr<Pod> MakePod(std::vector<Container> init, std::vector<Container> apps,
                                    const std::string& budget = "") {
  auto pod = std::make_shared<Pod>();
  pod->uid = "uid";
  pod->name = "pod";
  pod->qos = QosClass::kGuaranteed;
  pod->init_containers = std::move(init);
  pod->containers = std::move(apps);
  if (!budget.empty()) pod->resources = MakeContainer("", budget).resources;
  return pod;
}

}  // namespace podfence
