#pragma once

// podsapi/ is a feed of pods from the kubelet's local Pods API: gRPC v1alpha1 over a Unix socket, on by default from
// Kubernetes 1.37 (gate PodsAPI). It is apart from kubernetes/ for the sake of gRPC: without Debian's gRPC, or with
// PODFENCE_PODS_API=OFF, Podfence is built without it. Whoever links podfence_podsapi has PODFENCE_PODS_API defined.

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "agent/kubernetes/pod_feed.h"

namespace podfence {

// A PodFeedFactory, for PodSourceOptions::pods_api. The socket need not be there yet.
absl::StatusOr<std::unique_ptr<PodFeed>> MakePodsApiFeed(const std::string& socket, const RetryDelays& retry);

}  // namespace podfence
