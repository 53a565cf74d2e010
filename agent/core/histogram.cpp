#include "agent/core/histogram.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace podfence {

Histogram::Histogram(std::vector<double> upper_bounds)
    : bounds(std::move(upper_bounds)), counts(bounds.size() + 1, 0) {}

void Histogram::Observe(double value) {
  const auto range = std::ranges::lower_bound(bounds, value) - bounds.begin();
  ++counts[static_cast<size_t>(range)];
  sum += value;
}

void Histogram::Add(const Histogram& other) {
  for (size_t i = 0; i < counts.size() && i < other.counts.size(); ++i) counts[i] += other.counts[i];
  sum += other.sum;
}

uint64_t Histogram::Count() const { return std::accumulate(counts.begin(), counts.end(), uint64_t{0}); }

double Histogram::Quantile(double share) const {
  const double wanted = share * static_cast<double>(Count());
  double below = 0;
  for (size_t i = 0; i < bounds.size(); ++i) {
    const double here = static_cast<double>(counts[i]);
    if (here > 0 && below + here >= wanted) {
      const double low = i == 0 ? 0 : bounds[i - 1];
      return low + (bounds[i] - low) * std::max(0.0, wanted - below) / here;
    }
    below += here;
  }
  return Count() == 0 || bounds.empty() ? 0 : bounds.back();
}

}  // namespace podfence
