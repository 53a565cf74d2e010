#pragma once

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "agent/server/snapshot.h"

namespace podfence {

// The body of GET /api/v1/state. Stable: keys are added, never renamed or dropped, within /api/v1.
nlohmann::json SnapshotToJson(const Snapshot& snapshot);

// The inverse, for `podfence status` and `podfence report`. InvalidArgument names the place.
absl::StatusOr<Snapshot> SnapshotFromJson(const nlohmann::json& json);

}  // namespace podfence
