#pragma once

// What the enforcer and the verifier found, as everyone is shown it: the log, the API, `podfence verify`.

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "agent/cgroup/cgroup_paths.h"
#include "agent/core/node_state.h"
#include "agent/enforcer/enforcer.h"
#include "agent/server/snapshot.h"
#include "agent/verifier/observation.h"

namespace podfence {

// What a finding is seen against.
struct KernelContext {
  const NodeState& state;
  const std::vector<LiveFence>& live;  // what the tasks of each cgroup are held to
  const std::string& cgroup_root;
  CgroupPaths& paths;
  absl::Time now;  // for the paths
};
FindingView ViewOf(const KernelFinding& finding, const KernelContext& context);
FindingView ViewOf(const Finding& finding, const KernelContext& context);

}  // namespace podfence
