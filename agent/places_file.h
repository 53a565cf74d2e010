#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/enforcer/places.h"

namespace podfence {

// Where the runtime has put the pods' cgroups, as the agent of mode manage was told: in the state directory, for checks
// that run without it. Not synced: cgroups do not outlive the machine's run either.
absl::Status KeepPlaces(const std::string& state_directory, const Places& places);
// NotFound: no agent of mode manage has kept any. InvalidArgument says what is wrong with the file.
absl::StatusOr<Places> ReadPlaces(const std::string& state_directory);

}  // namespace podfence
