#include "agent/allocator/explain.h"

#include <utility>

namespace podfence {

std::vector<ShownHints> ShowHints(const std::vector<ProviderHints>& providers) {
  std::vector<ShownHints> shown;
  for (const ProviderHints& provider : providers) {
    for (const ResourceHints& hints : provider) {
      ShownHints& entry = shown.emplace_back();
      entry.resource = hints.resource;
      entry.no_preference = hints.kind == ResourceHints::Kind::kNoPreference;
      entry.total = hints.list.size();
    }
  }
  return shown;
}

Rejection Explain(const Machine&, const Managers&, const NodeState&, const Draft&, AdmissionFailure failure) {
  Rejection rejection;
  rejection.reason = failure.refusal.reason;
  rejection.reference_message = failure.refusal.message;
  rejection.message = failure.refusal.message;
  rejection.container = failure.container;
  return rejection;
}

}  // namespace podfence
