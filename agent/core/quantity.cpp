#include "agent/core/quantity.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "agent/core/text.h"

namespace podfence {
namespace {

using Wide = __int128;
using UnsignedWide = unsigned __int128;
using Format = Quantity::Format;

constexpr UnsignedWide kMaxNanos = ~UnsignedWide{0} >> 1;
constexpr uint64_t kNanos = 1'000'000'000;
constexpr int64_t kMaxUnits = std::numeric_limits<int64_t>::max();
// A decimal exponent beyond this moves every non-zero digit out of what can be held.
constexpr int64_t kFarExponent = 1 << 20;

struct Suffix {
  std::string_view text;
  int exponent;
};
constexpr std::array<Suffix, 10> kDecimalSuffixes{
    {{"n", -9}, {"u", -6}, {"m", -3}, {"", 0}, {"k", 3}, {"M", 6}, {"G", 9}, {"T", 12}, {"P", 15}, {"E", 18}}};
constexpr std::array<Suffix, 6> kBinarySuffixes{
    {{"Ki", 10}, {"Mi", 20}, {"Gi", 30}, {"Ti", 40}, {"Pi", 50}, {"Ei", 60}}};

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// The parts of a quantity's text.
struct Parts {
  bool negative = false;
  bool has_digits = false;
  std::string_view whole;     // digits before the point, without leading zeros
  std::string_view fraction;  // digits behind it
  std::string_view suffix;
};

Parts Split(std::string_view text) {
  Parts parts;
  size_t at = 0;
  const auto digits = [&] {
    const size_t first = at;
    while (at < text.size() && IsDigit(text[at])) ++at;
    parts.has_digits |= at > first;
    return text.substr(first, at - first);
  };
  if (at < text.size() && (text[at] == '-' || text[at] == '+')) parts.negative = text[at++] == '-';
  parts.whole = digits();
  parts.whole.remove_prefix(std::min(parts.whole.find_first_not_of('0'), parts.whole.size()));
  if (at < text.size() && text[at] == '.') {
    ++at;
    parts.fraction = digits();
  }
  parts.suffix = text.substr(at);
  return parts;
}

struct Unit {
  Format format = Format::kDecimalSI;
  int64_t exponent = 0;  // of 10, or of 2 for kBinarySI
};

std::optional<Unit> ReadUnit(std::string_view suffix) {
  for (const Suffix& known : kDecimalSuffixes) {
    if (suffix == known.text) return Unit{Format::kDecimalSI, known.exponent};
  }
  for (const Suffix& known : kBinarySuffixes) {
    if (suffix == known.text) return Unit{Format::kBinarySI, known.exponent};
  }
  if (suffix.size() < 2 || (suffix[0] != 'e' && suffix[0] != 'E')) return std::nullopt;
  std::string_view number = suffix.substr(1);
  if (number[0] == '+') {
    number.remove_prefix(1);
    if (number.empty() || !IsDigit(number[0])) return std::nullopt;  // from_chars would take "+-3"
  }
  int64_t exponent = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), exponent);
  if (error != std::errc() || end != number.data() + number.size()) return std::nullopt;
  return Unit{Format::kDecimalExponent, std::clamp(exponent, -kFarExponent, kFarExponent)};
}

// a * 10 + digit, no further than kMaxNanos.
UnsignedWide Append(UnsignedWide a, unsigned digit) {
  return a > (kMaxNanos - digit) / 10 ? kMaxNanos : a * 10 + digit;
}

// whole.fraction * 10^exponent in billionths, rounded up.
UnsignedWide DecimalNanos(const Parts& parts, int64_t exponent) {
  const int64_t kept = static_cast<int64_t>(parts.whole.size()) + exponent + 9;  // digits that stay
  UnsignedWide nanos = 0;
  bool rest = false;
  int64_t position = 0;
  for (std::string_view digits : {parts.whole, parts.fraction}) {
    for (char c : digits) {
      if (position++ < kept) {
        nanos = Append(nanos, static_cast<unsigned>(c - '0'));
      } else {
        rest |= c != '0';
      }
    }
  }
  for (; position < kept && nanos != 0 && nanos != kMaxNanos; ++position) nanos = Append(nanos, 0);
  return rest && nanos < kMaxNanos ? nanos + 1 : nanos;
}

// whole.fraction * 2^exponent in billionths, rounded up, capped at 2^63-1 units.
UnsignedWide BinaryNanos(const Parts& parts, int exponent) {
  constexpr UnsignedWide kCap = UnsignedWide{kMaxUnits} * kNanos;
  uint64_t whole = 0;
  for (char c : parts.whole) {
    whole = whole * 10 + static_cast<uint64_t>(c - '0');
    if (whole > static_cast<uint64_t>(kMaxUnits) >> exponent) return kCap;
  }
  // The fraction, from its last digit on: floor((n + x) / 10) = floor((n + floor(x)) / 10) for whole n, so nothing is
  // lost by dropping the remainders, but whether there was one.
  const UnsignedWide unit = UnsignedWide{kNanos} << exponent;
  UnsignedWide fraction = 0;
  bool rest = false;
  for (size_t i = parts.fraction.size(); i-- > 0;) {
    fraction += unit * static_cast<unsigned>(parts.fraction[i] - '0');
    rest |= fraction % 10 != 0;
    fraction /= 10;
  }
  return std::min(kCap, (UnsignedWide{whole} << exponent) * kNanos + fraction + (rest ? 1 : 0));
}

