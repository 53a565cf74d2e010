#pragma once

#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/allocator/cpu_topology.h"

namespace podfence {

// cpuManagerPolicyOptions of the static policy (cpumanager/policy_options.go).
struct CpuOptions {
  bool full_pcpus_only = false;               // only whole cores, or SMTAlignmentError
  bool distribute_across_numa = false;        // distribute-cpus-across-numa
  bool align_by_socket = false;               // a socket, not a NUMA node, is what to align with
  bool distribute_across_cores = false;       // distribute-cpus-across-cores
  bool strict_cpu_reservation = false;        // reserved CPUs are not in the node shared pool
  bool prefer_align_by_uncore_cache = false;  // prefer-align-cpus-by-uncorecache
};

// InvalidArgument: an unknown option, a value that is no bool, or options that exclude each other.
absl::StatusOr<CpuOptions> ParseCpuOptions(const std::map<std::string, std::string>& options);

// What the options demand of machine and topology manager (ValidateStaticPolicyOptions). InvalidArgument says what.
absl::Status CheckCpuOptions(const CpuOptions& options, const CpuTopology& topology,
                             const std::string& topology_manager_policy);

}  // namespace podfence
