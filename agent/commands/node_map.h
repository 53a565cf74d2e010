#pragma once

#include <string>
#include <vector>

#include "agent/commands/table.h"
#include "agent/core/cpu_set.h"
#include "agent/core/machine.h"
#include "agent/core/node_state.h"

namespace podfence {

enum class Ownership {
  kExclusive,   // one container's own
  kPodShared,   // a pod's shared pool: its bubble minus exclusive slices
  kNodeShared,  // the node shared pool
  kReserved,    // reserved for the system; the node shared pool runs there too, unless strict-cpu-reservation
  kUnmanaged,   // in no pool: cpuManagerPolicy none, or nobody is left to use them
};
std::string_view OwnershipName(Ownership ownership);

// Who has some of a machine's CPUs. Every CPU has one owner.
struct CpuOwner {
  Ownership ownership = Ownership::kUnmanaged;
  std::string pod;                      // namespace/name; empty where no pod owns them
  std::vector<std::string> containers;  // kExclusive: the container, after those whose CPUs it took over (one-shot init
                                        // containers); kPodShared: who runs there
  CpuSet cpus;
};

// The owners of all CPUs of a machine: pods in the order of their lowest CPUs, then the node's own pools.
std::vector<CpuOwner> CpuOwners(const Machine& machine, const NodeState& state, const CpuSet& reserved);

// The node map: which CPU on which NUMA node is whose. Up to 128 CPUs, each node is drawn core by core, SMT siblings on
// top of each other, with a letter for each owner and a legend; larger machines, or more owners than letters, are
// listed as ranges, node by node. Pure: usable for a state that is only planned.
std::string RenderNodeMap(const Machine& machine, const NodeState& state, const CpuSet& reserved,
                          const Terminal& terminal);

}  // namespace podfence
