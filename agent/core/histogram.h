#pragma once

#include <cstdint>
#include <vector>

namespace podfence {

// What the kernel counts in nanoseconds, as it is shown.
constexpr double NanosToSeconds(uint64_t nanos) { return static_cast<double>(nanos) / 1e9; }

// How often values lay in each of some ranges. Monotonic as long as it is only added to.
struct Histogram {
  std::vector<double> bounds;    // ascending upper bounds, each within its range; values above the last count too
  std::vector<uint64_t> counts;  // of each range alone; one more than bounds
  double sum = 0;                // of all values

  explicit Histogram(std::vector<double> upper_bounds = {});
  void Observe(double value);
  // Adds what another of the same bounds has.
  void Add(const Histogram& other);
  uint64_t Count() const;
  // The value below which a share (0 to 1) of all values lie, as if those of one range were spread over it evenly; of
  // the last range, which has no end, its lower bound. 0 where there are no values.
  double Quantile(double share) const;
  friend bool operator==(const Histogram&, const Histogram&) = default;
};

}  // namespace podfence
