#pragma once

#include <memory>
#include <string>

#include "agent/kubernetes/api_access.h"
#include "agent/kubernetes/http_client.h"
#include "agent/kubernetes/line_splitter.h"
#include "agent/kubernetes/pod_feed.h"
#include "agent/kubernetes/pod_list.h"
#include "agent/kubernetes/retry.h"

namespace podfence {

// The pods of one node as the API server has them: a list, then a watch from there on, as client-go's reflector does it
// (tools/cache/reflector.go). A watch that ends goes on from the last resource version seen; where the server has
// forgotten it (410), everything is listed again.
class ApiWatch final : public PodFeed {
 public:
  ApiWatch(ApiAccess access, std::string node_name, const RetryDelays& retry);

  std::string Name() const override;
  void Run(PodSink& sink) override;
  void Refresh() override { pause_.Poke(); }
  void Stop() override;

 private:
  // Lists from a resource version: "0" whatever a server has in memory, "" the newest there is, in pages.
  absl::StatusOr<PodList> List(const std::string& from);
  absl::StatusOr<PodList> ListPage(const std::string& query);
  absl::Status Relist(PodSink& sink);
  // Until the watch ends; Ok where the server ended it orderly, OutOfRange where a list is needed.
  absl::Status Watch(PodSink& sink);
  absl::Status TakeLine(std::string_view line, PodSink& sink);

  const std::string node_name_;
  const RetryDelays retry_;
  HttpClient client_;
  Pause pause_;
  // The newest version seen, which no later list may be older than; and whether the watch can go on from it.
  std::string version_ = "0";
  bool listed_ = false;
  bool watched_ = false;
};

}  // namespace podfence
