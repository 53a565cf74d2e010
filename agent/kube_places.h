#pragma once

#include <set>
#include <string>
#include <vector>

#include "agent/enforcer/finding.h"
#include "agent/enforcer/places.h"
#include "agent/kubernetes/pod_cache.h"

namespace podfence {

// The kubelet's cgroup of all pods below the hierarchy's root: kubepods.slice where that is there (the systemd driver),
// else kubepods.
std::string FindKubePods(const std::string& cgroup_root);

// Where the pods of a node are, of every QoS class, by what the kubelet has told: a container's cgroup is the one in
// its pod's that carries its id, as each runtime names it. Pods and containers that have none are left out; what cannot
// be read, or not be told of a pod, goes to unseen.
Places FindPlaces(const std::string& cgroup_root, const std::vector<PodRecordPtr>& pods, std::vector<Unseen>& unseen);

// Those of which a resize is asked for and not made yet, by UID.
std::set<std::string> ResizingPods(const std::vector<PodRecordPtr>& pods);

}  // namespace podfence
