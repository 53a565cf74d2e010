#pragma once

#include <string>
#include <vector>

#include "agent/core/cpu_set.h"
#include "agent/core/machine.h"
#include "agent/core/node_state.h"

namespace podfence {

// A committed state brought under the machine and policy of now.
struct AdoptedState {
  NodeState state;
  // What no longer fits ("pod default/db holds CPU 31, which this machine does not have"): it stays until its pod
  // ends; the reference refuses to start, or allocates anew, instead (k/k 140989, 136604).
  std::vector<std::string> misfits;
};

// A restart changes no decision: every pod of committed keeps what it holds, whatever the policy or machine are now.
// initial is Allocator::InitialState() of now; from it come the node shared pool (initial less what pods hold) and the
// memory books (allocatable of now, reserved as committed).
AdoptedState AdoptState(const NodeState& committed, const NodeState& initial, const Machine& machine,
                        const CpuSet& reserved_cpus);

}  // namespace podfence
