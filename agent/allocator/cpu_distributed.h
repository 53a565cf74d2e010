#pragma once

#include "absl/status/statusor.h"
#include "agent/allocator/cpu_topology.h"

namespace podfence {

// Takes `count` of the available CPUs, spread evenly over as few NUMA nodes as can hold them, in groups of group_size
// CPUs; packed within each node (cpu_assignment.go takeByTopologyNUMADistributed, KEP-2902). Where nothing can be
// spread evenly, or count is no multiple of group_size, it packs. The options that change packing (cpu_packed.h) clash
// with this one. unowned: as PackedOptions'. Errors as TakePacked.
absl::StatusOr<CpuSet> TakeDistributed(const CpuTopology& topology, const CpuSet& available, int count, int group_size,
                                       bool align_by_socket, const CpuSet* unowned);

}  // namespace podfence
