#include "agent/allocator/cpu_rounds.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <utility>

#include "absl/container/inlined_vector.h"

namespace podfence {
namespace {

constexpr int64_t kImpossible = RoundSearch::kImpossible;

int64_t Square(int64_t value) { return value * value; }

// What the fullest `count` items would have left if `taken` CPUs in all were drawn off their top, rounded down.
int64_t Water(const std::vector<RoundItem>& items, int count, int64_t taken) {
  std::vector<int64_t> free;
  free.reserve(items.size());
  for (const RoundItem& item : items) free.push_back(item.free);
  std::sort(free.begin(), free.end(), std::greater<>());
  free.resize(static_cast<size_t>(count));
  int64_t above = 0;
  for (size_t i = 0; i < free.size(); ++i) {
    above += free[i];
    const int64_t level = (above - taken) / static_cast<int64_t>(i + 1);
    if (i + 1 == free.size() || level >= free[i + 1]) return level;
  }
  return 0;
}

}  // namespace

class RoundSearch::Level {
 public:
  // Where a walk through the items stands, beside the item and how many are still to be chosen.
  struct Phase {
    bool after = false;   // the partial round is over
    bool anchor = false;  // an anchor is still missing
  };

  Level(const RoundSearch& search, int64_t level) : search_(search), level_(level) {
    FindSums();
    const size_t states = (search.items_.size() + 1) * static_cast<size_t>(search.count_ + 1) * sums_.size() * 4;
    best_.assign(states, kImpossible);
    for (size_t phase = 0; phase < 4; ++phase) {
      if ((phase & 2) == 0) At(search.items_.size(), 0, 0, phase) = 0;
    }
    for (size_t item = search.items_.size(); item-- > 0;) Solve(item);
  }

  int64_t Least() const { return At(0, search_.count_, sums_.size() - 1, search_.needs_anchor_ ? 2 : 0); }

  // The costs of all walks whose choice so far is fixed; one per sum still to hand out and phase.
  using Frontier = std::vector<int64_t>;
  Frontier Start() const {
    Frontier frontier(sums_.size() * 4, kImpossible);
    frontier[(sums_.size() - 1) * 4 + (search_.needs_anchor_ ? 2 : 0)] = 0;
    return frontier;
  }
  Frontier Unchosen(const Frontier& from, size_t item) const {
    Frontier to = from;
    for (int64_t& cost : to) {
      if (cost < kImpossible) cost += Square(search_.items_[item].free);
    }
    return to;
  }
  Frontier Chosen(const Frontier& from, size_t item) const {
    Frontier to(from.size(), kImpossible);
    const RoundItem& it = search_.items_[item];
    for (size_t sum = 0; sum < sums_.size(); ++sum) {
      for (size_t phase = 0; phase < 4; ++phase) {
        int64_t cost = from[sum * 4 + phase];
        if ((phase & 1) != 0) cost = std::min(cost, from[sum * 4 + phase - 1]);  // the partial round ends here
        if (cost >= kImpossible) continue;
        const size_t next = it.anchor ? phase & 1 : phase;
        const auto reach = [&](size_t target, int64_t add) {
          int64_t& known = to[target * 4 + next];
          known = std::min(known, cost + add);
        };
        if (it.may_pass) reach(sum, Square(it.left));
        if (const auto [target, add] = Take(it, sum, phase); add < kImpossible) reach(target, add);
      }
    }
    return to;
  }
  // The least cost of a walk from the frontier to the end, `count` of the items from `item` on being chosen.
  int64_t Completed(const Frontier& frontier, size_t item, int count) const {
    int64_t least = kImpossible;
    for (size_t sum = 0; sum < sums_.size(); ++sum) {
      for (size_t phase = 0; phase < 4; ++phase) {
        least = std::min(least, frontier[sum * 4 + phase] + At(item, count, sum, phase));
      }
    }
    return least;
  }

