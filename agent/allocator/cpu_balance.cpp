#include "agent/allocator/cpu_balance.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "agent/allocator/cpu_rounds.h"

namespace podfence {
namespace {

// The reference's balance score, the standard deviation of what is left on all nodes, mean and score rounded to three
// decimals; here from the sum of the squares and exact, in thousandths.
class Score {
 public:
  Score(int64_t left, int64_t nodes) : left_(left), nodes_(nodes) {
    mean_ = static_cast<int64_t>(std::round(static_cast<double>(left) / static_cast<double>(nodes) * 1000));
  }
  int64_t Of(int64_t squares) const {
    const int64_t variance = 1'000'000 * squares - 2000 * mean_ * left_ + nodes_ * mean_ * mean_;  // times nodes, 1e6
    int64_t score = std::lround(std::sqrt(static_cast<double>(variance) / static_cast<double>(nodes_)));
    while (score > 0 && Highest(score - 1) >= variance) --score;
    while (Highest(score) < variance) ++score;
    return score;
  }
  // The largest sum of squares that has this score.
  int64_t Limit(int64_t score) const {
    return (Highest(score) + 2000 * mean_ * left_ - nodes_ * mean_ * mean_) / 1'000'000;
  }

 private:
  // The largest variance, scaled, that rounds to the score: below nodes × (score + 1/2)².
  int64_t Highest(int64_t score) const { return (nodes_ * (4 * score * score + 4 * score + 1) - 1) / 4; }

  int64_t left_;
  int64_t nodes_;
  int64_t mean_;
};

// What the reference's slice of a combination holds when its walk is over. Go doubles a slice's memory when it is full
// (1, 2, 4, 8, …), so a combination shares the memory of its first 1, 2, 3, 5, 9, 17, … positions with all that begin
// alike, and those tried later overwrite the rest. universe: what was combined, ascending; stopped: the walk ended at
// the combination after this one.
void Overwrite(std::vector<int>& chosen, const std::vector<int>& universe, bool stopped) {
  size_t own = chosen.size();
  for (size_t full = 2; chosen.size() > full; full *= 2) own = full + 1;
  if (own >= chosen.size()) return;
  const size_t tail = chosen.size() - own;
  if (!stopped) {
    std::copy(universe.end() - static_cast<std::ptrdiff_t>(tail), universe.end(),
              chosen.begin() + static_cast<std::ptrdiff_t>(own));
    return;
  }
  // The next combination, if it differs in the tail only.
  for (size_t back = 1; back <= tail; ++back) {
    const size_t place = chosen.size() - back;
    auto next = std::upper_bound(universe.begin(), universe.end(), chosen[place]);
    if (universe.end() - next < static_cast<std::ptrdiff_t>(back)) continue;
    std::copy(next, next + static_cast<std::ptrdiff_t>(back), chosen.begin() + static_cast<std::ptrdiff_t>(place));
    return;
  }
}

class Chooser {
 public:
  Chooser(const BalanceProblem& problem, int size) : problem_(problem), size_(size), score_(LeftInAll(), Nodes()) {
    const int even = problem.count / size / problem.group * problem.group;
    shares_.push_back(even);
    if (problem.align_by_socket) {
      for (int free : problem.free) {
        const int whole = free / problem.group * problem.group;
        if (whole < even) shares_.push_back(whole);
      }
      std::sort(shares_.begin(), shares_.end(), std::greater<>());
      shares_.erase(std::unique(shares_.begin(), shares_.end()), shares_.end());
    }
  }

  std::optional<NodeChoice> Choose() {
    if (problem_.align_by_socket) {
      std::vector<int> sockets = problem_.socket;
      std::sort(sockets.begin(), sockets.end());
      sockets.erase(std::unique(sockets.begin(), sockets.end()), sockets.end());
      for (int socket : sockets) {
        if (socket >= 0) AddCandidates(socket);
      }
      TryCandidates();
    }
    const bool in_one_socket = least_ < RoundSearch::kImpossible;
    if (!in_one_socket) {
      candidates_.clear();
      AddCandidates(-1);
      TryCandidates();
    }
    if (least_ >= RoundSearch::kImpossible) return std::nullopt;
    const int64_t score = score_.Of(least_);
    const int64_t limit = score_.Limit(score);

    NodeChoice choice;
    int share = 0;
    for (const Candidate& candidate : candidates_) {
      if (candidate.Least() > limit) continue;
      std::vector<int> nodes;
      for (int i : candidate.search.First(limit - candidate.rest)) {
        nodes.push_back(candidate.members[static_cast<size_t>(i)]);
      }
      if (!choice.nodes.empty() && choice.nodes <= nodes) continue;
      choice.nodes = std::move(nodes);
      share = candidate.share;
    }
    choice.remainder = Remainder(choice.nodes, share, limit);
    std::vector<int> all(problem_.free.size());
    for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<int>(i);
    Overwrite(choice.nodes, all, score == 0 && (!problem_.align_by_socket || in_one_socket));
    return choice;
  }

