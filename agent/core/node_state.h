#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "agent/core/cpu_set.h"
#include "agent/core/numa_set.h"
#include "agent/core/pod.h"

namespace podfence {

// An amount of memory or of huge pages of one size, on a group of NUMA nodes (memorymanager/state: Block).
struct MemoryBlock {
  NumaSet numa;
  std::string resource;  // "memory", "hugepages-2Mi", …
  uint64_t bytes = 0;
  friend bool operator==(const MemoryBlock&, const MemoryBlock&) = default;
};

// Whose limits hold a container: its own exclusive slice, its pod's budget, or the node's shared pool
// (internal_container_lifecycle, container_manager_linux.go: resource isolation levels).
enum class Isolation { kHost, kPod, kContainer };
std::string_view IsolationName(Isolation isolation);

// What one container of an admitted pod holds.
struct ContainerAllocation {
  std::string name;
  // The CPU manager's entry for the container: its exclusive CPUs, or the pod shared pool; none where it runs in the
  // node shared pool.
  std::optional<CpuSet> cpus;
  // The Memory manager's entry, in resource order; empty where there is none.
  std::vector<MemoryBlock> memory;
  Isolation cpu_isolation = Isolation::kHost;
  Isolation memory_isolation = Isolation::kHost;
  friend bool operator==(const ContainerAllocation&, const ContainerAllocation&) = default;
};

// Whether it holds CPUs that are its own.
inline bool IsExclusive(const ContainerAllocation& held) {
  return held.cpu_isolation == Isolation::kContainer && held.cpus && !held.cpus->empty();
}

// An admitted pod: what it is, and what it holds. The pod itself is shared, never changed after admission.
struct PodAllocation {
  std::shared_ptr<const Pod> pod;
  std::vector<ContainerAllocation> containers;  // init containers, then app containers, in the pod's order
  std::optional<CpuSet> cpus;                   // the pod bubble, under the pod scope
  std::vector<MemoryBlock> memory;              // the pod's blocks, under the pod scope

  const ContainerAllocation* Find(std::string_view container) const;
  ContainerAllocation* Find(std::string_view container);
  // All CPUs that are no longer the node's: the bubble, or what the containers have of their own.
  CpuSet HeldCpus() const;
};

// One resource of one NUMA node, in bytes (memorymanager/state: MemoryTable).
struct NodeMemory {
  std::string resource;
  uint64_t allocatable = 0;  // total less the node's reservation
  uint64_t free = 0;
  uint64_t reserved = 0;  // given to pods
  friend bool operator==(const NodeMemory&, const NodeMemory&) = default;
};

// The Memory manager's book of one NUMA node (memorymanager/state: NUMANodeState).
struct NumaNodeMemory {
  int id = 0;
  int assignments = 0;             // blocks that name this node
  NumaSet cells;                   // the group of nodes it serves with; itself alone where it is free
  std::vector<NodeMemory> memory;  // in resource order: hugepages-…, memory
  friend bool operator==(const NumaNodeMemory&, const NumaNodeMemory&) = default;
};

// Everything decided on a node. The agent's loop owns the one true copy; the allocator only reads it and returns
// StateChanges (decision.h), which Apply brings in whole.
struct NodeState {
  CpuSet shared_cpus;  // node shared pool (the reference's default set); empty under cpuManagerPolicy none
  std::vector<NumaNodeMemory> nodes;                       // ascending ids; empty under memoryManagerPolicy None
  std::map<std::string, PodAllocation, std::less<>> pods;  // by UID
  // Pods that ended for good while their manifest still stands, by UID: they hold nothing and are not admitted again.
  std::set<std::string, std::less<>> ended;
};

}  // namespace podfence
