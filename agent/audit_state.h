#pragma once

#include <map>
#include <set>
#include <string>
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

// Knows pods from which the kubelet has taken back what they held while they still run: a static pod whose manifest is
// gone, or a pod that was deleted by force, is no active one from then on, and loses its entries before its containers
// have ended (cm/cpumanager/cpu_manager.go removeStaleState), one after the other.
class TakenBack {
 public:
  // The pods without those: nothing is decided for them any more, and nothing can be expected of them.
  std::vector<PodRecordPtr> LeaveOut(const KubeletState& kubelet, std::vector<PodRecordPtr> pods);

 private:
  std::map<std::string, std::set<std::string>> held_;  // by UID: containers with CPUs of an entry; "": the pod itself
};

// Why nothing can be said of a node whose kubelet does not decide; empty: it does.
std::vector<Unseen> WithoutManagers(const KubeletState& kubelet);

}  // namespace podfence
