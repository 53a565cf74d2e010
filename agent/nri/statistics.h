#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

#include "absl/time/time.h"

namespace podfence {

// How long our answers to one method of the runtime took: from the call read to its answer queued.
struct NriCallStatistics {
  // Bucket i counts answers of less than 2^i us and not less than 2^(i-1); the last one also all that took longer.
  static constexpr size_t kBuckets = 24;  // up to 8 s

  uint64_t calls = 0;
  uint64_t failures = 0;  // answered with an error or a rejection
  absl::Duration sum = absl::ZeroDuration();
  absl::Duration max = absl::ZeroDuration();
  std::array<uint64_t, kBuckets> log2_us{};

  void Add(absl::Duration took, bool failed);
};

// By the method's name ("CreateContainer"; a StateChange under the name of its event), for the methods that were
// called. Bounded: calls of unknown methods are not in it.
using NriStatistics = std::map<std::string, NriCallStatistics, std::less<>>;

}  // namespace podfence
