#pragma once

// kubernetes/ is where pods come from on a Kubernetes node, and where is told back what became of them: one feed of
// pods (the kubelet's local Pods API, the API server's watch, or the kubelet's /pods) into a cache that the agent's
// loop reads, and a reporter of refusals. Every feed has a thread of its own for its blocking I/O; the loop gets
// immutable records through one descriptor. It uses core/ and pods/, and must not decide anything about pods.

#include <systemd/sd-event.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "agent/kubernetes/api_access.h"
#include "agent/kubernetes/pod_cache.h"
#include "agent/kubernetes/pod_feed.h"

namespace podfence {

struct PodSourceOptions {
  // auto | podsapi | apiserver | kubelet. auto takes, once at the start, the first of: the Pods API where someone
  // listens on its socket and this build has it; the API server where there is one to talk to and its token file is
  // there; the kubelet's /pods.
  std::string source = "auto";
  std::string node_name;   // of spec.nodeName
  std::string api_server;  // URL; empty: that of the environment
  std::string api_server_token_file = "/var/run/secrets/kubernetes.io/serviceaccount/token";
  std::string api_server_ca_file = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt";
  // With https the token and CA files above are used.
  std::string kubelet_pods_url = "http://127.0.0.1:10255/pods";
  std::string pods_api_socket = "/var/lib/kubelet/pods-api/pods-api.sock";
  absl::Duration poll_interval = absl::Seconds(1);  // of the kubelet's /pods
  PodFeedFactory pods_api;                          // agent/podsapi/pods_api.h; null: built without it
  RetryDelays retry;
};

struct PodSourceStatus {
  std::string kind;                     // podsapi | apiserver | kubelet
  std::string description;              // for people
  bool up = false;                      // answered when last asked
  bool synced = false;                  // a complete list was read once
  absl::Status last_error;              // Ok while up
  std::optional<absl::Time> last_sync;  // when a complete list was read, or confirmed, last
  uint64_t lists = 0;                   // complete lists read that said anything new
  uint64_t relists = 0;                 // of these, because changes may have been missed
  uint64_t reconnects = 0;              // watches and connections opened again
  uint64_t failures = 0;                // failed requests and broken watches
  uint64_t unreadable = 0;              // objects that say not even which pod they are
};

struct PodSourceCallbacks {
  // On the loop: what changed in cache(), which already is as told. Never empty. Must not end the source.
  std::function<void(const std::vector<PodChange>& changes)> on_changed;
  // On the loop, once: cache() now holds every pod of the node.
  std::function<void()> on_synced;
};

class PodSource {
 public:
  // Starts to read. Errors: no such source, a bad URL, a source that this build or node cannot offer; the message names
  // the remedy. That a server does not answer is none: it is tried until it does, and status() says so.
  static absl::StatusOr<std::unique_ptr<PodSource>> Create(sd_event* loop, const PodSourceOptions& options,
                                                           PodSourceCallbacks callbacks);
  // Waits for its thread, at most a second or so.
  ~PodSource();

  const PodCache& cache() const;
  // Once true it stays so: a source that is down leaves the cache as it was.
  bool synced() const;
  // For a pod that the runtime shows and the cache does not know: the kubelet's /pods is read now, and a feed that
  // waits after a failure tries at once. Costs nothing; what comes of it is told by on_changed.
  void Refresh();
  // Safe on any thread.
  PodSourceStatus status() const;

 private:
  struct Impl;
  explicit PodSource(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace podfence
