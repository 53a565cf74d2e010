#include "agent/allocator/merge_lazy.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "agent/allocator/merge_exclusion.h"

namespace podfence {
namespace {

bool Prefers(const Offer& offer, PositionMask set) {
  if (offer.any_node_preferred) return true;
  if (offer.family) {
    const FamilyRule& rule = *offer.family;
    return rule.IsPreferred(set) && (rule.FollowsRule(set) || std::ranges::find(rule.listed, set) != rule.listed.end());
  }
  return std::ranges::any_of(offer.list,
                             [set](const Offer::Set& entry) { return entry.preferred && entry.nodes == set; });
}

// The one set that all resources prefer: the best of them.
class PreferredMerge {
 public:
  PreferredMerge(const std::vector<Offer>& offers, PositionMask all, const AffinityOrder& order)
      : offers_(offers), order_(order) {
    const Offer* shortest = nullptr;  // of the lists that must agree
    for (const Offer& offer : offers) {
      if (offer.any_node_preferred) continue;
      all_content_ = false;
      if (!offer.family && (shortest == nullptr || offer.list.size() < shortest->list.size())) shortest = &offer;
    }
    if (all_content_) {
      Consider(all);
      for (const Offer& offer : offers) ConsiderList(offer);
    } else if (shortest != nullptr) {
      ConsiderList(*shortest);
    } else {
      ConsiderFamilies(all);
    }
  }
  std::optional<PositionMask> best() const { return best_; }

 private:
  void Consider(PositionMask set) {
    if (set == 0 || (best_ && !order_.Before(set, *best_))) return;
    if (std::ranges::all_of(offers_, [set](const Offer& offer) { return Prefers(offer, set); })) best_ = set;
  }
  void ConsiderList(const Offer& offer) {
    for (const Offer::Set& set : offer.list) {
      if (set.preferred) Consider(set.nodes);
    }
  }
  // Every resource that must agree is a family. A set is listed by one of them, or follows all their rules at once.
  void ConsiderFamilies(PositionMask all) {
    ExclusionProblem together;
    together.candidates = all;
    PositionMask required = 0;
    int min_size = 1;
    std::optional<int> size;
    absl::InlinedVector<const FamilyRule*, 2> socket_rules;
    for (const Offer& offer : offers_) {
      if (!offer.family) continue;
      const FamilyRule& rule = *offer.family;
      for (PositionMask set : rule.listed) Consider(set);
      together.candidates &= rule.universe;
      required |= rule.required;
      min_size = std::max(min_size, rule.min_size);
      if (!rule.sockets.empty()) {
        socket_rules.push_back(&rule);
      } else if (size && *size != rule.preferred_size) {
        return;
      } else {
        size = rule.preferred_size;
      }
    }
    Excluder excluder;
    excluder.spare_nodes = std::popcount(together.candidates) - min_size;
    if (excluder.spare_nodes < 0 || (required & ~together.candidates) != 0) return;
    excluder.may_leave_out = together.candidates & ~required;
    for (const Offer& offer : offers_) {
      if (!offer.family) continue;
      for (const FamilyRule::Threshold& threshold : offer.family->thresholds) {
        uint64_t total = 0;
        for (PositionMask rest = together.candidates; rest != 0; rest &= rest - 1) {
          total += threshold.amount[static_cast<size_t>(std::countr_zero(rest))];
        }
        if (total < threshold.request) return;
        excluder.amounts.push_back({threshold.amount.data(), total - threshold.request});
      }
    }
    together.excluders.push_back(std::move(excluder));
    const int largest = size.value_or(std::popcount(together.candidates));
    for (int s = size.value_or(std::max(1, min_size)); s >= 1 && s <= largest; ++s) {
      if (best_ && std::popcount(*best_) < s) return;
      together.socket_rules.clear();
      for (const FamilyRule* rule : socket_rules) {
        if (rule->preferred_size != s) together.socket_rules.push_back(rule);
      }
      if (std::optional<PositionMask> found = BestOfSize(together, s, order_)) {
        Consider(*found);
        return;
      }
    }
  }

