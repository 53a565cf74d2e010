#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "agent/core/cpu_set.h"
#include "agent/enforcer/finding.h"
#include "agent/enforcer/tree.h"

namespace podfence {

// The CPUs that are in the machine and switched off (devices/system/cpu/present and online below the root of sysfs).
absl::StatusOr<CpuSet> ReadOfflineCpus(const std::string& sys_root);

// A finding for each container with processes that has lost CPUs of its own to `offline`, and for each pod with a
// bubble that has lost some of what its containers share. cpuset.cpus keeps naming them, so that they are in force
// again as soon as they are back: nothing is to be repaired.
std::vector<Finding> FindCpusOffline(const std::vector<TreeNode>& nodes, const CpuSet& offline);

// Whether the kernel itself changed a partition: one that has lost its CPUs is invalid until they are back, and only
// then can it be made again. `left`: what stood there before.
bool LostToOffline(const Fence& wanted, const Fence& now, const CpuSet& offline);
bool CameBack(const Fence& left, const Fence& now);

}  // namespace podfence
