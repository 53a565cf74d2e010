#include "agent/kubelet_state/checksum.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <vector>

#include "agent/core/cpu_set.h"
#include "agent/core/text.h"

namespace podfence {
namespace {

constexpr std::string_view kNil = "<nil>";
using Dump = std::function<std::string(const Node&)>;

std::string Text(const Node& scalar) { return scalar.text; }

// "map[key:value …]" in the order of the keys; numbers by value.
std::string DumpMap(const Node* map, const Dump& value, bool numbers = false) {
  if (map == nullptr) return "map[]";
  if (map->kind == Node::Kind::kNull) return std::string(kNil);
  std::vector<size_t> order(map->keys.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::sort(order, [&](size_t a, size_t b) {
    const std::string& left = map->keys[a];
    const std::string& right = map->keys[b];
    return numbers && left.size() != right.size() ? left.size() < right.size() : left < right;
  });
  std::string text = "map[";
  for (size_t i = 0; i < order.size(); ++i) {
    absl::StrAppend(&text, i == 0 ? "" : " ", map->keys[order[i]], ":", value(map->children[order[i]]));
  }
  return text + "]";
}

std::string DumpList(const Node* list, const Dump& value) {
  if (list == nullptr || list->kind == Node::Kind::kNull) return std::string(kNil);
  std::string text = "[";
  for (size_t i = 0; i < list->children.size(); ++i) {
    absl::StrAppend(&text, i == 0 ? "" : " ", value(list->children[i]));
  }
  return text + "]";
}

// A field of a scalar type: what is absent has Go's zero value.
std::string DumpField(const Node& map, std::string_view key, std::string_view name, std::string_view type) {
  const Node* value = map.Find(key);
  const bool present = value != nullptr && value->kind != Node::Kind::kNull;
  const std::string_view zero = type == "string" || type == "v1.ResourceName" ? "" : "0";
  return Cat(name, ":(", type, ")", present ? std::string_view(value->text) : zero);
}

std::string PodCpus(const Node& entry) {
  const Node* list = entry.Find("cpuSet");
  std::string elements;
  if (list != nullptr) {
    for (int cpu : CpuSet::Parse(list->text).value_or(CpuSet())) {
      absl::StrAppend(&elements, elements.empty() ? "" : " ", cpu, ":{}");
    }
  }
  return Cat("{CPUSet:(cpuset.CPUSet){elems:(map[int]struct {})map[", elements, "]}}");
}

std::string Block(const Node& block) {
  return Cat("{NUMAAffinity:([]int)", DumpList(block.Find("numaAffinity"), Text), " ",
             DumpField(block, "type", "Type", "v1.ResourceName"), " ", DumpField(block, "size", "Size", "uint64"), "}");
}

std::string Table(const Node& table) {
  if (table.kind == Node::Kind::kNull) return Cat("<*>", kNil);
  return Cat("<*>{", DumpField(table, "total", "TotalMemSize", "uint64"), " ",
             DumpField(table, "systemReserved", "SystemReserved", "uint64"), " ",
             DumpField(table, "allocatable", "Allocatable", "uint64"), " ",
             DumpField(table, "reserved", "Reserved", "uint64"), " ", DumpField(table, "free", "Free", "uint64"), "}");
}

std::string NumaNode(const Node& node) {
  const Node* memory = node.Find("memoryMap");
  return Cat("<*>{", DumpField(node, "numberOfAssignments", "NumberOfAssignments", "int"),
             " MemoryMap:(map[v1.ResourceName]*state.MemoryTable)",
             memory == nullptr ? std::string(kNil) : DumpMap(memory, Table), " Cells:([]int)",
             DumpList(node.Find("cells"), Text), "}");
}

}  // namespace

uint32_t Fnv1a(std::string_view text) {
  uint32_t hash = 2166136261U;
  for (const char byte : text) hash = (hash ^ static_cast<unsigned char>(byte)) * 16777619U;
  return hash;
}

uint32_t DataChecksum(std::string_view data) { return Fnv1a(Cat("(string)", data)); }

std::string DumpCpuCheckpoint(const Node& checkpoint, std::string_view type, bool pods) {
  const Dump containers = [](const Node& entries) { return DumpMap(&entries, Text); };
  std::string text = Cat("(*state.", type, "){", DumpField(checkpoint, "policyName", "PolicyName", "string"), " ",
                         DumpField(checkpoint, "defaultCpuSet", "DefaultCPUSet", "string"),
                         " Entries:(map[string]map[string]string)", DumpMap(checkpoint.Find("entries"), containers));
  if (pods) {
    text += Cat(" PodEntries:(state.PodCPUAssignments)", DumpMap(checkpoint.Find("podEntries"), PodCpus));
  }
  return text + " Checksum:(checksum.Checksum)0}";
}

std::string DumpMemoryCheckpoint(const Node& checkpoint, std::string_view type, bool pods) {
  const Dump blocks = [](const Node& list) { return DumpList(&list, Block); };
  const Dump containers = [&](const Node& entries) { return DumpMap(&entries, blocks); };
  const Dump pod = [&](const Node& entry) {
    return Cat("{MemoryBlocks:([]state.Block)", DumpList(entry.Find("memoryBlocks"), Block), "}");
  };
  std::string text =
      Cat("(*state.", type, "){", DumpField(checkpoint, "policyName", "PolicyName", "string"),
          " MachineState:(state.NUMANodeMap)", DumpMap(checkpoint.Find("machineState"), NumaNode, /*numbers=*/true),
          " Entries:(state.ContainerMemoryAssignments)", DumpMap(checkpoint.Find("entries"), containers));
  if (pods) text += Cat(" PodEntries:(state.PodMemoryAssignments)", DumpMap(checkpoint.Find("podEntries"), pod));
  return text + " Checksum:(checksum.Checksum)0}";
}

}  // namespace podfence
