#include "agent/commands/replay_state.h"

#include <string>
#include <string_view>
#include <vector>

#include "agent/core/text.h"

namespace podfence {
namespace {

using nlohmann::json;

json NodeList(NumaSet numa) {
  json list = json::array();
  for (int node : numa) list.push_back(node);
  return list;
}

json BlockList(const std::vector<MemoryBlock>& blocks) {
  json list = json::array();
  for (const MemoryBlock& block : blocks) {
    list.push_back({{"numa", NodeList(block.numa)}, {"type", block.resource}, {"size", block.bytes}});
  }
  return list;
}

json NodeBook(const NumaNodeMemory& node) {
  json book = {{"assignments", node.assignments}, {"cells", NodeList(node.cells)}};
  for (const NodeMemory& memory : node.memory) {
    book["free"][memory.resource] = memory.free;
    book["reserved"][memory.resource] = memory.reserved;
  }
  return book;
}

// What the container ends up with: an entry of its own, or the node shared pool and every node.
json Held(const ContainerAllocation& container, const CpuSet& shared_cpus) {
  json held = {{"cpus", (container.cpus ? *container.cpus : shared_cpus).ToString()},
               {"cpu_isolation", IsolationName(container.cpu_isolation)},
               {"memory_isolation", IsolationName(container.memory_isolation)}};
  NumaSet mems;
  for (const MemoryBlock& block : container.memory) mems |= block.numa;
  if (!mems.empty()) held["mems"] = mems.ToString();
  return held;
}

}  // namespace

json StateToVector(const NodeState& state) {
  json vector = {{"shared_cpus", state.shared_cpus.ToString()}};
  for (const NumaNodeMemory& node : state.nodes) vector["nodes"][std::to_string(node.id)] = NodeBook(node);
  for (const auto& [uid, pod] : state.pods) {
    if (pod.cpus) vector["pod_cpus"][uid] = pod.cpus->ToString();
    if (!pod.memory.empty()) vector["pod_memory"][uid] = BlockList(pod.memory);
    for (const ContainerAllocation& container : pod.containers) {
      if (container.cpus) vector["cpus"][uid][container.name] = container.cpus->ToString();
      if (!container.memory.empty()) vector["memory"][uid][container.name] = BlockList(container.memory);
      vector["containers"][uid][container.name] = Held(container, state.shared_cpus);
    }
  }
  return vector;
}

json CountersToVector(const CounterGrowth& counters) {
  static constexpr std::string_view kResources[] = {"cpu", "memory"};
  static constexpr std::string_view kSources[] = {"pod", "node"};
  static constexpr std::string_view kAssignments[] = {"node_exclusive", "pod_exclusive", "pod_shared"};
  json vector = json::object();
  const auto add = [&vector](const std::string& name, uint64_t count) {
    if (count != 0) vector[name] = count;
  };
  for (size_t r = 0; r < 2; ++r) {
    for (size_t s = 0; s < 2; ++s) {
      const std::string labels = Cat("{resource_name=", kResources[r], ",source=", kSources[s], "}");
      add(Cat("resource_manager_allocations", labels), counters.allocations[r][s]);
      add(Cat("resource_manager_allocation_errors", labels), counters.allocation_errors[r][s]);
    }
    for (size_t a = 0; a < 3; ++a) {
      add(Cat("resource_manager_container_assignments{assignment_type=", kAssignments[a],
              ",resource_name=", kResources[r], "}"),
          counters.assignments[r][a]);
    }
  }
  return vector;
}

}  // namespace podfence
