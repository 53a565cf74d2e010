#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "agent/core/machine.h"
#include "agent/core/node_state.h"
#include "agent/enforcer/enforcer.h"
#include "agent/enforcer/finding.h"
#include "agent/enforcer/plan.h"
#include "agent/enforcer/tree.h"

namespace podfence {

// What one look at the node found.
struct Inspection {
  std::vector<LiveFence> live;    // the plan's cgroups that exist; of containers, those in which processes live
  std::vector<Fence> idle;        // containers in whose cgroup nothing lives, or that have none: they do not run
  std::vector<Finding> findings;  // what is not as decided; nothing is repaired
  std::vector<Unseen> unseen;     // what could not be read; containers in it are neither live nor idle
};

// Tells the cgroups of a plan apart as read: those that live, and containers that do not run. own_path: of the cgroup
// that holds all pods. What is in `unseen` already counts as neither.
void SortLives(const Plan& plan, const std::string& own_path, const std::vector<TreeNode>& nodes,
               Inspection& inspection);

// Holds everything that an Enforcer of the same arguments would write against what the kernel says, and writes nothing:
// no file, no record, no cgroup. An enforcer of another process goes on beside it. places: where a runtime keeps the
// pods, with options.runtime_cgroups; else null. Errors: the hierarchy, or what the whole machine has, cannot be read,
// so that nothing can be said.
absl::StatusOr<Inspection> Inspect(const NodeState& state, const std::string& cgroup_root, const Machine& machine,
                                   const EnforcerOptions& options, const Places* places = nullptr);

}  // namespace podfence
