#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "agent/core/pod.h"

namespace podfence {

// Memory (and huge pages) of one NUMA node held back for the system.
struct NumaReservation {
  int numa_node = 0;
  ResourceList limits;
};

// The configuration of the three managers, with KubeletConfiguration's names and values kept as an operator wrote
// them: what is wrong with them (unknown option, unknown policy, clash) is the allocator's to say (Allocator::Create),
// as the reference says it when its managers start.
struct Policy {
  std::string cpu_manager_policy = "static";  // none | static
  std::map<std::string, std::string> cpu_manager_policy_options;
  std::string memory_manager_policy = "Static";         // None | Static
  std::string topology_manager_policy = "best-effort";  // none | best-effort | restricted | single-numa-node
  std::string topology_manager_scope = "container";     // container | pod
  std::map<std::string, std::string> topology_manager_policy_options;
  std::string reserved_system_cpus;  // a cpulist; empty: by number
  ResourceList reserved;  // node allocatable reservation: systemReserved + kubeReserved + evictionHard, summed
  std::vector<NumaReservation> reserved_memory;
};

}  // namespace podfence
