#pragma once

#include <cstdint>
#include <limits>
#include <vector>

namespace podfence {

// The search behind ChooseNodes (cpu_balance.h). Of a list of items (NUMA nodes), `count` are chosen; some of the
// chosen take part in a round robin that hands out `groups` groups of CPUs, one each in turn, in list order. Every item
// costs the square of what it has left at the end.
struct RoundItem {
  int64_t free = 0;       // CPUs it has; what it has left where it is not chosen
  int64_t left = 0;       // CPUs it has when the rounds begin, where it is chosen; as much less than free for all items
  int64_t available = 0;  // groups it could give; without any it cannot take part
  bool may_pass = true;   // may be chosen without taking part
  bool anchor = false;    // see needs_anchor
};

class RoundSearch {
 public:
  static constexpr int64_t kImpossible = std::numeric_limits<int64_t>::max() / 4;

  // needs_anchor: at least one of the chosen must be an anchor.
  RoundSearch(std::vector<RoundItem> items, int count, int64_t groups, int64_t group_size, bool needs_anchor);

  // No way of choosing that is not tried yet costs less; kImpossible where all are tried.
  int64_t Bound() const { return untried_.empty() ? kImpossible : untried_.back().cost; }
  // Tries the ways that the bound stands for.
  void Try();
  // The least cost among those tried; kImpossible where there is none.
  int64_t Least() const { return least_; }
  // The lexicographically first `count` items (by position) that some rounds serve at no more than limit.
  // Least() <= limit < Bound().
  std::vector<int> First(int64_t limit) const;

 private:
  // One number L of full rounds: a participant gives min(available, L + 1) groups before some item and
  // min(available, L) from it on.
  class Level;
  struct LevelCost {
    int64_t level = 0;
    int64_t cost = 0;
  };
  bool Possible(int64_t level) const;
  int64_t BoundOf(int64_t level, int64_t target) const;

  std::vector<RoundItem> items_;
  int count_;
  int64_t groups_;
  int64_t group_size_;
  bool needs_anchor_;
  int64_t least_ = kImpossible;
  std::vector<LevelCost> untried_;  // by bound, descending
  std::vector<LevelCost> tried_;    // with their least costs
};

}  // namespace podfence
