#include "agent/run_queue.h"

#include <algorithm>
#include <vector>

namespace podfence {
namespace {

// With the bounds of every step'th of the kernel's ranges.
Histogram Ranges(size_t step) {
  std::vector<double> bounds;
  for (size_t i = 0; i + 1 < kWaitBuckets; i += step) bounds.push_back(NanosToSeconds(*WaitHistogram::UpperBoundNs(i)));
  return Histogram(std::move(bounds));
}

Histogram Waits(const WaitHistogram& wait) {
  Histogram waits = Ranges(2);
  for (size_t i = 0; i < kWaitBuckets; ++i) waits.counts[(i + 1) / 2] += wait.counts[i];
  waits.sum = NanosToSeconds(wait.total_ns);
  return waits;
}

// What was added since `last`; all of it where counting began anew, which it does with a new cgroup.
Histogram Growth(const Histogram& last, const Histogram& now) {
  if (last.bounds != now.bounds) return now;
  Histogram growth = now;
  for (size_t i = 0; i < now.counts.size(); ++i) {
    if (now.counts[i] < last.counts[i]) return now;
    growth.counts[i] -= last.counts[i];
  }
  growth.sum -= last.sum;
  return growth;
}

}  // namespace

RunQueueView RunQueueOf(const WaitHistogram& wait) {
  Histogram fine = Ranges(1);
  std::ranges::copy(wait.counts, fine.counts.begin());
  return {.waits = Waits(wait),
          .p50_seconds = fine.Quantile(0.5),
          .p90_seconds = fine.Quantile(0.9),
          .p99_seconds = fine.Quantile(0.99),
          .p999_seconds = fine.Quantile(0.999)};
}

RunQueueTotals::RunQueueTotals() {
  for (std::string_view assignment : kRunQueueAssignments) sums_.emplace(assignment, Waits({}));
}

void RunQueueTotals::Add(const std::string& uid, const std::string& container, const std::string& assignment,
                         const Histogram& waits) {
  Histogram& last = last_[{uid, container}];
  sums_[assignment].Add(Growth(last, waits));
  last = waits;
}

}  // namespace podfence
