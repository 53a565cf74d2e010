#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/kubernetes/api_access.h"
#include "agent/kubernetes/pod_feed.h"
#include "agent/pods/pod_object.h"

namespace podfence {

struct NodeReporterOptions {
  ApiAccess api;
  std::string node_name;  // of the events' source
  RetryDelays retry;
};

struct NodeReporterStatus {
  uint64_t statuses_set = 0;  // pods whose phase became Failed
  uint64_t events_sent = 0;   // Events made or counted up
  uint64_t failures = 0;      // requests that failed, each try counted
  uint64_t dropped = 0;       // reports given up: too many waited, or refused for good
  uint64_t waiting = 0;
  bool forbidden_status = false;  // RBAC does not allow one or the other
  bool forbidden_events = false;
  absl::Status last_error;  // of the last request that failed
};

// Tells the API server what became of pods. Nothing here waits: reports go into a bounded queue that a thread sends,
// again and again with a growing delay where the server does not answer. What a server refuses for good (the pod is
// gone or another one by now, or RBAC forbids it) is given up; a missing RBAC rule is logged once, with the rule.
class NodeReporter {
 public:
  enum class EventType { kNormal, kWarning };

  static absl::StatusOr<std::unique_ptr<NodeReporter>> Create(NodeReporterOptions options);
  // Gives up what waits; takes at most a second or so.
  ~NodeReporter();

  // Refuses a pod as the kubelet would (pkg/kubelet/kubelet.go rejectPod): phase Failed with the reason
  // (TopologyAffinityError, UnexpectedAdmissionError, …) and "Pod was rejected: MESSAGE", for the pod with this UID
  // only, and a Warning event with the explanation. A controller then replaces the pod. A static pod gets the event
  // alone: its status is the kubelet's, and nobody would replace it.
  void Reject(const PodObject& pod, std::string_view reason, std::string_view message, std::string_view explanation);

  // An Event (core/v1, which the kubelet and `kubectl describe` use too) about a pod; the same one again within ten
  // minutes counts the first up. reason is one CamelCase word; the note is cut to 1024 bytes.
  void Event(const PodObject& pod, EventType type, std::string_view reason, std::string_view note);

  // Safe on any thread.
  NodeReporterStatus status() const;

 private:
  struct Impl;
  explicit NodeReporter(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace podfence
