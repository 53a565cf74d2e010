#pragma once

#include <string>

#include "absl/time/time.h"
#include "agent/kubernetes/http_client.h"
#include "agent/kubernetes/pod_feed.h"
#include "agent/kubernetes/retry.h"

namespace podfence {

// The kubelet's /pods, read again and again: the desired pods as the kubelet knows them, static ones included, also
// where there is no API server.
class KubeletPods final : public PodFeed {
 public:
  KubeletPods(ApiAccess access, absl::Duration interval, const RetryDelays& retry);

  std::string Name() const override;
  void Run(PodSink& sink) override;
  void Refresh() override { pause_.Poke(); }
  void Stop() override;

 private:
  absl::Status Poll(PodSink& sink);

  const absl::Duration interval_;
  const RetryDelays retry_;
  HttpClient client_;
  Pause pause_;
  std::string last_;  // digest of the last answer: parsing what is the same again would be most of the cost
};

}  // namespace podfence
