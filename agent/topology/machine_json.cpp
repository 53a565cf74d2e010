#include "agent/topology/machine_json.h"

#include <algorithm>
#include <limits>
#include <string_view>
#include <utility>
#include <vector>

#include "agent/core/text.h"

namespace podfence {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

absl::Status Wrong(const std::string& place, std::string_view what) {
  return absl::InvalidArgumentError(Cat(place, ": ", what));
}

absl::StatusOr<uint64_t> ReadNumber(const json& value, const std::string& place,
                                    uint64_t max = std::numeric_limits<uint64_t>::max()) {
  if (!value.is_number_integer()) return Wrong(place, Cat("expected a whole number, got ", value.type_name()));
  if (!value.is_number_unsigned() && value.get<int64_t>() < 0) return Wrong(place, "is negative");
  const auto number = value.get<uint64_t>();
  if (number > max) return Wrong(place, Cat(number, " exceeds ", max));
  return number;
}

// The member `key` of an object as a number.
absl::StatusOr<uint64_t> ReadMember(const json& object, const char* key, const std::string& place,
                                    uint64_t max = std::numeric_limits<uint64_t>::max()) {
  const auto member = object.find(key);
  if (member == object.end()) return Wrong(place, Cat("lacks ", key));
  return ReadNumber(*member, Cat(place, ".", key), max);
}

// Calls read(element, place) for each element of the array `key`; absent arrays are empty where optional.
template <typename Read>
absl::Status ReadArray(const json& object, const char* key, const std::string& place, bool optional, Read&& read) {
  const auto member = object.find(key);
  if (member == object.end()) return optional ? absl::OkStatus() : Wrong(place, Cat("lacks ", key));
  const std::string array_place = Cat(place, ".", key);
  if (!member->is_array()) return Wrong(array_place, Cat("expected an array, got ", member->type_name()));
  for (size_t i = 0; i < member->size(); ++i) {
    if (absl::Status status = read((*member)[i], Cat(array_place, "[", i, "]")); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status RequireObject(const json& value, const std::string& place) {
  return value.is_object() ? absl::OkStatus() : Wrong(place, Cat("expected an object, got ", value.type_name()));
}

absl::StatusOr<Core> ReadCore(const json& object, const std::string& place) {
  constexpr uint64_t kMaxId = std::numeric_limits<int>::max();
  if (absl::Status status = RequireObject(object, place); !status.ok()) return status;
  Core core;
  absl::StatusOr<uint64_t> socket = ReadMember(object, "socket", place, kMaxId);
  if (!socket.ok()) return socket.status();
  core.socket = static_cast<int>(*socket);
  if (object.contains("l3")) {
    absl::StatusOr<uint64_t> l3 = ReadMember(object, "l3", place, kMaxId);
    if (!l3.ok()) return l3.status();
    core.l3 = static_cast<int>(*l3);
  }
  absl::Status status = ReadArray(object, "threads", place, false, [&](const json& value, const std::string& at) {
    absl::StatusOr<uint64_t> cpu = ReadNumber(value, at, CpuSet::kMaxCpu);
    if (cpu.ok()) core.threads.push_back(static_cast<int>(*cpu));
    return cpu.status();
  });
  if (!status.ok()) return status;
  if (core.threads.empty()) return Wrong(Cat(place, ".threads"), "is empty");
  std::sort(core.threads.begin(), core.threads.end());
  return core;
}

absl::StatusOr<NumaNode> ReadNode(const json& object, const std::string& place) {
  if (absl::Status status = RequireObject(object, place); !status.ok()) return status;
  NumaNode node;
  absl::StatusOr<uint64_t> id = ReadMember(object, "id", place, NumaSet::kMaxNode);
  if (!id.ok()) return id.status();
  node.id = static_cast<int>(*id);
  absl::StatusOr<uint64_t> memory = ReadMember(object, "memory", place);
  if (!memory.ok()) return memory.status();
  node.memory = *memory;

  absl::Status status = ReadArray(object, "distances", place, false, [&](const json& value, const std::string& at) {
    absl::StatusOr<uint64_t> distance = ReadNumber(value, at);
    if (distance.ok()) node.distances.push_back(*distance);
    return distance.status();
  });
  if (!status.ok()) return status;
  status = ReadArray(object, "hugepages", place, true, [&](const json& value, const std::string& at) {
    if (absl::Status kind = RequireObject(value, at); !kind.ok()) return kind;
    absl::StatusOr<uint64_t> size = ReadMember(value, "page_size_kb", at);
    if (!size.ok()) return size.status();
    if (*size == 0) return Wrong(at, "has page_size_kb 0");
    absl::StatusOr<uint64_t> count = ReadMember(value, "count", at);
    if (!count.ok()) return count.status();
    // The pool's bytes are a uint64_t wherever they are counted.
    if (*count > std::numeric_limits<uint64_t>::max() / 1024 / *size) return Wrong(at, "holds more than 2^64 bytes");
    node.hugepages.push_back({*size, *count});
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  status = ReadArray(object, "cores", place, true, [&](const json& value, const std::string& at) {
    absl::StatusOr<Core> core = ReadCore(value, at);
    if (!core.ok()) return core.status();
    node.cores.push_back(*std::move(core));
    return absl::OkStatus();
  });
  if (!status.ok()) return status;

  std::sort(node.hugepages.begin(), node.hugepages.end(),
            [](const HugePages& a, const HugePages& b) { return a.page_size_kb < b.page_size_kb; });
  const auto twice =
      std::adjacent_find(node.hugepages.begin(), node.hugepages.end(),
                         [](const HugePages& a, const HugePages& b) { return a.page_size_kb == b.page_size_kb; });
  if (twice != node.hugepages.end()) {
    return Wrong(Cat(place, ".hugepages"), Cat("has page_size_kb ", twice->page_size_kb, " twice"));
  }
  std::sort(node.cores.begin(), node.cores.end(), [](const Core& a, const Core& b) { return a.id() < b.id(); });
  return node;
}

}  // namespace

ordered_json MachineToJson(const Machine& machine) {
  ordered_json topology = ordered_json::array();
  for (const NumaNode& node : machine.nodes) {
    ordered_json object = {{"id", node.id}, {"memory", node.memory}, {"distances", node.distances}};
    ordered_json& cores = object["cores"] = ordered_json::array();
    for (const Core& core : node.cores) {
      ordered_json entry = {{"socket", core.socket}};
      if (core.l3) entry["l3"] = *core.l3;
      entry["threads"] = core.threads;
      cores.push_back(std::move(entry));
    }
    for (const HugePages& pool : node.hugepages) {
      object["hugepages"].push_back({{"page_size_kb", pool.page_size_kb}, {"count", pool.count}});
    }
    topology.push_back(std::move(object));
  }
  return topology;
}

absl::StatusOr<Machine> MachineFromJson(const json& topology, std::string name) {
  if (!topology.is_array()) return Wrong("topology", Cat("expected an array, got ", topology.type_name()));
  Machine machine;
  machine.name = std::move(name);
  for (size_t i = 0; i < topology.size(); ++i) {
    absl::StatusOr<NumaNode> node = ReadNode(topology[i], Cat("topology[", i, "]"));
    if (!node.ok()) return node.status();
    machine.nodes.push_back(*std::move(node));
  }
  if (absl::Status status = ValidateMachine(machine); !status.ok()) return Wrong("topology", ToStd(status.message()));
  return machine;
}

}  // namespace podfence
