#pragma once

#include <memory>
#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "agent/core/node_state.h"

namespace podfence {

// NodeState as JSON, whole: what the checkpoint holds and `podfence plan --state` reads. Pods are kept as defaulted
// manifests (pods/), cpusets as cpulists, node sets as lists of ids, memory in bytes.
nlohmann::json StateToJson(const NodeState& state);

// The inverse. InvalidArgument names the place ("pods.UID.containers[0].cpus") and what is wrong there. The books are
// taken as they are; whether they fit a machine is AdoptState's to say.
absl::StatusOr<NodeState> StateFromJson(const nlohmann::json& json);

// What an admitted pod holds, without the pod: what a container carries along so that a lost checkpoint can be rebuilt.
nlohmann::json AllocationToJson(const PodAllocation& allocation);
// The inverse, for that pod. InvalidArgument as above, and where the containers are not the pod's.
absl::StatusOr<PodAllocation> AllocationFromJson(const nlohmann::json& json, std::shared_ptr<const Pod> pod);

}  // namespace podfence
