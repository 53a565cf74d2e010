#pragma once

// What a tree says against a plan: the findings that a pass, which mends them, and an inspection, which must not,
// share.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "agent/cgroup/cgroup.h"
#include "agent/cgroup/control.h"
#include "agent/enforcer/finding.h"
#include "agent/enforcer/plan.h"
#include "agent/enforcer/tree.h"

namespace podfence {

// What a cgroup is to say. One that no decision names keeps what it has, but its CPUs: it is shared like any other of
// its pod.
Fence WantedOf(const TreeNode& node);

// The plan's own findings, with absolute paths.
std::vector<Finding> PlanFindings(const Plan& plan, const Cgroup& root, std::string_view own);
// None where a decision names the cgroup.
std::optional<Finding> FindUnknown(const TreeNode& node, const Fence& wanted);
// The CPUs of a cgroup's effective set that are another's own. Of leaves only: in a cgroup that holds others of ours no
// process lives, and a pod's bubble holds its owners.
CpuSet ForeignCpus(const TreeNode& node, const Fence& wanted, const Plan& plan);
Finding StillShared(const TreeNode& node, const Fence& wanted, const CpuSet& foreign);
// Where the kernel's effective set is not what stands in cpuset.cpus.
std::optional<Finding> FindNotEffective(const TreeNode& node, const WholeSets& whole);
// found: what the kernel says in cpuset.cpus.partition instead.
Finding NoPartition(const TreeNode& node, const Fence& wanted, const std::string& found);
// A finding for each container that has anonymous or file memory outside its NUMA nodes (memory.numa_stat): it was put
// there while its set was another, or the kernel had none left on its own. File memory counts from 1 MiB on. What
// cannot be read goes to unseen.
std::vector<Finding> FindMemoryOutside(const std::vector<TreeNode>& nodes, std::vector<Unseen>& unseen);
// Where a cgroup that holds others of ours does not pass its controllers on: the fences below it are not there.
absl::StatusOr<std::optional<Finding>> FindControllersOff(const Cgroup& parent);
// A quota on root, where that is not the hierarchy's true root, which has none.
absl::StatusOr<std::optional<Finding>> FindQuotaAbove(const Cgroup& root, const Plan& plan);

}  // namespace podfence
