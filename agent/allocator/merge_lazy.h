#pragma once

#include <optional>
#include <vector>

#include "agent/allocator/merge_offer.h"
#include "agent/allocator/merge_order.h"

namespace podfence {

// Merges without a table of the 2^n sets, for machines of many nodes: families are never listed, lists are intersected
// set by set.
std::optional<MergedSet> MergeLazy(const std::vector<Offer>& offers, PositionMask all, const AffinityOrder& order);

}  // namespace podfence
