#pragma once

#include <cstdint>
#include <limits>
#include <vector>

namespace podfence {

// The search behind ChooseNodes (cpu_balance.h). Of a list of items (NUMA nodes), `count` are chosen; some of the
// chosen take part in a round robin that hands out `groups` groups of CPUs, one each in turn, in list order. Every item
// costs the square of what it has left at the end.
struct RoundItem {
  int64_t unchosen = 0;   // cost where it is not chosen
  int64_t left = 0;       // CPUs it has when the rounds begin, where it is chosen
  int64_t available = 0;  // groups it could give; without any it cannot take part
  bool may_pass = true;   // may be chosen without taking part
  bool anchor = false;    // see needs_anchor
};

class RoundSearch {
 public:
  static constexpr int64_t kImpossible = std::numeric_limits<int64_t>::max() / 4;

  // needs_anchor: at least one of the chosen must be an anchor.
  RoundSearch(std::vector<RoundItem> items, int count, int64_t groups, int64_t group_size, bool needs_anchor);

  // The least possible cost; kImpossible where nothing can be chosen.
  int64_t Least() const { return least_; }
  // The lexicographically first `count` items (by position) that some rounds serve at no more than limit.
  // limit >= Least().
  std::vector<int> First(int64_t limit) const;

 private:
  // One number L of full rounds: a participant gives min(available, L + 1) groups before some item and
  // min(available, L) from it on.
  class Level;
  bool Possible(int64_t level) const;

  std::vector<RoundItem> items_;
  int count_;
  int64_t groups_;
  int64_t group_size_;
  bool needs_anchor_;
  int64_t least_ = kImpossible;
  std::vector<std::pair<int64_t, int64_t>> levels_;  // number of full rounds, least cost
};

}  // namespace podfence
