#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace podfence {

// A resource amount as Kubernetes writes it ("4", "250m", "16Gi", "1e3"): k8s.io/apimachinery pkg/api/resource
// quantity.go. Exact: held in billionths (the smallest unit Kubernetes keeps), finer amounts are rounded up as there.
// The format it was written in is kept, so that ToString gives the canonical form the API would print.
// Amounts end at 2^127-1 billionths (1.7e29 units): what lies beyond is held as that. There, beyond int64, the
// reference's own Value wraps or gives 0; here it saturates.
class Quantity {
 public:
  enum class Format { kDecimalSI, kBinarySI, kDecimalExponent };

  constexpr Quantity() = default;
  static constexpr Quantity FromInt(int64_t value, Format format = Format::kDecimalSI) {
    Quantity quantity;
    quantity.nanos_ = static_cast<__int128>(value) * kNanosPerUnit;
    quantity.format_ = format;
    return quantity;
  }
  static constexpr Quantity FromMilli(int64_t milli) {
    Quantity quantity;
    quantity.nanos_ = static_cast<__int128>(milli) * (kNanosPerUnit / 1000);
    return quantity;
  }
  // Follows ParseQuantity: sign, digits, point, suffix (n u m k M G T P E, Ki … Ei) or exponent (e3, E-3).
  // InvalidArgument names the text and what is wrong with it; binary amounts are capped at 2^63-1 as there.
  static absl::StatusOr<Quantity> Parse(std::string_view text);

  // Whole units, rounded up away from zero; saturates at the ends of int64 (Quantity.Value).
  int64_t Value() const;
  // Thousandths, rounded up likewise (Quantity.MilliValue).
  int64_t MilliValue() const;
  bool IsZero() const { return nanos_ == 0; }
  bool IsNegative() const { return nanos_ < 0; }
  // A whole number of units once rounded up to thousandths (cpumanager/policy_static.go: isIntegralCPUAmount).
  bool IsIntegral() const;
  Format format() const { return format_; }
  // The canonical form ("1500m", "16Gi", "3e3"): Quantity.String.
  std::string ToString() const;

  // Sums and differences keep the left side's format, unless it is zero (Quantity.Add, Sub).
  Quantity& operator+=(const Quantity& other);
  Quantity& operator-=(const Quantity& other);
  // Drops what is finer than a thousandth, rounding away from zero (Quantity.RoundUp, as defaulting does it).
  void RoundUpToMilli();

  friend constexpr bool operator==(const Quantity& a, const Quantity& b) { return a.nanos_ == b.nanos_; }
  friend constexpr std::strong_ordering operator<=>(const Quantity& a, const Quantity& b) {
    return a.nanos_ <=> b.nanos_;
  }

 private:
  static constexpr int64_t kNanosPerUnit = 1'000'000'000;
  __int128 nanos_ = 0;
  Format format_ = Format::kDecimalSI;
};

}  // namespace podfence
