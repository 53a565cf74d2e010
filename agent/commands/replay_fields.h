#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "agent/core/text.h"

namespace podfence {

// Reads the members of one object of a vector file. The first thing that is wrong is kept in the status that all
// readers of a line share, with its place ("config.reserved.cpu"); what is read after that is empty.
class VectorFields {
 public:
  VectorFields(const nlohmann::json& object, std::string place, absl::Status& status)
      : object_(object), place_(std::move(place)), status_(status) {
    if (!object_.is_object()) Fail("", Cat("expected an object, got ", object_.type_name()));
  }

  // The member, or null where it is absent.
  const nlohmann::json* Find(std::string_view key) const {
    if (!object_.is_object()) return nullptr;
    const auto found = object_.find(key);
    return found == object_.end() ? nullptr : &*found;
  }
  // The member of that kind, or an empty one of it after noting what is wrong.
  const nlohmann::json& Array(std::string_view key) { return Member(key, nlohmann::json::value_t::array); }
  const nlohmann::json& Object(std::string_view key) { return Member(key, nlohmann::json::value_t::object); }
  std::string Text(std::string_view key) { return Member(key, nlohmann::json::value_t::string).get<std::string>(); }
  std::string TextOr(std::string_view key, std::string otherwise) {
    return Find(key) == nullptr ? std::move(otherwise) : Text(key);
  }
  bool Flag(std::string_view key) { return Member(key, nlohmann::json::value_t::boolean).get<bool>(); }
  uint64_t Number(std::string_view key) {
    return Member(key, nlohmann::json::value_t::number_unsigned).get<uint64_t>();
  }

  std::string PlaceOf(std::string_view key) const { return place_.empty() ? std::string(key) : Cat(place_, ".", key); }
  void Fail(std::string_view key, std::string_view what) {
    const std::string place = key.empty() ? place_ : PlaceOf(key);
    if (status_.ok()) status_ = absl::InvalidArgumentError(Cat(place, place.empty() ? "" : ": ", what));
  }
  absl::Status& status() { return status_; }

 private:
  const nlohmann::json& Member(std::string_view key, nlohmann::json::value_t kind);

  const nlohmann::json& object_;
  std::string place_;
  absl::Status& status_;
};

}  // namespace podfence
