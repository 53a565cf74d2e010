#include "agent/kubelet_state/kubelet_state.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <utility>

#include "agent/cgroup/files.h"
#include "agent/core/text.h"
#include "agent/kubelet_state/checksum.h"
#include "agent/pods/document.h"

namespace podfence {
namespace {

uint64_t ReadSize(const Field& field, Problems& problems) {
  if (!Is(field, Node::Kind::kNumber, problems)) return 0;
  const std::string& text = field.node().text;
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc() && end == text.data() + text.size()) return value;
  problems.Add(field, "is not a whole number from 0 to 2^64-1");
  return 0;
}

CpuSet ReadCpuSet(const Field& field, Problems& problems) {
  absl::StatusOr<CpuSet> cpus = CpuSet::Parse(ReadString(field, problems));
  if (cpus.ok()) return *std::move(cpus);
  problems.Add(field, ToStd(cpus.status().message()));
  return {};
}

void AddNode(const Field& field, int64_t id, NumaSet& nodes, Problems& problems) {
  if (id < 0 || id > NumaSet::kMaxNode) {
    problems.Add(field, Cat("is no NUMA node's id, 0 to ", NumaSet::kMaxNode));
  } else {
    nodes.Add(static_cast<int>(id));
  }
}

NumaSet ReadNodes(const Field& field, Problems& problems) {
  NumaSet nodes;
  if (!Is(field, Node::Kind::kList, problems)) return nodes;
  field.EachItem([&](size_t, const Field& item) { AddNode(item, ReadInt(item, problems, 0), nodes, problems); });
  return nodes;
}

// Calls visit(key, value) for each member of a map; null and absent are empty.
template <typename Visitor>
void ReadMap(const Field& field, Problems& problems, Visitor&& visit) {
  if (Is(field, Node::Kind::kMap, problems)) field.EachMember(visit);
}

std::vector<MemoryBlock> ReadBlocks(const Field& field, Problems& problems) {
  std::vector<MemoryBlock> blocks;
  if (!Is(field, Node::Kind::kList, problems)) return blocks;
  field.EachItem([&](size_t, const Field& item) {
    MemoryBlock& block = blocks.emplace_back();
    ReadMap(item, problems, [&](const std::string& key, const Field& value) {
      if (key == "numaAffinity") block.numa = ReadNodes(value, problems);
      if (key == "type") block.resource = ReadString(value, problems);
      if (key == "size") block.bytes = ReadSize(value, problems);
    });
    if (block.resource.empty() || block.numa.empty()) problems.Add(item, "has no type or no NUMA node");
  });
  return blocks;
}

void ReadTables(const Field& field, NumaNodeMemory& node, Problems& problems) {
  ReadMap(field, problems, [&](const std::string& resource, const Field& table) {
    NodeMemory& memory = node.memory.emplace_back();
    memory.resource = resource;
    ReadMap(table, problems, [&](const std::string& key, const Field& value) {
      if (key == "allocatable") memory.allocatable = ReadSize(value, problems);
      if (key == "free") memory.free = ReadSize(value, problems);
      if (key == "reserved") memory.reserved = ReadSize(value, problems);
    });
  });
  std::ranges::sort(node.memory, {}, &NodeMemory::resource);
}

void ReadNode(const std::string& name, const Field& field, KubeletMemoryState& state, Problems& problems) {
  int id = -1;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), id);
  NumaSet self;
  if (error != std::errc() || end != name.data() + name.size()) id = -1;
  AddNode(field, id, self, problems);
  NumaNodeMemory& node = state.nodes.emplace_back();
  node.id = id;
  ReadMap(field, problems, [&](const std::string& key, const Field& value) {
    if (key == "numberOfAssignments") node.assignments = static_cast<int>(ReadInt(value, problems, 0));
    if (key == "cells") node.cells = ReadNodes(value, problems);
    if (key == "memoryMap") ReadTables(value, node, problems);
  });
}

// "entries": by pod UID and container name what `read` makes of a value.
template <typename Entries, typename Read>
void ReadEntries(const Field& field, Problems& problems, Entries& entries, Read read) {
  ReadMap(field, problems, [&](const std::string& uid, const Field& pod) {
    ReadMap(pod, problems,
            [&](const std::string& container, const Field& value) { entries[uid][container] = read(value, problems); });
  });
}

// "podEntries": by pod UID what `read` makes of the member `member` of a value.
template <typename Entries, typename Read>
void ReadPodEntries(const Field& field, Problems& problems, std::string_view member, Entries& entries, Read read) {
  ReadMap(field, problems, [&](const std::string& uid, const Field& pod) {
    ReadMap(pod, problems, [&](const std::string& key, const Field& value) {
      if (key == member) entries[uid] = read(value, problems);
    });
  });
}

KubeletCpuState ReadState(const Field& root, Problems& problems, KubeletCpuState state) {
  root.EachMember([&](const std::string& name, const Field& value) {
    if (name == "policyName") state.policy = ReadString(value, problems);
    if (name == "defaultCpuSet") state.shared = ReadCpuSet(value, problems);
    if (name == "entries") ReadEntries(value, problems, state.containers, ReadCpuSet);
    if (name == "podEntries") ReadPodEntries(value, problems, "cpuSet", state.pods, ReadCpuSet);
  });
  return state;
}

KubeletMemoryState ReadState(const Field& root, Problems& problems, KubeletMemoryState state) {
  root.EachMember([&](const std::string& name, const Field& value) {
    if (name == "policyName") state.policy = ReadString(value, problems);
    if (name == "machineState") {
      ReadMap(value, problems,
              [&](const std::string& node, const Field& entry) { ReadNode(node, entry, state, problems); });
    }
    if (name == "entries") ReadEntries(value, problems, state.containers, ReadBlocks);
    if (name == "podEntries") ReadPodEntries(value, problems, "memoryBlocks", state.pods, ReadBlocks);
  });
  std::ranges::sort(state.nodes, {}, &NumaNodeMemory::id);
  return state;
}

