#pragma once

// Which sets of NUMA nodes can serve a request for memory (memorymanager/policy_static.go: calculateHints,
// getDefaultHint, extendTopologyManagerHint), without walking through all 2^nodes of them.

#include <cstdint>
#include <optional>
#include <vector>

#include "agent/allocator/draft.h"
#include "agent/allocator/hints.h"
#include "agent/allocator/memory_requests.h"
#include "agent/core/node_state.h"

namespace podfence {

// All sets that can serve the requests now, given as a family: sets of nodes that no block names and that have enough
// free memory together; and, listed, the single nodes already used singly and the groups already formed that have
// enough, with the memory of earlier init containers that sat on exactly that set. A set is preferred when it has as
// few nodes as would do on an empty machine. None: no set can serve the requests.
std::optional<HintFamily> MemoryFamily(const std::vector<NumaNodeMemory>& nodes, const MemoryRequests& requests,
                                       const std::vector<Draft::ReusableMemory>& reusable);

// Of the sets in the family that hold all required nodes, the one with the fewest nodes, and among these the one that
// is lowest as a number: where the reference's findBestHint ends (a smallest preferred set is always the narrowest).
// None: no set of the family holds them. The family has no socket rule and no required nodes of its own.
std::optional<Hint> NarrowestHint(const HintFamily& family, NumaSet required);

// The size of the smallest sets that reach every threshold; all positions' count where none does.
int SmallestSize(const std::vector<HintThreshold>& thresholds, int positions);

}  // namespace podfence
