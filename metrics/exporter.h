#pragma once

#include <string>

#include "agent/server/snapshot.h"
#include "metrics/process.h"

namespace podfence {

// The whole answer to GET /metrics, in the Prometheus text format 0.0.4: the catalogue filled from snapshot, then the
// standard process_* series. Families without a sample are left out.
std::string RenderMetrics(const Snapshot& snapshot, const ProcessUsage& process);

}  // namespace podfence