template <typename State>
absl::StatusOr<State> ReadChecked(const Node& document, std::string_view source) {
  Problems problems(source);
  const Field root(document);
  State state;
  if (document.kind != Node::Kind::kMap) {
    problems.Add(root, Cat("is ", KindName(document.kind), ", must be a map"));
  } else {
    state = ReadState(root, problems, State());
    if (state.policy.empty()) problems.Add(root, "has no policyName");
  }
  if (!problems.empty()) return problems.ToStatus();
  return state;
}

absl::Status Corrupt(std::string_view source, std::string_view what) {
  return absl::DataLossError(Cat(source, ": its ", what,
                                 " is not that of its content: it is damaged, or of a kubelet "
                                 "that podfence does not know"));
}

// The checkpoint's own checksum; none: it has none.
absl::StatusOr<std::optional<uint64_t>> ReadChecksum(const Node& document, std::string_view key,
                                                     std::string_view source) {
  const Node* value = document.Find(key);
  if (value == nullptr) return std::nullopt;
  Problems problems(source);
  const uint64_t checksum = ReadSize(Field(*value), problems);
  if (!problems.empty()) return problems.ToStatus();
  return checksum == 0 ? std::nullopt : std::optional<uint64_t>(checksum);
}

// dump: of the struct under a type's name, with or without the pods' entries. Which kubelet wrote a file that has
// none is not to be seen in it; and each name was hashed by one of them.
template <typename State>
absl::StatusOr<State> Parse(std::string_view text, std::string_view source, std::string_view type,
                            std::string_view with_pods, std::string_view without_pods,
                            std::string (*dump)(const Node&, std::string_view, bool)) {
  const absl::StatusOr<Node> document = ReadJson(text, source);
  if (!document.ok()) return document.status();
  const absl::StatusOr<std::optional<uint64_t>> data_checksum = ReadChecksum(*document, "dataChecksum", source);
  if (!data_checksum.ok()) return data_checksum.status();
  const Node* data = document->Find("data");
  const bool has_data = data != nullptr && data->kind == Node::Kind::kString && !data->text.empty();
  if (has_data || *data_checksum) {
    // What stands beside it is for older kubelets, and never stands in for it.
    if (!has_data || *data_checksum != DataChecksum(data->text)) return Corrupt(source, "dataChecksum");
    const std::string inner = Cat(source, ": data");
    const absl::StatusOr<Node> content = ReadJson(data->text, inner);
    if (!content.ok()) return content.status();
    return ReadChecked<State>(*content, inner);
  }
  absl::StatusOr<State> state = ReadChecked<State>(*document, source);
  if (!state.ok()) return state;
  const absl::StatusOr<std::optional<uint64_t>> checksum = ReadChecksum(*document, "checksum", source);
  if (!checksum.ok()) return checksum.status();
  if (!*checksum) return state;
  const auto matches = [&](std::string_view name, bool pods) {
    return **checksum == Fnv1a(dump(*document, name, pods));
  };
  if (matches(type, true) || matches(with_pods, true)) return state;
  const bool has_pods = document->Find("podEntries") != nullptr;
  if (!has_pods && (matches(type, false) || matches(without_pods, false))) return state;
  return Corrupt(source, "checksum");
}

absl::StatusOr<std::string> ReadFile(const std::string& path, std::string_view manager) {
  absl::StatusOr<std::string> text = ReadSmallFile(path);
  if (!absl::IsNotFound(text.status())) return text;
  return absl::NotFoundError(Cat(path,
                                 ": is not there: the kubelet has not started yet, its root directory is another "
                                 "one (kubeletStateDirectory), or it has no ",
                                 manager));
}

}  // namespace

absl::StatusOr<KubeletCpuState> ParseCpuManagerState(std::string_view text, std::string_view source) {
  return Parse<KubeletCpuState>(text, source, "CPUManagerCheckpoint", "CPUManagerCheckpointV3",
                                "CPUManagerCheckpointV2", DumpCpuCheckpoint);
}

absl::StatusOr<KubeletMemoryState> ParseMemoryManagerState(std::string_view text, std::string_view source) {
  return Parse<KubeletMemoryState>(text, source, "MemoryManagerCheckpoint", "MemoryManagerCheckpointV2",
                                   "MemoryManagerCheckpointV1", DumpMemoryCheckpoint);
}

absl::StatusOr<KubeletState> ReadKubeletState(const std::string& directory) {
  const std::string cpu_path = Cat(directory, "/", kCpuManagerState);
  const absl::StatusOr<std::string> cpu_text = ReadFile(cpu_path, "CPU manager");
  if (!cpu_text.ok()) return cpu_text.status();
  const std::string memory_path = Cat(directory, "/", kMemoryManagerState);
  const absl::StatusOr<std::string> memory_text = ReadFile(memory_path, "Memory manager");
  if (!memory_text.ok()) return memory_text.status();
  absl::StatusOr<KubeletCpuState> cpu = ParseCpuManagerState(*cpu_text, cpu_path);
  if (!cpu.ok()) return cpu.status();
  absl::StatusOr<KubeletMemoryState> memory = ParseMemoryManagerState(*memory_text, memory_path);
  if (!memory.ok()) return memory.status();
  return KubeletState{*std::move(cpu), *std::move(memory)};
}

}  // namespace podfence
