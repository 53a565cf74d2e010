#include "agent/allocator/merge_offer.h"

#include <algorithm>
#include <utility>

namespace podfence {
namespace {

FamilyRule PlaceFamily(const HintFamily& family, const NodePositions& positions) {
  FamilyRule rule;
  rule.universe = positions.ToPositions(family.universe);
  rule.required = positions.ToPositions(family.required);
  rule.min_size = family.min_size;
  rule.preferred_size = family.preferred_size;
  rule.preferred_sockets = family.preferred_sockets;
  for (const HintThreshold& threshold : family.thresholds) {
    FamilyRule::Threshold& placed = rule.thresholds.emplace_back();
    placed.request = threshold.request;
    placed.amount.resize(static_cast<size_t>(positions.count()), 0);
    auto amount = threshold.amount.begin();
    for (PositionMask rest = rule.universe; rest != 0; rest &= rest - 1) {
      placed.amount[static_cast<size_t>(std::countr_zero(rest))] = *amount++;
    }
  }
  for (NumaSet set : family.listed) rule.listed.push_back(positions.ToPositions(set));
  for (NumaSet socket : family.sockets) rule.sockets.push_back(positions.ToPositions(socket));
  return rule;
}

Offer MakeOffer(const ResourceHints& hints, const NodePositions& positions) {
  switch (hints.kind) {
    case ResourceHints::Kind::kNoPreference: return Offer::AnyNode(true);
    case ResourceHints::Kind::kFamily: {
      Offer offer;
      offer.family = PlaceFamily(hints.family, positions);
      return offer;
    }
    case ResourceHints::Kind::kList: break;
  }
  if (hints.list.empty()) return Offer::AnyNode(false);
  Offer offer;
  offer.list.reserve(hints.list.size());
  for (const Hint& hint : hints.list) {
    if (hint.numa.empty()) {
      offer.any_node = true;
      offer.any_node_preferred |= hint.preferred;
    } else {
      offer.list.push_back({positions.ToPositions(hint.numa), hint.preferred});
    }
  }
  return offer;
}

}  // namespace

NodePositions::NodePositions(std::vector<int> ids) : ids_(std::move(ids)) {
  for (size_t i = 0; i < ids_.size(); ++i) {
    all_ |= PositionMask{1} << i;
    identity_ = identity_ && ids_[i] == static_cast<int>(i);
  }
}

PositionMask NodePositions::ToPositions(NumaSet ids) const {
  if (identity_) return ids.bits() & all_;
  PositionMask positions = 0;
  for (size_t i = 0; i < ids_.size(); ++i) {
    if (ids.Contains(ids_[i])) positions |= PositionMask{1} << i;
  }
  return positions;
}

NumaSet NodePositions::ToIds(PositionMask positions) const {
  if (identity_) return NumaSet(positions);
  NumaSet ids;
  for (PositionMask rest = positions; rest != 0; rest &= rest - 1) {
    ids.Add(ids_[static_cast<size_t>(std::countr_zero(rest))]);
  }
  return ids;
}

bool FamilyRule::FollowsRule(PositionMask set) const {
  if ((set & ~universe) != 0 || (required & ~set) != 0 || std::popcount(set) < min_size) return false;
  return std::ranges::all_of(thresholds, [set](const Threshold& threshold) {
    uint64_t sum = 0;
    for (PositionMask rest = set; rest != 0; rest &= rest - 1) {
      sum += threshold.amount[static_cast<size_t>(std::countr_zero(rest))];
    }
    return sum >= threshold.request;
  });
}

bool FamilyRule::IsPreferred(PositionMask set) const {
  if (std::popcount(set) == preferred_size) return true;
  return !sockets.empty() && TouchesPreferredSockets(set);
}

bool FamilyRule::TouchesPreferredSockets(PositionMask set) const {
  return std::ranges::count_if(sockets, [set](PositionMask socket) { return (socket & set) != 0; }) ==
         preferred_sockets;
}

Offer Offer::AnyNode(bool preferred) {
  Offer offer;
  offer.any_node = true;
  offer.any_node_preferred = preferred;
  return offer;
}

std::vector<Offer> MakeOffers(const std::vector<ProviderHints>& providers, const NodePositions& positions) {
  std::vector<Offer> offers;
  for (const ProviderHints& provider : providers) {
    if (provider.empty()) offers.push_back(Offer::AnyNode(true));
    for (const ResourceHints& hints : provider) offers.push_back(MakeOffer(hints, positions));
  }
  return offers;
}

}  // namespace podfence
