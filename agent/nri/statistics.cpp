#include "agent/nri/statistics.h"

#include <algorithm>
#include <bit>

namespace podfence {

void NriCallStatistics::Add(absl::Duration took, bool failed) {
  ++calls;
  failures += failed ? 1 : 0;
  sum += took;
  max = std::max(max, took);
  const auto us = static_cast<uint64_t>(std::max<int64_t>(absl::ToInt64Microseconds(took), 0));
  ++log2_us[std::min<size_t>(std::bit_width(us), kBuckets - 1)];
}

}  // namespace podfence
