#pragma once

#include <nlohmann/json.hpp>

#include "agent/core/decision.h"
#include "agent/core/machine.h"
#include "agent/core/node_state.h"

namespace podfence {

// The state as the vectors write it: {shared_cpus, cpus, pod_cpus, memory, pod_memory, nodes, containers}, parts
// without entries left out.
nlohmann::json StateToVector(const NodeState& state);

// The growth of the counters as the vectors write it: {"resource_manager_allocations{resource_name=cpu,…}": 1, …}.
nlohmann::json CountersToVector(const CounterGrowth& counters);

}  // namespace podfence