absl::Status BadQuantity(std::string_view text, std::string_view why) {
  constexpr size_t kShown = 64;
  return absl::InvalidArgumentError(Cat("quantity \"", absl::Utf8SafeCEscape(ToAbsl(text.substr(0, kShown))),
                                        text.size() > kShown ? "…" : "", "\": ", why));
}

// amount / divisor, rounded away from zero, held to int64.
int64_t DivideUp(Wide amount, int64_t divisor) {
  Wide quotient = amount / divisor;
  if (quotient * divisor != amount) quotient += amount < 0 ? -1 : 1;
  if (quotient > kMaxUnits) return kMaxUnits;
  if (quotient < std::numeric_limits<int64_t>::min()) return std::numeric_limits<int64_t>::min();
  return static_cast<int64_t>(quotient);
}

std::string Print(bool negative, UnsignedWide magnitude, std::string_view suffix) {
  std::array<char, 40> buffer;
  size_t at = buffer.size();
  do {
    buffer[--at] = static_cast<char>('0' + static_cast<int>(magnitude % 10));
    magnitude /= 10;
  } while (magnitude != 0);
  return Cat(negative ? "-" : "", std::string_view(buffer.data() + at, buffer.size() - at), suffix);
}

}  // namespace

absl::StatusOr<Quantity> Quantity::Parse(std::string_view text) {
  if (text.empty()) return BadQuantity(text, "is empty; write a number with an optional suffix (250m, 4, 16Gi)");
  const Parts parts = Split(text);
  const std::optional<Unit> unit = ReadUnit(parts.suffix);
  if (!unit) {
    return BadQuantity(text, Cat("unknown suffix \"", absl::Utf8SafeCEscape(ToAbsl(parts.suffix.substr(0, 16))),
                                 "\"; allowed are n u m k M G T P E, Ki Mi Gi Ti Pi Ei and exponents like e3"));
  }
  const bool binary = unit->format == Format::kBinarySI;
  // The reference takes a suffix without digits for zero where its fast path serves, and refuses it elsewhere.
  if (!parts.has_digits && (binary ? unit->exponent >= 50 : unit->exponent < -9)) {
    return BadQuantity(text, "has no digits");
  }
  Quantity quantity;
  const UnsignedWide nanos =
      binary ? BinaryNanos(parts, static_cast<int>(unit->exponent)) : DecimalNanos(parts, unit->exponent);
  quantity.nanos_ = parts.negative ? -static_cast<Wide>(nanos) : static_cast<Wide>(nanos);
  quantity.format_ = binary && nanos > 0 && nanos < kNanos ? Format::kDecimalSI : unit->format;
  return quantity;
}

int64_t Quantity::Value() const { return DivideUp(nanos_, kNanosPerUnit); }

int64_t Quantity::MilliValue() const { return DivideUp(nanos_, kNanosPerUnit / 1000); }

bool Quantity::IsIntegral() const {
  const Wide rest = nanos_ % kNanosPerUnit;  // what lies within a thousandth of the next unit counts as that unit
  const Wide distance = rest < 0 ? -rest : rest;
  return rest == 0 || distance > kNanosPerUnit - kNanosPerUnit / 1000;
}

void Quantity::RoundUpToMilli() {
  constexpr int kStep = kNanosPerUnit / 1000;
  const Wide rest = nanos_ % kStep;
  if (rest == 0) return;
  const Wide whole = nanos_ - rest;
  if (__builtin_add_overflow(whole, rest < 0 ? -kStep : kStep, &nanos_)) nanos_ = whole;
}

std::string Quantity::ToString() const {
  if (nanos_ == 0) return "0";
  const bool negative = nanos_ < 0;
  UnsignedWide magnitude = negative ? -static_cast<UnsignedWide>(nanos_) : static_cast<UnsignedWide>(nanos_);
  // A binary amount that is small or not whole is shown in decimal, so that nothing is rounded.
  if (format_ == Format::kBinarySI && magnitude >= 1024 * UnsignedWide{kNanos} && magnitude % kNanos == 0) {
    magnitude /= kNanos;
    size_t power = 0;
    while (power < kBinarySuffixes.size() && magnitude % 1024 == 0) {
      magnitude /= 1024;
      ++power;
    }
    return Print(negative, magnitude, power == 0 ? "" : kBinarySuffixes[power - 1].text);
  }
  if (format_ == Format::kDecimalExponent) {
    int exponent = -9;
    for (; magnitude % 1000 == 0; exponent += 3) magnitude /= 1000;
    return Print(negative, magnitude, exponent == 0 ? "" : Cat("e", exponent));
  }
  size_t power = 0;
  while (power + 1 < kDecimalSuffixes.size() && magnitude % 1000 == 0) {
    magnitude /= 1000;
    ++power;
  }
  return Print(negative, magnitude, kDecimalSuffixes[power].text);
}

Quantity& Quantity::operator+=(const Quantity& other) {
  if (IsZero()) format_ = other.format_;
  const bool up = other.nanos_ > 0;
  if (__builtin_add_overflow(nanos_, other.nanos_, &nanos_)) {
    nanos_ = up ? static_cast<Wide>(kMaxNanos) : -static_cast<Wide>(kMaxNanos);
  }
  return *this;
}

Quantity& Quantity::operator-=(const Quantity& other) {
  Quantity negated = other;
  negated.nanos_ = -negated.nanos_;
  return *this += negated;
}

}  // namespace podfence
