#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "agent/core/machine.h"

namespace podfence {

// A Machine as the JSON array `topology` of the decision vectors, of `podfence topology --output json` and of the
// checkpoint: one object per NUMA node, in order,
//   {id, memory (bytes), distances [one per node], cores [{socket, l3, threads [CPUs]}], hugepages [{page_size_kb,
//   count}]}
// where l3 and hugepages are left out when there are none. Offline CPUs and the name are not part of it.
nlohmann::ordered_json MachineToJson(const Machine& machine);

// Reads that array back; the result has passed ValidateMachine, and cores, threads and huge pages are put in their
// order. Absent cores are none (a memory-only node); unknown keys are ignored. name becomes Machine::name.
// InvalidArgument names the place, as in "topology[1].cores[0].threads[2]: …".
absl::StatusOr<Machine> MachineFromJson(const nlohmann::json& topology, std::string name = "json");

}  // namespace podfence
