#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/core/quantity.h"

namespace podfence {

// The rules of evictionHard (pkg/kubelet/eviction/helpers.go parseThresholdStatement); of its signals only
// memory.available reserves anything that Podfence hands out.

// Ok where the signal exists and its value is a positive amount or a percentage from 0% to 100%.
absl::Status CheckThreshold(std::string_view signal, std::string_view value);

// The amount that a checked value stands for; a percentage is of capacity. 0% and 100% mean none.
absl::StatusOr<Quantity> ThresholdAmount(std::string_view value, const Quantity& capacity);

}  // namespace podfence
