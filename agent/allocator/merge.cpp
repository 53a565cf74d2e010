#include "agent/allocator/merge.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "agent/allocator/merge_dense.h"
#include "agent/allocator/merge_lazy.h"

namespace podfence {
namespace {

// The nodes that alone serve a resource as it prefers.
PositionMask PreferredSingleNodes(const Offer& offer) {
  PositionMask nodes = 0;
  for (const Offer::Set& set : offer.list) {
    if (set.preferred && std::popcount(set.nodes) == 1) nodes |= set.nodes;
  }
  if (!offer.family) return nodes;
  for (PositionMask rest = offer.family->universe; rest != 0; rest &= rest - 1) {
    const PositionMask node = rest & -rest;
    if (offer.family->FollowsRule(node) && offer.family->IsPreferred(node)) nodes |= node;
  }
  for (PositionMask set : offer.family->listed) {
    if (std::popcount(set) == 1 && offer.family->IsPreferred(set)) nodes |= set;
  }
  return nodes;
}

// policy_single_numa_node.go: only preferred hints of one node, or of any, take part; two that differ never meet. The
// set of all nodes is given as any node.
std::optional<MergedSet> MergeSingleNode(const std::vector<Offer>& offers, PositionMask all) {
  PositionMask common = all;
  PositionMask named = 0;
  bool all_content = true;
  for (const Offer& offer : offers) {
    const PositionMask nodes = PreferredSingleNodes(offer);
    named |= nodes;
    if (offer.any_node_preferred) continue;
    common &= nodes;
    all_content = false;
  }
  common &= named;
  if (common != 0) return MergedSet{common & -common, true};
  if (all_content) return MergedSet{all, true};
  return std::nullopt;
}

// Whether a table of all sets is the cheaper way: for few nodes always, for more only where lists are so long that
// their intersections could be as many.
bool IsTableCheaper(const std::vector<Offer>& offers, int nodes) {
  constexpr int kFewNodes = 8;
  if (nodes <= kFewNodes) return true;
  if (nodes > kMaxDenseNodes) return false;
  double intersections = 1;
  for (const Offer& offer : offers) intersections *= static_cast<double>(std::max<size_t>(1, offer.list.size()));
  return intersections > static_cast<double>(uint64_t{1} << nodes);
}

std::optional<MergedSet> MergeAnySize(const std::vector<Offer>& offers, const NodePositions& positions,
                                      const AffinityOrder& order) {
  return IsTableCheaper(offers, positions.count()) ? MergeDense(offers, positions.count(), order)
                                                   : MergeLazy(offers, positions.all(), order);
}

}  // namespace

HintMerger::HintMerger(std::vector<int> nodes, std::vector<std::vector<uint64_t>> distances, TopologyOptions options)
    : positions_(std::move(nodes)), order_(std::move(distances), options.prefer_closest_numa), options_(options) {}

HintMerger HintMerger::WithPolicy(TopologyPolicy policy) const {
  HintMerger other = *this;
  other.options_.policy = policy;
  return other;
}

Merged HintMerger::Merge(const std::vector<ProviderHints>& providers) const {
  if (options_.policy == TopologyPolicy::kNone) return {.best = {}, .admit = true};
  const PositionMask all = positions_.all();
  const std::vector<Offer> offers = MakeOffers(providers, positions_);
  const bool single = options_.policy == TopologyPolicy::kSingleNumaNode;
  const MergedSet best = (single ? MergeSingleNode(offers, all) : MergeAnySize(offers, positions_, order_))
                             .value_or(MergedSet{all, false});
  Merged merged;
  if (!single || best.nodes != all) merged.best.numa = positions_.ToIds(best.nodes);
  merged.best.preferred = best.preferred;
  merged.admit = best.preferred || options_.policy == TopologyPolicy::kBestEffort;
  return merged;
}

}  // namespace podfence
