#include "agent/allocator/merge_exclusion.h"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>

#include "agent/allocator/merge_packing.h"

namespace podfence {
namespace {

// Decides the candidates from the highest down, leaving out before keeping, and so meets the sets in ascending numeric
// order: among equals the first one met is the best.
class Search {
 public:
  Search(const ExclusionProblem& problem, int size, const AffinityOrder& order)
      : problem_(problem), size_(size), order_(order), closest_(order.closest()) {
    for (const Excluder& excluder : problem.excluders) may_leave_out_ |= excluder.may_leave_out;
    if (closest_) FindNearestPair();
    FindTwins();
  }

  std::optional<PositionMask> Run() {
    if (size_ > std::popcount(problem_.candidates)) return std::nullopt;
    Packing packing(problem_.excluders);
    const int leave_out = std::popcount(problem_.candidates) - size_;
    if (packing.MaySpare(problem_.candidates, leave_out)) Decide(packing, problem_.candidates, 0, 0, leave_out);
    return best_;
  }

 private:
  // open: candidates yet to be decided; distance: of the pairs of kept.
  void Decide(const Packing& packing, PositionMask open, PositionMask kept, uint64_t distance, int leave_out) {
    const int keep = size_ - std::popcount(kept);
    if (leave_out == 0 || keep == 0) {
      Finish(packing, open, kept, distance, leave_out);
      return;
    }
    if (closest_ && best_ && LeastDistance(open, kept, distance, keep) >= best_distance_) return;
    const int node = 63 - std::countl_zero(open);
    const PositionMask rest = open & ~Bit(node);
    if ((may_leave_out_ & Bit(node)) != 0 && (!CanSwapTwins() || (twins_[Index(node)] & kept) == 0)) {
      Packing without = packing;
      if (without.LeaveOut(node) && without.MaySpare(rest, leave_out - 1)) {
        Decide(without, rest, kept, distance, leave_out - 1);
        if (best_ && !closest_) return;
      }
    }
    if (packing.MaySpare(rest, leave_out) && SocketsStillFit(kept | Bit(node), rest)) {
      Decide(packing, rest, kept | Bit(node), distance + AddedDistance(kept, node), leave_out);
    }
  }

  void Finish(Packing packing, PositionMask open, PositionMask kept, uint64_t distance, int leave_out) {
    if (leave_out > 0) {
      for (PositionMask rest = open; rest != 0; rest &= rest - 1) {
        if (!packing.LeaveOut(std::countr_zero(rest))) return;
      }
    } else {
      for (PositionMask rest = open; rest != 0; rest &= rest - 1) {
        const int node = std::countr_zero(rest);
        distance += AddedDistance(kept, node);
        kept |= Bit(node);
      }
    }
    for (const FamilyRule* rule : problem_.socket_rules) {
      if (!rule->TouchesPreferredSockets(kept)) return;
    }
    if (best_ && distance >= best_distance_) return;
    best_ = kept;
    best_distance_ = distance;
  }

  bool SocketsStillFit(PositionMask kept, PositionMask open) const {
    return std::ranges::all_of(problem_.socket_rules, [&](const FamilyRule* rule) {
      int touched = 0;
      int within_reach = 0;
      for (PositionMask socket : rule->sockets) {
        touched += (socket & kept) != 0 ? 1 : 0;
        within_reach += (socket & (kept | open)) != 0 ? 1 : 0;
      }
      return touched <= rule->preferred_sockets && within_reach >= rule->preferred_sockets;
    });
  }