 private:
  // All combinations of members whose even share is the same.
  struct Candidate {
    int share = 0;
    int64_t rest = 0;  // squares of the nodes that are no members
    std::vector<int> members;
    RoundSearch search;
    int64_t Least() const { return rest + search.Least(); }
    int64_t Bound() const { return rest + search.Bound(); }
  };

  int64_t Nodes() const { return static_cast<int64_t>(problem_.free.size()); }
  int64_t LeftInAll() const {
    int64_t left = -problem_.count;
    for (int free : problem_.free) left += free;
    return left;
  }
  static int64_t Square(int64_t value) { return value * value; }
  int64_t Groups(int share) const { return (problem_.count - share * size_) / problem_.group; }

  // socket -1: of every socket. A share below the even one is what the poorest node of the combination has
  // (align-by-socket): such a node must be among the chosen.
  void AddCandidates(int socket) {
    for (int share : shares_) {
      std::vector<int> members;
      std::vector<RoundItem> items;
      int64_t rest = 0;
      for (size_t i = 0; i < problem_.free.size(); ++i) {
        const int free = problem_.free[i];
        if (free < share || (socket >= 0 && problem_.socket[i] != socket)) {
          rest += Square(free);
          continue;
        }
        members.push_back(static_cast<int>(i));
        items.push_back({free, free - share, (free - share) / problem_.group, true,
                         free / problem_.group * problem_.group == share});
      }
      RoundSearch search(std::move(items), size_, Groups(share), problem_.group, share != shares_.front());
      if (search.Bound() >= RoundSearch::kImpossible) continue;
      candidates_.push_back({share, rest, std::move(members), std::move(search)});
    }
  }

  // Most promising first, until nothing untried can have as good a score as the best.
  void TryCandidates() {
    while (!candidates_.empty()) {
      Candidate& next = *std::min_element(candidates_.begin(), candidates_.end(),
                                          [](const Candidate& a, const Candidate& b) { return a.Bound() < b.Bound(); });
      if (next.search.Bound() >= RoundSearch::kImpossible) return;
      if (least_ < RoundSearch::kImpossible && next.Bound() > score_.Limit(score_.Of(least_))) return;
      next.search.Try();
      if (next.search.Least() < RoundSearch::kImpossible) least_ = std::min(least_, next.Least());
    }
  }

  // The subset of the chosen nodes that the remainder comes from: as many of them as leaves the same score.
  std::vector<int> Remainder(const std::vector<int>& nodes, int share, int64_t limit) const {
    const int64_t groups = Groups(share);
    if (groups == 0) return {};
    std::vector<int> able;
    std::vector<RoundItem> items;
    int64_t rest = 0;
    for (int free : problem_.free) rest += Square(free);
    for (int node : nodes) {
      const int free = problem_.free[static_cast<size_t>(node)];
      const int left = free - share;
      rest -= Square(free);
      if (left < problem_.group) {
        rest += Square(left);
        continue;
      }
      able.push_back(node);
      items.push_back({left, left, left / problem_.group, false, false});
    }
    for (int size = static_cast<int>(able.size()); size >= 1; --size) {
      RoundSearch search(items, size, groups, problem_.group, false);
      while (rest + search.Bound() <= limit) search.Try();
      if (rest + search.Least() > limit) continue;
      std::vector<int> subset;
      for (int i : search.First(limit - rest)) subset.push_back(able[static_cast<size_t>(i)]);
      Overwrite(subset, able, false);
      return subset;
    }
    return {};
  }

  const BalanceProblem& problem_;
  int size_;
  Score score_;
  std::vector<int> shares_;  // the even share first
  std::vector<Candidate> candidates_;
  int64_t least_ = RoundSearch::kImpossible;
};

}  // namespace

std::optional<NodeChoice> ChooseNodes(const BalanceProblem& problem, int size) {
  if (size < 1 || static_cast<size_t>(size) > problem.free.size()) return std::nullopt;
  return Chooser(problem, size).Choose();
}

}  // namespace podfence
