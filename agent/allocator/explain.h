#pragma once

#include <vector>

#include "agent/allocator/admit.h"
#include "agent/allocator/hints.h"
#include "agent/core/decision.h"

namespace podfence {

// The hints of all providers, resource by resource; at most ShownHints::kMaxShownHints of each.
std::vector<ShownHints> ShowHints(const std::vector<ProviderHints>& providers);

// Turns a failure into a rejection that says which node lacked what.
Rejection Explain(const Machine& machine, const Managers& managers, const NodeState& before, const Draft& draft,
                  AdmissionFailure failure);

}  // namespace podfence