  const std::vector<Offer>& offers_;
  const AffinityOrder& order_;
  bool all_content_ = true;
  std::optional<PositionMask> best_;
};

// The best of all intersections of one set of each resource. A resource gives a set that it lists, or one that follows
// its rule; for each choice of resources that follow their rules, the lists of the others come down to a few
// intersections, and what can be reached below these is an ExclusionProblem.
class ReachableMerge {
 public:
  ReachableMerge(const std::vector<Offer>& offers, PositionMask all, const AffinityOrder& order) : order_(order) {
    Lists lists;
    lists[{}].insert(all);
    for (const Offer& offer : offers) {
      const FamilyRule* rule = offer.family ? &*offer.family : nullptr;
      std::optional<Excluder> excluder = rule != nullptr ? ExcluderOf(*rule) : std::nullopt;
      best_size_ = std::max(best_size_, NarrowestSize(offer, excluder));
      Lists met;
      for (const auto& [rules, sets] : lists) {
        auto& below = met[rules];
        for (PositionMask set : sets) {
          for (const Offer::Set& entry : offer.list) Add(set & entry.nodes, below);
          if (offer.any_node) Add(set, below);
          if (rule == nullptr) continue;
          for (PositionMask entry : rule->listed) Add(set & entry, below);
        }
        if (!excluder) continue;
        auto& following = met[rules | uint64_t{1} << rules_.size()];
        for (PositionMask set : sets) Add(set & rule->universe, following);
      }
      if (excluder) rules_.push_back(*std::move(excluder));
      lists = std::move(met);
    }
    for (const auto& [rules, sets] : lists) {
      for (PositionMask set : sets) Search(rules, set);
    }
  }
  std::optional<PositionMask> best() const { return best_; }

 private:
  // By the resources that follow their rules, as bits: the intersections of all others' sets, and of the universes.
  using Lists = absl::flat_hash_map<uint64_t, absl::flat_hash_set<PositionMask>>;

  static void Add(PositionMask set, absl::flat_hash_set<PositionMask>& sets) {
    if (set != 0) sets.insert(set);
  }

  static int NarrowestSize(const Offer& offer, const std::optional<Excluder>& excluder) {
    int narrowest = 0;
    const auto add = [&narrowest](int size) { narrowest = narrowest == 0 ? size : std::min(narrowest, size); };
    for (const Offer::Set& set : offer.list) add(std::popcount(set.nodes));
    if (!offer.family) return narrowest;
    for (PositionMask set : offer.family->listed) add(std::popcount(set));
    if (excluder) {
      ExclusionProblem alone;
      alone.candidates = offer.family->universe;
      alone.excluders.push_back(*excluder);
      add(SmallestSize(alone));
    }
    return narrowest;
  }

  void Search(uint64_t rules, PositionMask candidates) {
    ExclusionProblem problem;
    problem.candidates = candidates;
    for (uint64_t rest = rules; rest != 0; rest &= rest - 1) {
      problem.excluders.push_back(rules_[static_cast<size_t>(std::countr_zero(rest))]);
    }
    // Where a size can be reached every larger one can: nearest to best_size_ is all of them, or best_size_, or the
    // smallest that can be reached.
    const int all = std::popcount(candidates);
    if (problem.excluders.empty() || all <= best_size_) {
      Consider(candidates);
      return;
    }
    if (std::optional<PositionMask> found = BestOfSize(problem, best_size_, order_)) {
      Consider(*found);
      return;
    }
    if (best_ && std::popcount(*best_) <= best_size_) return;
    Consider(*BestOfSize(problem, SmallestSize(problem), order_));
  }

  void Consider(PositionMask set) {
    if (!best_ || order_.UnpreferredBefore(set, *best_, best_size_)) best_ = set;
  }

  const AffinityOrder& order_;
  std::vector<Excluder> rules_;
  int best_size_ = 0;
  std::optional<PositionMask> best_;
};

}  // namespace

std::optional<MergedSet> MergeLazy(const std::vector<Offer>& offers, PositionMask all, const AffinityOrder& order) {
  if (std::optional<PositionMask> set = PreferredMerge(offers, all, order).best()) return MergedSet{*set, true};
  if (std::optional<PositionMask> set = ReachableMerge(offers, all, order).best()) return MergedSet{*set, false};
  return std::nullopt;
}

}  // namespace podfence
