#include "agent/config/eviction.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "absl/strings/escaping.h"
#include "agent/core/text.h"

namespace podfence {
namespace {

constexpr std::array<std::string_view, 8> kSignals{
    "memory.available",   "nodefs.available",      "nodefs.inodesFree",      "imagefs.available",
    "imagefs.inodesFree", "containerfs.available", "containerfs.inodesFree", "pid.available"};

absl::Status BadValue(std::string_view value, std::string_view why) {
  return absl::InvalidArgumentError(
      Cat("\"", absl::Utf8SafeCEscape(ToAbsl(value.substr(0, 40))), "\" ", why, "; write an amount (100Mi) or 5%"));
}

// As a fraction of one, in the reference's single precision.
absl::StatusOr<float> ReadPercentage(std::string_view value) {
  const std::string_view number = value.substr(0, value.size() - 1);
  float percent = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), percent);
  if (error != std::errc() || end != number.data() + number.size()) return BadValue(value, "is no percentage");
  if (!(percent >= 0 && percent <= 100)) return BadValue(value, "is not from 0% to 100%");
  return percent / 100;
}

}  // namespace

absl::Status CheckThreshold(std::string_view signal, std::string_view value) {
  if (std::find(kSignals.begin(), kSignals.end(), signal) == kSignals.end()) {
    return absl::InvalidArgumentError("unknown eviction signal");
  }
  if (value.ends_with('%')) return ReadPercentage(value).status();
  const absl::StatusOr<Quantity> amount = Quantity::Parse(value);
  if (!amount.ok()) return amount.status();
  if (*amount <= Quantity()) return BadValue(value, "is not more than 0");
  return absl::OkStatus();
}

absl::StatusOr<Quantity> ThresholdAmount(std::string_view value, const Quantity& capacity) {
  if (!value.ends_with('%')) return Quantity::Parse(value);
  if (value == "0%" || value == "100%") return Quantity();
  const absl::StatusOr<float> fraction = ReadPercentage(value);
  if (!fraction.ok()) return fraction.status();
  return Quantity::FromInt(static_cast<int64_t>(static_cast<double>(capacity.Value()) * static_cast<double>(*fraction)),
                           Quantity::Format::kBinarySI);
}

}  // namespace podfence