 private:
  // The numbers of groups that can still be to hand out somewhere, ascending; few, since every participant gives one
  // of two amounts unless it runs dry.
  void FindSums() {
    index_.assign(static_cast<size_t>(search_.groups_) + 1, -1);
    std::vector<int64_t> reached = {search_.groups_};
    index_[static_cast<size_t>(search_.groups_)] = 0;
    for (const RoundItem& item : search_.items_) {
      if (item.available < 1) continue;
      const size_t before = reached.size();
      for (size_t i = 0; i < before; ++i) {
        for (int64_t rounds : {level_, level_ + 1}) {
          const int64_t sum = reached[i] - std::min(item.available, rounds);
          if (sum < 0 || index_[static_cast<size_t>(sum)] >= 0) continue;
          index_[static_cast<size_t>(sum)] = 0;
          reached.push_back(sum);
        }
      }
    }
    std::sort(reached.begin(), reached.end());
    if (reached.front() != 0) reached.insert(reached.begin(), 0);
    sums_ = std::move(reached);
    for (size_t i = 0; i < sums_.size(); ++i) index_[static_cast<size_t>(sums_[i])] = static_cast<int>(i);
  }

  // Taking part with `sum` still to hand out: what is to hand out after it, and the cost.
  std::pair<size_t, int64_t> Take(const RoundItem& item, size_t sum, size_t phase) const {
    if (item.available < 1) return {0, kImpossible};
    const int64_t given = std::min(item.available, (phase & 1) != 0 ? level_ : level_ + 1);
    if (given > sums_[sum]) return {0, kImpossible};
    const int target = index_[static_cast<size_t>(sums_[sum] - given)];
    if (target < 0) return {0, kImpossible};
    return {static_cast<size_t>(target), Square(item.left - given * search_.group_size_)};
  }

  void Solve(size_t item) {
    const RoundItem& it = search_.items_[item];
    const int most = std::min(search_.count_, static_cast<int>(search_.items_.size() - item));
    for (int count = 0; count <= most; ++count) {
      for (size_t sum = 0; sum < sums_.size(); ++sum) {
        for (size_t phase : {3U, 2U, 1U, 0U}) {
          if (phase >= 2 && !search_.needs_anchor_) continue;
          int64_t least = At(item + 1, count, sum, phase) + Square(it.free);
          if (count > 0) {
            const size_t next = it.anchor ? phase & 1 : phase;
            if (it.may_pass) least = std::min(least, At(item + 1, count - 1, sum, next) + Square(it.left));
            if (const auto [target, add] = Take(it, sum, phase); add < kImpossible) {
              least = std::min(least, At(item + 1, count - 1, target, next) + add);
            }
          }
          if ((phase & 1) == 0) least = std::min(least, At(item, count, sum, phase + 1));  // the partial round ends
          At(item, count, sum, phase) = std::min(least, kImpossible);
        }
      }
    }
  }

  size_t Place(size_t item, int count, size_t sum, size_t phase) const {
    return ((item * static_cast<size_t>(search_.count_ + 1) + static_cast<size_t>(count)) * sums_.size() + sum) * 4 +
           phase;
  }
  int64_t& At(size_t item, int count, size_t sum, size_t phase) { return best_[Place(item, count, sum, phase)]; }
  int64_t At(size_t item, int count, size_t sum, size_t phase) const { return best_[Place(item, count, sum, phase)]; }

