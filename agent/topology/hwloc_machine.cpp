#include "agent/topology/hwloc_machine.h"

#include <hwloc.h>
#include <hwloc/distances.h>

#include <algorithm>
#include <climits>
#include <map>
#include <utility>
#include <vector>

#include "agent/core/text.h"

namespace podfence {
namespace {

constexpr uint64_t kLocalDistance = 10;
constexpr uint64_t kRemoteDistance = 20;

// Adds a bitmap's CPUs to cpus. hwloc_bitmap_last is -1 for an empty set and for an infinite one.
absl::Status AddCpus(hwloc_const_bitmap_t bitmap, CpuSet& cpus) {
  const int last = hwloc_bitmap_last(bitmap);
  if (last < 0 && !hwloc_bitmap_iszero(bitmap)) return absl::InvalidArgumentError("a set of CPUs has no end");
  if (last > CpuSet::kMaxCpu) return absl::InvalidArgumentError(Cat("CPU ", last, " is above ", CpuSet::kMaxCpu));
  for (int cpu = hwloc_bitmap_first(bitmap); cpu >= 0; cpu = hwloc_bitmap_next(bitmap, cpu)) cpus.Add(cpu);
  return absl::OkStatus();
}

std::vector<hwloc_obj_t> NodesByOsIndex(hwloc_topology_t topology) {
  std::vector<hwloc_obj_t> nodes;
  for (hwloc_obj_t node = nullptr;
       (node = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_NUMANODE, node)) != nullptr;) {
    nodes.push_back(node);
  }
  std::sort(nodes.begin(), nodes.end(), [](hwloc_obj_t a, hwloc_obj_t b) { return a->os_index < b->os_index; });
  return nodes;
}

absl::StatusOr<int> SocketOf(hwloc_topology_t topology, hwloc_obj_t pu) {
  const hwloc_obj_t package = hwloc_get_ancestor_obj_by_type(topology, HWLOC_OBJ_PACKAGE, pu);
  if (package == nullptr) return 0;
  const unsigned index = package->os_index == HWLOC_UNKNOWN_INDEX ? package->logical_index : package->os_index;
  if (index > INT_MAX) return absl::InvalidArgumentError(Cat("package ", index, " is above ", INT_MAX));
  return static_cast<int>(index);
}

// A node's cores, from the CPUs that are its own.
absl::StatusOr<std::vector<Core>> ReadCores(hwloc_topology_t topology, const CpuSet& cpus) {
  std::map<hwloc_obj_t, Core> cores;
  for (int cpu : cpus) {
    const hwloc_obj_t pu = hwloc_get_pu_obj_by_os_index(topology, static_cast<unsigned>(cpu));
    if (pu == nullptr) return absl::InvalidArgumentError(Cat("CPU ", cpu, " is in a set but not described"));
    const hwloc_obj_t holder = hwloc_get_ancestor_obj_by_type(topology, HWLOC_OBJ_CORE, pu);
    Core& core = cores[holder == nullptr ? pu : holder];
    if (core.threads.empty()) {
      absl::StatusOr<int> socket = SocketOf(topology, pu);
      if (!socket.ok()) return socket.status();
      core.socket = *socket;
      const hwloc_obj_t l3 = hwloc_get_ancestor_obj_by_type(topology, HWLOC_OBJ_L3CACHE, pu);
      if (l3 != nullptr) core.l3 = static_cast<int>(l3->logical_index);
    }
    core.threads.push_back(cpu);
  }
  std::vector<Core> result;
  result.reserve(cores.size());
  for (auto& [holder, core] : cores) result.push_back(std::move(core));
  std::sort(result.begin(), result.end(), [](const Core& a, const Core& b) { return a.id() < b.id(); });
  return result;
}

// The row of `from` in a matrix that covers all nodes; empty where it does not.
std::vector<uint64_t> ReadRow(hwloc_distances_s* matrix, hwloc_obj_t from, const std::vector<hwloc_obj_t>& nodes) {
  std::vector<uint64_t> row;
  for (hwloc_obj_t to : nodes) {
    hwloc_uint64_t there = 0;
    hwloc_uint64_t back = 0;
    if (hwloc_distances_obj_pair_values(matrix, from, to, &there, &back) != 0) return {};
    row.push_back(there);
  }
  return row;
}

void ReadDistances(hwloc_topology_t topology, const std::vector<hwloc_obj_t>& nodes, Machine& machine) {
  for (NumaNode& node : machine.nodes) {
    node.distances.assign(nodes.size(), kRemoteDistance);
    node.distances[static_cast<size_t>(&node - machine.nodes.data())] = kLocalDistance;
  }
  unsigned count = 0;
  if (hwloc_distances_get_by_type(topology, HWLOC_OBJ_NUMANODE, &count, nullptr, HWLOC_DISTANCES_KIND_MEANS_LATENCY,
                                  0) != 0) {
    return;
  }
  std::vector<hwloc_distances_s*> matrices(count, nullptr);
  hwloc_distances_get_by_type(topology, HWLOC_OBJ_NUMANODE, &count, matrices.data(), HWLOC_DISTANCES_KIND_MEANS_LATENCY,
                              0);
  bool found = false;
  for (hwloc_distances_s* matrix : matrices) {
    if (matrix == nullptr) continue;
    if (!found && !ReadRow(matrix, nodes.front(), nodes).empty()) {
      found = true;
      for (size_t i = 0; i < nodes.size(); ++i) machine.nodes[i].distances = ReadRow(matrix, nodes[i], nodes);
    }
    hwloc_distances_release(topology, matrix);
  }
}

}  // namespace

absl::StatusOr<Machine> MachineFromHwloc(hwloc_topology* topology, std::string name) {
  Machine machine;
  machine.name = std::move(name);
  const hwloc_obj_t root = hwloc_get_root_obj(topology);
  CpuSet usable;
  if (absl::Status status = AddCpus(root->complete_cpuset, machine.offline); !status.ok()) return status;
  if (absl::Status status = AddCpus(root->cpuset, usable); !status.ok()) return status;
  machine.offline -= usable;

  CpuSet taken;
  const std::vector<hwloc_obj_t> nodes = NodesByOsIndex(topology);
  for (hwloc_obj_t object : nodes) {
    if (object->os_index > NumaSet::kMaxNode) {
      return absl::InvalidArgumentError(Cat("NUMA node ", object->os_index, " is above ", NumaSet::kMaxNode));
    }
    NumaNode node;
    node.id = static_cast<int>(object->os_index);
    const auto& attributes = object->attr->numanode;
    node.memory = attributes.local_memory;
    for (unsigned i = 1; i < attributes.page_types_len; ++i) {
      node.hugepages.push_back({attributes.page_types[i].size / 1024, attributes.page_types[i].count});
    }
    CpuSet own;
    if (absl::Status status = AddCpus(object->cpuset, own); !status.ok()) return status;
    own -= taken;
    taken |= own;
    absl::StatusOr<std::vector<Core>> cores = ReadCores(topology, own);
    if (!cores.ok()) return cores.status();
    node.cores = *std::move(cores);
    machine.nodes.push_back(std::move(node));
  }
  ReadDistances(topology, nodes, machine);
  if (absl::Status status = ValidateMachine(machine); !status.ok()) return status;
  return machine;
}

}  // namespace podfence
