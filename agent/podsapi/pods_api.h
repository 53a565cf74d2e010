#pragma once

// podsapi/ is a feed of pods from the kubelet's local Pods API (gRPC v1alpha1 over a Unix socket; on by default from
// Kubernetes 1.37, gate PodsAPI). It is apart from kubernetes/ for gRPC's sake: where Debian's gRPC is not installed,
// or PODFENCE_PODS_API=OFF, Podfence is built without it, and whoever links podfence_podsapi sees PODFENCE_PODS_API
// defined otherwise.

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "agent/kubernetes/pod_feed.h"

namespace podfence {

// A PodFeedFactory, for PodSourceOptions::pods_api. The socket need not be there yet.
absl::StatusOr<std::unique_ptr<PodFeed>> MakePodsApiFeed(const std::string& socket, const RetryDelays& retry);

}  // namespace podfence
