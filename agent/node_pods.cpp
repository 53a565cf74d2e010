#include "agent/node_pods.h"

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"
#include "agent/core/text.h"
#ifdef PODFENCE_PODS_API
#include "agent/podsapi/pods_api.h"
#endif

namespace podfence {

absl::StatusOr<std::unique_ptr<PodSource>> StartPodSource(sd_event* loop, const Config& config,
                                                          PodSourceCallbacks callbacks) {
  absl::StatusOr<std::string> node = NodeName(config);
  if (!node.ok()) return node.status();
  PodSourceOptions options;
  options.source = config.pod_source;
  options.node_name = *std::move(node);
  options.api_server = config.api_server;
  options.api_server_token_file = config.api_server_token_file;
  options.api_server_ca_file = config.api_server_ca_file;
  options.kubelet_pods_url = config.kubelet_pods_url;
  options.pods_api_socket = config.pods_api_socket;
#ifdef PODFENCE_PODS_API
  options.pods_api = MakePodsApiFeed;
#endif
  return PodSource::Create(loop, options, std::move(callbacks));
}

PodSourceView ViewOf(const PodSourceStatus& status) {
  return {.kind = status.kind,
          .description = status.description,
          .up = status.up,
          .error = status.up ? "" : status.last_error.ToString(),
          .failures = status.failures};
}

std::vector<PodRecordPtr> LivingPods(const PodCache& cache) {
  std::vector<PodRecordPtr> pods = cache.ByAge();
  std::erase_if(pods, [](const PodRecordPtr& record) { return record->is_terminal(); });
  return pods;
}

absl::StatusOr<std::vector<PodRecordPtr>> ReadPods(const Config& config, absl::Duration patience) {
  sd_event* created = nullptr;
  if (const int result = sd_event_new(&created); result < 0) {
    return absl::ErrnoToStatus(-result, "event loop: create it");
  }
  const std::unique_ptr<sd_event, decltype(&sd_event_unref)> loop(created, sd_event_unref);
  const absl::StatusOr<std::unique_ptr<PodSource>> source = StartPodSource(loop.get(), config, {});
  if (!source.ok()) return source.status();
  const absl::Time deadline = absl::Now() + patience;
  while (!(*source)->synced()) {
    const absl::Duration left = deadline - absl::Now();
    if (left <= absl::ZeroDuration()) {
      const PodSourceStatus status = (*source)->status();
      return absl::DeadlineExceededError(Cat(status.description, " has not told of its pods within ",
                                             absl::FormatDuration(patience), ": ", status.last_error.ToString()));
    }
    const int result = sd_event_run(loop.get(), static_cast<uint64_t>(absl::ToInt64Microseconds(left)));
    if (result < 0) return absl::ErrnoToStatus(-result, "event loop: run it");
  }
  return LivingPods((*source)->cache());
}

}  // namespace podfence
