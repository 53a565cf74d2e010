#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "agent/core/pod.h"

namespace podfence {

enum class PodPhase { kPending, kRunning, kSucceeded, kFailed, kUnknown };
std::string_view PhaseName(PodPhase phase);

enum class ContainerState { kWaiting, kRunning, kTerminated };

// What the kubelet last reported about a container, of any kind.
struct ContainerStatus {
  std::string name;
  std::string id;  // "containerd://HEX"; empty before the first one was made
  ContainerState state = ContainerState::kWaiting;
  int64_t restart_count = 0;
  friend bool operator==(const ContainerStatus&, const ContainerStatus&) = default;
};

// A v1.Pod as the API server and the kubelet hand it out: who it is, what it wants, and how far it got.
struct PodObject {
  // What the kubelet, the runtimes and NRI call the pod: metadata.uid, except for the API server's mirror of a static
  // pod, which stands for the UID in kubernetes.io/config.hash (pkg/kubelet/config/common.go applyDefaults,
  // pkg/kubelet/pod/mirror_client.go). pod->uid is the same.
  std::string uid;
  std::string api_uid;  // metadata.uid as written
  std::string ns;
  std::string name;
  std::string node_name;         // spec.nodeName; empty: not given
  std::string source = "api";    // kubernetes.io/config.source: api | file | http
  bool is_mirror = false;        // made by the kubelet for a static pod: kubernetes.io/config.mirror, owned by a Node
  std::string resource_version;  // of the API server; the kubelet's own pods have none
  PodPhase phase = PodPhase::kPending;
  // A resize is asked for and not made yet: spec has other limits than are in force (conditions PodResizePending and
  // PodResizeInProgress; before Kubernetes 1.33 status.resize).
  bool resizing = false;
  std::optional<absl::Time> created;  // metadata.creationTimestamp
  std::optional<absl::Time> deleted;  // metadata.deletionTimestamp: when it is to be gone at the latest
  std::vector<std::string> ephemeral_containers;
  std::vector<ContainerStatus> statuses;  // of init containers, containers and ephemeral containers

  // Defaulted and validated; null where it cannot be taken: error names the pod and every field that is wrong, while
  // who it is and how far it got is known all the same.
  std::shared_ptr<const Pod> pod;
  absl::Status error;

  std::string FullName() const { return ns + "/" + name; }
  bool is_static() const { return source != "api"; }
  // Nothing of it will run again (pkg/api/v1/pod IsPodTerminal).
  bool is_terminal() const { return phase == PodPhase::kSucceeded || phase == PodPhase::kFailed; }
};

// Reads a v1.Pod of an API: through ParsePodJson, so with its rules; unknown fields, phases and states are passed over.
// What only a runtime of Podfence's own would use (command, args, env, workingDir) and the annotation
// kubectl.kubernetes.io/last-applied-configuration are not kept. InvalidArgument: it has no usable UID, name or
// namespace, so that nobody could say which pod it is.
absl::StatusOr<PodObject> ParsePodObject(nlohmann::json json);

// All the same but for resource_version, which also changes with what is not kept.
bool SameForTheNode(const PodObject& a, const PodObject& b);

}  // namespace podfence
