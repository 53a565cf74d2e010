#include "agent/state/state_json.h"

#include <utility>

#include "agent/core/text.h"
#include "agent/pods/defaults.h"
#include "agent/pods/manifest.h"

namespace podfence {
namespace {

using nlohmann::json;

constexpr std::pair<Isolation, const char*> kIsolations[] = {
    {Isolation::kHost, "host"}, {Isolation::kPod, "pod"}, {Isolation::kContainer, "container"}};

json NumaToJson(NumaSet numa) {
  json ids = json::array();
  for (int id : numa) ids.push_back(id);
  return ids;
}

json BlocksToJson(const std::vector<MemoryBlock>& blocks) {
  json list = json::array();
  for (const MemoryBlock& block : blocks) {
    list.push_back({{"numa", NumaToJson(block.numa)}, {"type", block.resource}, {"size", block.bytes}});
  }
  return list;
}

// Reads one JSON document and remembers the first thing that is wrong with it, with its place, so that the readers
// below stay straight lines.
class Reader {
 public:
  const absl::Status& status() const { return status_; }

  void Fail(const std::string& place, std::string_view why) {
    if (status_.ok()) status_ = absl::InvalidArgumentError(Cat(place, ": ", why));
  }

  const json& Member(const json& object, const char* key, const std::string& place) {
    static const json kNull;
    if (!object.is_object()) {
      Fail(place, "must be an object");
      return kNull;
    }
    const auto found = object.find(key);
    return found == object.end() ? kNull : *found;
  }

  std::string Text(const json& value, const std::string& place) {
    if (value.is_string()) return value.get<std::string>();
    Fail(place, "must be a string");
    return "";
  }

  uint64_t Number(const json& value, uint64_t limit, const std::string& place) {
    const bool negative = value.is_number_integer() && !value.is_number_unsigned() && value.get<int64_t>() < 0;
    if (value.is_number_integer() && !negative && value.get<uint64_t>() <= limit) return value.get<uint64_t>();
    Fail(place, Cat("must be a whole number from 0 to ", limit));
    return 0;
  }

  const json& List(const json& value, const std::string& place) {
    static const json kEmpty = json::array();
    if (value.is_array()) return value;
    if (!value.is_null()) Fail(place, "must be a list");
    return kEmpty;
  }

  CpuSet Cpus(const json& value, const std::string& place) {
    absl::StatusOr<CpuSet> cpus = CpuSet::Parse(Text(value, place));
    if (cpus.ok()) return *std::move(cpus);
    Fail(place, ToStd(cpus.status().message()));
    return {};
  }

  NumaSet Numa(const json& value, const std::string& place) {
    NumaSet numa;
    for (const json& id : List(value, place)) {
      numa.Add(static_cast<int>(Number(id, NumaSet::kMaxNode, place)));
    }
    return numa;
  }

  std::vector<MemoryBlock> Blocks(const json& value, const std::string& place) {
    std::vector<MemoryBlock> blocks;
    for (const json& block : List(value, place)) {
      const std::string here = Cat(place, "[", blocks.size(), "]");
      blocks.push_back({.numa = Numa(Member(block, "numa", here), here + ".numa"),
                        .resource = Text(Member(block, "type", here), here + ".type"),
                        .bytes = Number(Member(block, "size", here), UINT64_MAX, here + ".size")});
    }
    return blocks;
  }

  Isolation IsolationLevel(const json& value, const std::string& place) {
    const std::string text = Text(value, place);
    for (const auto& [isolation, name] : kIsolations) {
      if (text == name) return isolation;
    }
    Fail(place, "must be host, pod or container");
    return Isolation::kHost;
  }

  ContainerAllocation ReadContainer(const json& value, const std::string& place) {
    ContainerAllocation allocation;
    allocation.name = Text(Member(value, "name", place), place + ".name");
    if (const json& cpus = Member(value, "cpus", place); !cpus.is_null()) {
      allocation.cpus = Cpus(cpus, place + ".cpus");
    }
    allocation.memory = Blocks(Member(value, "memory", place), place + ".memory");
    allocation.cpu_isolation = IsolationLevel(Member(value, "cpuIsolation", place), place + ".cpuIsolation");
    allocation.memory_isolation = IsolationLevel(Member(value, "memoryIsolation", place), place + ".memoryIsolation");
    return allocation;
  }

  PodAllocation ReadPod(const json& value, const std::string& place) {
    absl::StatusOr<Pod> pod = ParsePodJson(Member(value, "pod", place));
    if (!pod.ok()) {
      Fail(place + ".pod", ToStd(pod.status().message()));
      return {};
    }
    DefaultPod(*pod);
    return ReadAllocation(value, std::make_shared<const Pod>(*std::move(pod)), place);
  }

