#include "agent/commands/replay_fields.h"

#include <array>

namespace podfence {

using nlohmann::json;

const json& VectorFields::Member(std::string_view key, json::value_t kind) {
  static const auto* const kEmpty =
      new std::array<json, 5>{json(json::value_t::array), json(json::value_t::object), json(json::value_t::string),
                              json(json::value_t::boolean), json(json::value_t::number_unsigned)};
  const json* member = Find(key);
  if (member != nullptr && member->type() == kind) return *member;
  const json* empty = nullptr;
  for (const json& candidate : *kEmpty) {
    if (candidate.type() == kind) empty = &candidate;
  }
  if (member == nullptr) {
    Fail(key, "is missing");
  } else {
    Fail(key, Cat("expected ", kind == json::value_t::number_unsigned ? "a whole number" : empty->type_name(), ", got ",
                  member->type_name()));
  }
  return *empty;
}

}  // namespace podfence
