#include "agent/allocator/merge_dense.h"

#include <algorithm>
#include <bit>

#include "absl/container/inlined_vector.h"

namespace podfence {
namespace {

// A bit for every set of nodes.
class SetTable {
 public:
  explicit SetTable(int nodes, bool full = false) : words_(Words(nodes), full ? ~uint64_t{0} : 0) {}
  static size_t Words(int nodes) { return nodes <= 6 ? 1 : size_t{1} << (nodes - 6); }

  void Add(PositionMask set) { words_[set / 64] |= uint64_t{1} << (set % 64); }
  bool Contains(PositionMask set) const { return ((words_[set / 64] >> (set % 64)) & 1) != 0; }
  SetTable& operator&=(const SetTable& other) {
    for (size_t i = 0; i < words_.size(); ++i) words_[i] &= other.words_[i];
    return *this;
  }
  SetTable& operator|=(const SetTable& other) {
    for (size_t i = 0; i < words_.size(); ++i) words_[i] |= other.words_[i];
    return *this;
  }
  template <typename Visitor>
  void ForEach(Visitor&& visit) const {
    for (size_t i = 0; i < words_.size(); ++i) {
      for (uint64_t rest = words_[i]; rest != 0; rest &= rest - 1) {
        visit(static_cast<PositionMask>(i * 64) + static_cast<PositionMask>(std::countr_zero(rest)));
      }
    }
  }

 private:
  absl::InlinedVector<uint64_t, 4> words_;
};

// The sets of one resource.
struct Sets {
  SetTable offered;
  SetTable preferred;
  int narrowest = 0;  // the size of its smallest set; 0: it has none
};

using Sums = absl::InlinedVector<uint64_t, 256>;

void AddSet(Sets& sets, PositionMask set, bool preferred) {
  sets.offered.Add(set);
  if (preferred) sets.preferred.Add(set);
  const int size = std::popcount(set);
  if (sets.narrowest == 0 || size < sets.narrowest) sets.narrowest = size;
}

void AddFamily(const FamilyRule& rule, int nodes, Sets& sets) {
  const size_t count = size_t{1} << nodes;
  // reached[set]: how many thresholds the set reaches; sums grow by the set's lowest node.
  absl::InlinedVector<uint8_t, 256> reached(count, 0);
  Sums sums(count);
  for (const FamilyRule::Threshold& threshold : rule.thresholds) {
    sums[0] = 0;
    for (size_t set = 1; set < count; ++set) {
      sums[set] = sums[set & (set - 1)] + threshold.amount[static_cast<size_t>(std::countr_zero(set))];
      reached[set] += sums[set] >= threshold.request ? 1 : 0;
    }
  }
  for (PositionMask set = rule.universe; set != 0; set = (set - 1) & rule.universe) {
    if (reached[set] == rule.thresholds.size() && (rule.required & ~set) == 0 && std::popcount(set) >= rule.min_size) {
      AddSet(sets, set, rule.IsPreferred(set));
    }
  }
  for (PositionMask set : rule.listed) AddSet(sets, set, rule.IsPreferred(set));
}

// Every intersection of a set of a with one of b: the number of pairs whose sets both contain m is a product of two
// superset sums, and undoing the sums gives the number of pairs that meet in m exactly.
SetTable Intersections(const SetTable& a, const SetTable& b, int nodes) {
  const size_t count = size_t{1} << nodes;
  Sums pairs(count, 0);
  Sums other(count, 0);
  a.ForEach([&](PositionMask set) { pairs[set] = 1; });
  b.ForEach([&](PositionMask set) { other[set] = 1; });
  for (size_t bit = 1; bit < count; bit <<= 1) {
    for (size_t block = 0; block < count; block += 2 * bit) {
      for (size_t set = block; set < block + bit; ++set) {
        pairs[set] += pairs[set + bit];
        other[set] += other[set + bit];
      }
    }
  }
  for (size_t set = 0; set < count; ++set) pairs[set] *= other[set];
  for (size_t bit = 1; bit < count; bit <<= 1) {
    for (size_t block = 0; block < count; block += 2 * bit) {
      for (size_t set = block; set < block + bit; ++set) pairs[set] -= pairs[set + bit];
    }
  }
  SetTable met(nodes);
  for (size_t set = 0; set < count; ++set) {
    if (pairs[set] != 0) met.Add(set);
  }
  return met;
}

}  // namespace

std::optional<MergedSet> MergeDense(const std::vector<Offer>& offers, int nodes, const AffinityOrder& order) {
  const PositionMask all = (PositionMask{1} << nodes) - 1;
  absl::InlinedVector<Sets, 4> resources;
  // A preferred merge needs one set that every resource prefers; those content with any node follow the others.
  SetTable common(nodes, true);
  SetTable named(nodes);
  bool all_content = true;
  for (const Offer& offer : offers) {
    Sets sets{SetTable(nodes), SetTable(nodes), 0};
    for (const Offer::Set& set : offer.list) AddSet(sets, set.nodes, set.preferred);
    if (offer.family) AddFamily(*offer.family, nodes, sets);
    named |= sets.preferred;
    if (!offer.any_node_preferred) {
      common &= sets.preferred;
      all_content = false;
    }
    if (offer.any_node) sets.offered.Add(all);
    resources.push_back(std::move(sets));
  }
  common &= named;
  if (all_content) common.Add(all);

  std::optional<MergedSet> best;
  common.ForEach([&](PositionMask set) {
    if (set != 0 && (!best || order.Before(set, best->nodes))) best = MergedSet{set, true};
  });
  if (best) return best;

  int best_size = 0;
  SetTable reachable(nodes);
  reachable.Add(all);
  for (const Sets& sets : resources) {
    best_size = std::max(best_size, sets.narrowest);
    reachable = Intersections(reachable, sets.offered, nodes);
  }
  reachable.ForEach([&](PositionMask set) {
    if (set != 0 && (!best || order.UnpreferredBefore(set, best->nodes, best_size))) best = MergedSet{set, false};
  });
  return best;
}

}  // namespace podfence
