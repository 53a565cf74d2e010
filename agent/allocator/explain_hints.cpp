#include <algorithm>
#include <bit>

#include "agent/allocator/explain.h"

namespace podfence {
namespace {

// Calls visit for the sets of the family, listed ones first, then by size; gives up after kMostLooks sets, of which
// there are 2^nodes.
template <typename Visitor>
void VisitSets(const FamilyRule& rule, Visitor&& visit) {
  constexpr int kMostLooks = 4096;
  for (PositionMask set : rule.listed) visit(set);
  const int nodes = std::popcount(rule.universe);
  int looks = 0;
  for (int size = 1; size <= nodes; ++size) {
    // The chosen ones of the universe's nodes, by their places in it: all numbers of size bits, ascending.
    const PositionMask end = nodes < 64 ? PositionMask{1} << nodes : 0;
    PositionMask places = size < 64 ? (PositionMask{1} << size) - 1 : ~PositionMask{0};
    while (end == 0 || places < end) {
      if (++looks > kMostLooks) return;
      PositionMask set = 0;
      PositionMask rest = rule.universe;
      for (PositionMask place = places; rest != 0; place >>= 1, rest &= rest - 1) {
        if ((place & 1) != 0) set |= rest & -rest;
      }
      if (rule.FollowsRule(set)) visit(set);
      const PositionMask lowest = places & -places;
      const PositionMask carried = places + lowest;
      if (carried == 0) break;
      places = carried | (((carried ^ places) >> 2) / lowest);
    }
  }
}

ShownHints Show(const ResourceHints& hints, const Offer& offer, const NodePositions& positions) {
  ShownHints shown;
  shown.resource = hints.resource;
  shown.no_preference = hints.kind == ResourceHints::Kind::kNoPreference;
  const auto add = [&shown](NumaSet numa, bool preferred) {
    ++shown.total;
    if (shown.hints.size() < ShownHints::kMaxShownHints) shown.hints.emplace_back(numa, preferred);
  };
  for (const Hint& hint : hints.list) add(hint.numa, hint.preferred);
  if (offer.family) {
    VisitSets(*offer.family, [&](PositionMask set) { add(positions.ToIds(set), offer.family->IsPreferred(set)); });
  }
  return shown;
}

}  // namespace

std::vector<ShownHints> ShowHints(const std::vector<ProviderHints>& providers, const NodePositions& positions) {
  std::vector<ShownHints> shown;
  for (const ProviderHints& provider : providers) {
    if (provider.empty()) continue;
    const std::vector<Offer> offers = MakeOffers({provider}, positions);
    for (size_t r = 0; r < provider.size(); ++r) shown.push_back(Show(provider[r], offers[r], positions));
  }
  return shown;
}

}  // namespace podfence