  // Two nodes alike to all excluders and sockets: a set with the higher and without the lower is never the best, as
  // long as distances do not count.
  bool CanSwapTwins() const { return !closest_; }
  void FindTwins() {
    if (!CanSwapTwins()) return;
    for (PositionMask rest = problem_.candidates; rest != 0; rest &= rest - 1) {
      const int node = std::countr_zero(rest);
      for (PositionMask higher = rest & (rest - 1); higher != 0; higher &= higher - 1) {
        if (AreTwins(node, std::countr_zero(higher))) twins_[Index(node)] |= higher & -higher;
      }
    }
  }
  bool AreTwins(int a, int b) const {
    const auto same = [a, b](PositionMask set) { return ((set >> a) & 1) == ((set >> b) & 1); };
    for (const Excluder& excluder : problem_.excluders) {
      if (!same(excluder.may_leave_out)) return false;
      for (const Excluder::Amount& amount : excluder.amounts) {
        if (amount.of_node[a] != amount.of_node[b]) return false;
      }
    }
    return std::ranges::all_of(problem_.socket_rules,
                               [&](const FamilyRule* rule) { return std::ranges::all_of(rule->sockets, same); });
  }

  uint64_t Between(int a, int b) const { return order_.distances()[Index(a)][Index(b)]; }
  uint64_t AddedDistance(PositionMask kept, int node) const {
    if (!closest_) return 0;
    uint64_t added = Between(node, node);
    for (PositionMask rest = kept; rest != 0; rest &= rest - 1) {
      const int other = std::countr_zero(rest);
      added += Between(node, other) + Between(other, node);
    }
    return added;
  }
  void FindNearestPair() {
    nearest_pair_ = std::numeric_limits<uint64_t>::max();
    for (PositionMask a = problem_.candidates; a != 0; a &= a - 1) {
      for (PositionMask b = a & (a - 1); b != 0; b &= b - 1) {
        const int first = std::countr_zero(a);
        const int second = std::countr_zero(b);
        nearest_pair_ = std::min(nearest_pair_, Between(first, second) + Between(second, first));
      }
    }
  }
  // What the distance cannot stay below once keep more nodes are kept.
  uint64_t LeastDistance(PositionMask open, PositionMask kept, uint64_t distance, int keep) const {
    std::array<uint64_t, 64> added;
    size_t count = 0;
    for (PositionMask rest = open; rest != 0; rest &= rest - 1) {
      added[count++] = AddedDistance(kept, std::countr_zero(rest));
    }
    std::nth_element(added.begin(), added.begin() + (keep - 1), added.begin() + count);
    for (int i = 0; i < keep; ++i) distance += added[Index(i)];
    return keep < 2 ? distance : distance + nearest_pair_ * static_cast<uint64_t>(keep * (keep - 1) / 2);
  }

  static size_t Index(int node) { return static_cast<size_t>(node); }

  const ExclusionProblem& problem_;
  const int size_;
  const AffinityOrder& order_;
  const bool closest_;
  PositionMask may_leave_out_ = 0;
  std::array<PositionMask, 64> twins_{};  // of each node, its higher twins
  uint64_t nearest_pair_ = 0;
  std::optional<PositionMask> best_;
  uint64_t best_distance_ = 0;
};

}  // namespace

std::optional<Excluder> ExcluderOf(const FamilyRule& rule) {
  Excluder excluder;
  excluder.spare_nodes = std::popcount(rule.universe) - rule.min_size;
  if (excluder.spare_nodes < 0 || (rule.required & ~rule.universe) != 0) return std::nullopt;
  excluder.may_leave_out = rule.universe & ~rule.required;
  for (const FamilyRule::Threshold& threshold : rule.thresholds) {
    uint64_t total = 0;
    for (uint64_t amount : threshold.amount) total += amount;
    if (total < threshold.request) return std::nullopt;
    excluder.amounts.push_back({threshold.amount.data(), total - threshold.request});
  }
  return excluder;
}

std::optional<PositionMask> BestOfSize(const ExclusionProblem& problem, int size, const AffinityOrder& order) {
  return Search(problem, size, order).Run();
}

int SmallestSize(const ExclusionProblem& problem) {
  const AffinityOrder any({}, false);
  ExclusionProblem sizes = problem;
  sizes.socket_rules.clear();
  const int all = std::popcount(problem.candidates);
  for (int size = 1; size < all; ++size) {
    if (BestOfSize(sizes, size, any)) return size;
  }
  return all;
}

}  // namespace podfence
