#pragma once

// What must hold of every decision, checked apart from the code that decides: every CPU has one owner, no shared pool
// that someone needs is empty, blocks fit their NUMA nodes, no CPU and no byte is lost or invented. A violation is a
// defect of Podfence, never of a pod: the decision is refused and counted, and never applied.

#include "absl/status/status.h"
#include "agent/core/cpu_set.h"
#include "agent/core/decision.h"
#include "agent/core/machine.h"
#include "agent/core/node_state.h"

namespace podfence {

// The reserved CPUs that no container may get for itself: all, or, where the machine's sockets have unequal numbers of
// CPUs, none. There the reference takes a socket whole that has as many free CPUs as the average one has in all, with
// what is reserved of it (cpumanager/cpu_assignment.go isSocketFree), and its decisions are reproduced.
CpuSet NeverExclusive(const Machine& machine, const CpuSet& reserved);

// A whole state against that of the node without pods (Allocator::InitialState). Internal names the CPU or NUMA node,
// and both owners. Beyond its pods' blocks a node may hold reserved bytes: the reference loses track of some where a
// block on one node lies within a group (memorymanager/policy_static.go releaseMemory).
absl::Status ValidateState(const NodeState& initial, const CpuSet& never_exclusive, const NodeState& state);

// One change against the state before it, at a cost that does not grow with the number of pods: what the pod gains
// comes from the node shared pool, what it loses goes back there, and the memory books change by what its blocks say.
// What was amiss before (a machine that has shrunk) is not the change's fault. Internal as above.
absl::Status ValidateChange(const CpuSet& never_exclusive, const NodeState& before, const StateChange& change);

}  // namespace podfence
