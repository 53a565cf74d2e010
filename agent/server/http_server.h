#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "agent/server/snapshot.h"

namespace podfence {

// What the server asks the agent. Each is called on the server's threads and must be safe there.
struct ServerSources {
  // A snapshot of now (or, where the loop is busy, the last one); null while the agent is starting.
  std::function<std::shared_ptr<const Snapshot>()> snapshot;
  // The exposition of a snapshot (metrics/exporter.h).
  std::function<std::string(const Snapshot&)> render_metrics;
  // The trace of the last decision on "namespace/name" or a UID; NotFound where there was none.
  std::function<absl::StatusOr<nlohmann::json>(std::string_view pod)> explain;
};

// The read-only HTTP server:
//   /            a page with links            /metrics          Prometheus text format
//   /-/healthy   200 while the process lives  /api/v1/state     SnapshotToJson
//   /-/ready     200 once the agent decides   /api/v1/findings  FindingsToJson
//   /api/v1/explain?pod=NAME   a decision's trace
class HttpServer {
 public:
  // Listens on host and port (0: any free one). Unavailable names both and why not.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(const std::string& host, int port, ServerSources sources);
  // Waits for the requests in progress.
  ~HttpServer();

  // The port is free at once, for another to listen on; requests in progress are still answered. Does not wait.
  void StopListening();
  int port() const;

 private:
  struct Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace podfence
