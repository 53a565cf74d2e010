#include "agent/verifier/observation.h"

#include <numeric>

namespace podfence {

std::string_view ForeignClassName(ForeignClass foreign) {
  switch (foreign) {
    case ForeignClass::kContainer: return "container";
    case ForeignClass::kHost: return "host";
    case ForeignClass::kPause: return "pause";
    case ForeignClass::kMovableKthread: return "kthread_movable";
    case ForeignClass::kBoundKthread: return "kthread_bound";
  }
  return "unknown";
}

std::string_view FindingKindName(FindingKind kind) {
  switch (kind) {
    case FindingKind::kIntrusion: return "intrusion";
    case FindingKind::kEscape: return "escape";
    case FindingKind::kThrottling: return "throttling";
    case FindingKind::kDrift: return "drift";
  }
  return "unknown";
}

std::optional<uint64_t> WaitHistogram::UpperBoundNs(size_t bucket) {
  if (bucket + 1 >= kWaitBuckets) return std::nullopt;
  return uint64_t{1000} << bucket;
}

uint64_t WaitHistogram::Count() const { return std::accumulate(counts.begin(), counts.end(), uint64_t{0}); }

}  // namespace podfence
