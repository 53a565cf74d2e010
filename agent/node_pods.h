#pragma once

#include <systemd/sd-event.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "agent/config/config.h"
#include "agent/kubernetes/pod_source.h"
#include "agent/server/snapshot.h"

namespace podfence {

// The source of this node's pods as it is configured. Errors as PodSource::Create, and NodeName's.
absl::StatusOr<std::unique_ptr<PodSource>> StartPodSource(sd_event* loop, const Config& config,
                                                          PodSourceCallbacks callbacks);

// How the source stands, for a snapshot.
PodSourceView ViewOf(const PodSourceStatus& status);

// The pods that may have processes: those that have not ended.
std::vector<PodRecordPtr> LivingPods(const PodCache& cache);

// The same once, by a source of its own. DeadlineExceeded: it has not answered within `patience`, and why.
absl::StatusOr<std::vector<PodRecordPtr>> ReadPods(const Config& config, absl::Duration patience);

}  // namespace podfence
