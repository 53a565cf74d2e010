#pragma once

#include <optional>
#include <vector>

#include "agent/allocator/merge_offer.h"
#include "agent/allocator/merge_order.h"

namespace podfence {

// Merges with a bit for each of the 2^n sets: O(n 2^n) for each resource whatever the number of hints, never their
// product. For machines of few nodes, or long lists of hints; at most kMaxDenseNodes nodes.
inline constexpr int kMaxDenseNodes = 16;

// The best non-empty merged affinity; none where no combination of hints has one.
std::optional<MergedSet> MergeDense(const std::vector<Offer>& offers, int nodes, const AffinityOrder& order);

}  // namespace podfence