  PodAllocation ReadAllocation(const json& value, std::shared_ptr<const Pod> pod, const std::string& place) {
    PodAllocation allocation;
    for (const json& container : List(Member(value, "containers", place), place + ".containers")) {
      allocation.containers.push_back(
          ReadContainer(container, Cat(place, ".containers[", allocation.containers.size(), "]")));
    }
    size_t expected = 0;
    ForEachContainer(*pod, [&](const Container& container, bool) {
      const bool matches =
          expected < allocation.containers.size() && allocation.containers[expected].name == container.name;
      if (!matches) Fail(place + ".containers", Cat("does not list container ", container.name, " in the pod's order"));
      ++expected;
    });
    if (expected != allocation.containers.size()) Fail(place + ".containers", "lists more than the pod has");
    allocation.pod = std::move(pod);
    if (const json& cpus = Member(value, "cpus", place); !cpus.is_null()) allocation.cpus = Cpus(cpus, place + ".cpus");
    allocation.memory = Blocks(Member(value, "memory", place), place + ".memory");
    return allocation;
  }

  NumaNodeMemory ReadNode(const json& value, const std::string& place) {
    NumaNodeMemory node;
    node.id = static_cast<int>(Number(Member(value, "id", place), NumaSet::kMaxNode, place + ".id"));
    node.assignments = static_cast<int>(Number(Member(value, "assignments", place), INT32_MAX, place + ".assignments"));
    node.cells = Numa(Member(value, "cells", place), place + ".cells");
    for (const json& entry : List(Member(value, "memory", place), place + ".memory")) {
      const std::string here = Cat(place, ".memory[", node.memory.size(), "]");
      node.memory.push_back(
          {.resource = Text(Member(entry, "type", here), here + ".type"),
           .allocatable = Number(Member(entry, "allocatable", here), UINT64_MAX, here + ".allocatable"),
           .free = Number(Member(entry, "free", here), UINT64_MAX, here + ".free"),
           .reserved = Number(Member(entry, "reserved", here), UINT64_MAX, here + ".reserved")});
    }
    return node;
  }

 private:
  absl::Status status_;
};

}  // namespace

json AllocationToJson(const PodAllocation& allocation) {
  json containers = json::array();
  for (const ContainerAllocation& container : allocation.containers) {
    json entry = {{"name", container.name},
                  {"memory", BlocksToJson(container.memory)},
                  {"cpuIsolation", IsolationName(container.cpu_isolation)},
                  {"memoryIsolation", IsolationName(container.memory_isolation)}};
    if (container.cpus) entry["cpus"] = container.cpus->ToString();
    containers.push_back(std::move(entry));
  }
  json value = {{"containers", std::move(containers)}, {"memory", BlocksToJson(allocation.memory)}};
  if (allocation.cpus) value["cpus"] = allocation.cpus->ToString();
  return value;
}

absl::StatusOr<PodAllocation> AllocationFromJson(const json& value, std::shared_ptr<const Pod> pod) {
  Reader reader;
  PodAllocation allocation = reader.ReadAllocation(value, std::move(pod), "decision");
  if (!reader.status().ok()) return reader.status();
  return allocation;
}

json StateToJson(const NodeState& state) {
  json nodes = json::array();
  for (const NumaNodeMemory& node : state.nodes) {
    json memory = json::array();
    for (const NodeMemory& entry : node.memory) {
      memory.push_back({{"type", entry.resource},
                        {"allocatable", entry.allocatable},
                        {"free", entry.free},
                        {"reserved", entry.reserved}});
    }
    nodes.push_back({{"id", node.id},
                     {"assignments", node.assignments},
                     {"cells", NumaToJson(node.cells)},
                     {"memory", std::move(memory)}});
  }
  json pods = json::object();
  for (const auto& [uid, allocation] : state.pods) {
    json pod = AllocationToJson(allocation);
    pod["pod"] = PodToJson(*allocation.pod);
    pods[uid] = std::move(pod);
  }
  return {{"sharedCpus", state.shared_cpus.ToString()},
          {"nodes", std::move(nodes)},
          {"pods", std::move(pods)},
          {"ended", state.ended}};
}

absl::StatusOr<NodeState> StateFromJson(const json& document) {
  Reader reader;
  NodeState state;
  state.shared_cpus = reader.Cpus(reader.Member(document, "sharedCpus", "state"), "sharedCpus");
  for (const json& node : reader.List(reader.Member(document, "nodes", "state"), "nodes")) {
    state.nodes.push_back(reader.ReadNode(node, Cat("nodes[", state.nodes.size(), "]")));
  }
  const json& pods = reader.Member(document, "pods", "state");
  if (!pods.is_object()) reader.Fail("pods", "must be an object");
  for (const auto& [uid, value] : pods.items()) {
    if (!reader.status().ok()) break;
    PodAllocation allocation = reader.ReadPod(value, "pods." + uid);
    if (reader.status().ok() && allocation.pod->uid != uid) reader.Fail("pods." + uid, "holds a pod of another UID");
    state.pods.emplace(uid, std::move(allocation));
  }
  for (const json& uid : reader.List(reader.Member(document, "ended", "state"), "ended")) {
    state.ended.insert(reader.Text(uid, "ended"));
  }
  if (!reader.status().ok()) return reader.status();
  return state;
}

}  // namespace podfence
