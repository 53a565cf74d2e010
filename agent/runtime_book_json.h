#pragma once

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "agent/runtime_book.h"

namespace podfence {

// What a RuntimeBook holds, for an agent's successor: of NRI's values only what decides where cgroups are and which
// incarnation an event is about.
nlohmann::json BookToJson(const RuntimeBook& book);
// InvalidArgument says what is wrong with it.
absl::StatusOr<RuntimeBook> BookFromJson(const nlohmann::json& json);

}  // namespace podfence