  const RoundSearch& search_;
  const int64_t level_;
  std::vector<int64_t> sums_;
  std::vector<int> index_;  // by number of groups: its place in sums_, or -1
  std::vector<int64_t> best_;
};

RoundSearch::RoundSearch(std::vector<RoundItem> items, int count, int64_t groups, int64_t group_size, bool needs_anchor)
    : items_(std::move(items)), count_(count), groups_(groups), group_size_(group_size), needs_anchor_(needs_anchor) {
  if (items_.empty() || static_cast<size_t>(count) > items_.size()) return;
  int64_t most_rounds = 0;
  for (const RoundItem& item : items_) most_rounds = std::max(most_rounds, item.available);
  const int64_t target = Water(items_, count_, count_ * (items_[0].free - items_[0].left) + groups_ * group_size_);
  for (int64_t level = 0; level <= std::min(groups_, most_rounds); ++level) {
    if (Possible(level)) untried_.push_back({level, BoundOf(level, target)});
  }
  std::sort(untried_.begin(), untried_.end(), [](const LevelCost& a, const LevelCost& b) { return a.cost > b.cost; });
}

void RoundSearch::Try() {
  const int64_t level = untried_.back().level;
  untried_.pop_back();
  const int64_t least = Level(*this, level).Least();
  if (least >= kImpossible) return;
  tried_.push_back({level, least});
  least_ = std::min(least_, least);
}

// The best `count` items, each for itself as near the target as the level lets it come. For any target t, with n items
// that have L left in all, the sum of the squares of what they have left is that of the distances from t, plus
// 2tL - nt².
int64_t RoundSearch::BoundOf(int64_t level, int64_t target) const {
  int64_t bound = 0;
  int64_t left_in_all = -groups_ * group_size_ - count_ * (items_[0].free - items_[0].left);
  absl::InlinedVector<int64_t, 32> added;  // by choosing each
  int64_t anchor = kImpossible;
  for (const RoundItem& item : items_) {
    left_in_all += item.free;
    int64_t chosen = item.may_pass ? Square(item.left - target) : kImpossible;
    if (item.available > 0) {
      for (int64_t rounds : {level, level + 1}) {
        chosen = std::min(chosen, Square(item.left - std::min(item.available, rounds) * group_size_ - target));
      }
    }
    const int64_t unchosen = Square(item.free - target);
    bound += unchosen;
    added.push_back(chosen - unchosen);
    if (item.anchor) anchor = std::min(anchor, chosen - unchosen);
  }
  std::nth_element(added.begin(), added.begin() + (count_ - 1), added.end());
  if (needs_anchor_ && anchor > added[static_cast<size_t>(count_ - 1)]) added[static_cast<size_t>(count_ - 1)] = anchor;
  for (int i = 0; i < count_; ++i) bound += added[static_cast<size_t>(i)];
  return bound + 2 * target * left_in_all - static_cast<int64_t>(items_.size()) * target * target;
}

// Whether `count` items can give all groups away in level full rounds and a part of one more, order left aside.
bool RoundSearch::Possible(int64_t level) const {
  absl::InlinedVector<int64_t, 32> most;
  absl::InlinedVector<int64_t, 32> least;
  int64_t anchor = 0;
  for (const RoundItem& item : items_) {
    most.push_back(std::min(item.available, level + 1));
    least.push_back(item.may_pass ? 0 : std::min(item.available, level));
    if (item.anchor) anchor = std::max(anchor, most.back());
  }
  std::nth_element(most.begin(), most.begin() + (count_ - 1), most.end(), std::greater<>());
  std::nth_element(least.begin(), least.begin() + (count_ - 1), least.end());
  if (needs_anchor_) most[static_cast<size_t>(count_ - 1)] = std::min(most[static_cast<size_t>(count_ - 1)], anchor);
  const int64_t most_given = std::accumulate(most.begin(), most.begin() + count_, int64_t{0});
  const int64_t least_given = std::accumulate(least.begin(), least.begin() + count_, int64_t{0});
  return least_given <= groups_ && groups_ <= most_given;
}

std::vector<int> RoundSearch::First(int64_t limit) const {
  std::vector<Level> levels;
  std::vector<Level::Frontier> frontiers;
  for (const LevelCost& tried : tried_) {
    if (tried.cost > limit) continue;
    levels.emplace_back(*this, tried.level);
    frontiers.push_back(levels.back().Start());
  }
  std::vector<int> chosen;
  for (size_t item = 0; item < items_.size() && chosen.size() < static_cast<size_t>(count_); ++item) {
    const int rest = count_ - static_cast<int>(chosen.size()) - 1;
    std::vector<Level::Frontier> with;
    bool fits = false;
    for (size_t i = 0; i < levels.size(); ++i) {
      with.push_back(levels[i].Chosen(frontiers[i], item));
      fits = fits || levels[i].Completed(with.back(), item + 1, rest) <= limit;
    }
    if (fits) {
      chosen.push_back(static_cast<int>(item));
      frontiers = std::move(with);
    } else {
      for (size_t i = 0; i < levels.size(); ++i) frontiers[i] = levels[i].Unchosen(frontiers[i], item);
    }
  }
  return chosen;
}

}  // namespace podfence
