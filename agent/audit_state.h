#pragma once

#include <vector>

#include "agent/core/node_state.h"
#include "agent/enforcer/finding.h"
#include "agent/kubelet_state/kubelet_state.h"
#include "agent/kubernetes/pod_cache.h"

namespace podfence {

// What the kubelet has decided, as a NodeState: the entries of its checkpoints for the pods of the node. Entries of
// pods that are not there any more are left out; a pod without entries shares. Which part of a pod's budget is a
// container's own is not in the checkpoints: it is by the rule that the kubelet has for it (allocator/cpu_requests.h).
// Pure.
NodeState ComposeState(const KubeletState& kubelet, const std::vector<PodRecordPtr>& pods);

// Why nothing can be said of a node whose kubelet does not decide; empty: it does.
std::vector<Unseen> WithoutManagers(const KubeletState& kubelet);

}  // namespace podfence
