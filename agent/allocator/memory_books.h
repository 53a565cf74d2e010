#pragma once

// The Memory manager's books: what every NUMA node has, has left and has given away, and which nodes serve as a group
// (memorymanager/policy_static.go: getDefaultMachineState, updateMachineState, releaseMemory,
// isAffinityViolatingNUMAAllocations; memory_manager.go: the checks of reservedMemory).

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "agent/allocator/memory_requests.h"
#include "agent/core/machine.h"
#include "agent/core/node_state.h"
#include "agent/core/policy.h"

namespace podfence {

// The books of a node without pods. InvalidArgument, in the reference's terms and with the configuration key:
// reservations that do not add up to the node's, name a NUMA node the machine lacks, or, on a machine of more than
// kMaxWalkedNodes nodes, exceed what a node has.
absl::StatusOr<std::vector<NumaNodeMemory>> FreshBooks(const Machine& machine, const Policy& policy);

// The node holds back more than it has (huge pages leave less memory than is reserved), and the reference's unsigned
// amount has wrapped around: alone it seems to have all memory there is, with others it takes from them. Which sets can
// serve a request then follows no rule but the reference's arithmetic, and all sets are walked through.
bool HasWrapped(const NodeMemory& entry);
inline constexpr size_t kMaxWalkedNodes = 10;

// The book of one node, and its entry of one resource; null where there is none.
const NumaNodeMemory* FindBook(const std::vector<NumaNodeMemory>& nodes, int id);
const NodeMemory* FindEntry(const NumaNodeMemory& node, std::string_view resource);

// Takes bytes from the nodes of a group, the lowest node's free memory first.
void TakeMemory(std::vector<NumaNodeMemory>& nodes, NumaSet group, std::string_view resource, uint64_t bytes);
// Gives a block back, to the lowest node's reserved memory first; a node without blocks leaves its group.
void ReturnMemory(std::vector<NumaNodeMemory>& nodes, const MemoryBlock& block);

// The group has enough free memory of every resource.
bool HasFree(const std::vector<NumaNodeMemory>& nodes, NumaSet group, const MemoryRequests& requests);
// A node that serves alone, or with other nodes, cannot serve in this group of several.
bool ViolatesGroups(const std::vector<NumaNodeMemory>& nodes, NumaSet group);

}  // namespace podfence
