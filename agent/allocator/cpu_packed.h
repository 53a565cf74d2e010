#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "agent/allocator/cpu_topology.h"

namespace podfence {

struct PackedOptions {
  bool spread_across_cores = false;  // distribute-cpus-across-cores: one thread of each core first
  bool align_by_uncore = false;      // prefer-align-cpus-by-uncorecache
  // CPUs that are not available, but have no owner either. The reference calls a socket free that has as many
  // available CPUs as the machine's average socket, and takes all of it; where sockets are unequal that can be more
  // (a reserved CPU, say). Here too, but only if these have no owner. None: never.
  const CpuSet* unowned = nullptr;
};

// Takes `count` of the available CPUs, packed: whole NUMA nodes and sockets, then (align_by_uncore) whole or single
// uncore caches, whole cores, and last single threads, the fullest units first (cpu_assignment.go
// takeByTopologyNUMAPacked). ResourceExhausted, in the reference's words,
// where there are not enough.
absl::StatusOr<CpuSet> TakePacked(const CpuTopology& topology, const CpuSet& available, int count,
                                  const PackedOptions& options);

// The NUMA nodes with available CPUs, in the order packing takes them: the fullest first, within the fullest socket
// where sockets hold several (sortAvailableNUMANodes).
std::vector<CpuTopology::Index> NodesInPackingOrder(const CpuTopology& topology, const CpuSet& available);

}  // namespace podfence
