#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "agent/core/machine.h"

struct hwloc_topology;

namespace podfence {

// Turns a loaded hwloc topology into a Machine, by the rules of the decision vectors' machines:
//   - NUMA nodes by OS index; a CPU that several nodes list belongs to the lowest, the others hold memory only;
//   - memory is the node's local memory in bytes, huge pages included; huge pages are all page sizes but its smallest;
//   - distances from the first latency matrix over all nodes, 10 and 20 where there is none;
//   - socket is the package's OS index (logical where unknown, 0 without packages), l3 the cache's logical index;
//   - a PU without a core is its own core.
// Offline are the CPUs that hwloc knows of and may not use: offline ones and, in an XML file, those that were denied to
// the process that exported it. InvalidArgument says what the topology has that no Machine can hold.
absl::StatusOr<Machine> MachineFromHwloc(hwloc_topology* topology, std::string name);

}  // namespace podfence
