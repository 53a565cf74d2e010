#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/statusor.h"

namespace podfence {

// A v1.Pod in Kubernetes' protobuf, as the JSON that ParsePodObject takes: there is one reader of pods.
// InvalidArgument: it is no such message.
absl::StatusOr<nlohmann::json> PodJsonFromMessage(const std::string& message);

}  // namespace podfence
