#pragma once

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "agent/server/snapshot.h"

namespace podfence {

// The body of GET /api/v1/state. Stable: keys are added, never renamed or dropped, within /api/v1.
nlohmann::json SnapshotToJson(const Snapshot& snapshot);

// The body of GET /api/v1/findings, as stable: {"time", "state", "reasons": [{"what", "reason"}], "findings": […]}.
nlohmann::json FindingsToJson(const Snapshot& snapshot);
// One finding as every interface shows it: the fields of FindingView under their names, foreign_class as "class".
nlohmann::json FindingToJson(const FindingView& finding);

// The inverse of SnapshotToJson, for `podfence status` and `podfence report`. InvalidArgument names the place.
absl::StatusOr<Snapshot> SnapshotFromJson(const nlohmann::json& json);

}  // namespace podfence
