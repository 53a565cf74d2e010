#include "agent/commands/replay_fields.h"

#include <map>

namespace podfence {

using nlohmann::json;

const json& VectorFields::Member(std::string_view key, json::value_t kind) {
  static const auto* const kEmpty = [] {
    auto* empty = new std::map<json::value_t, json>;
    for (const json::value_t known : {json::value_t::array, json::value_t::object, json::value_t::string,
                                      json::value_t::boolean, json::value_t::number_unsigned}) {
      empty->emplace(known, json(known));
    }
    return empty;
  }();
  const json* member = Find(key);
  if (member != nullptr && member->type() == kind) return *member;
  const json& empty = kEmpty->at(kind);
  if (member == nullptr) {
    Fail(key, "is missing");
  } else {
    Fail(key, Cat("expected ", kind == json::value_t::number_unsigned ? "a whole number" : empty.type_name(), ", got ",
                  member->type_name()));
  }
  return empty;
}

}  // namespace podfence
