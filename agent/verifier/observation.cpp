#include "agent/verifier/observation.h"

#include <numeric>

namespace podfence {

std::string_view KernelFindingKindName(KernelFindingKind kind) {
  switch (kind) {
    case KernelFindingKind::kIntrusion: return "intrusion";
    case KernelFindingKind::kEscape: return "escape";
    case KernelFindingKind::kThrottling: return "throttling";
    case KernelFindingKind::kDrift: return "drift";
  }
  return "unknown";
}

std::optional<uint64_t> WaitHistogram::UpperBoundNs(size_t bucket) {
  if (bucket + 1 >= kWaitBuckets) return std::nullopt;
  return uint64_t{1024} << bucket;
}

uint64_t WaitHistogram::Count() const { return std::accumulate(counts.begin(), counts.end(), uint64_t{0}); }

}  // namespace podfence
