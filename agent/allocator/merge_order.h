#pragma once

#include <bit>
#include <cstdint>
#include <utility>
#include <vector>

namespace podfence {

// A set of NUMA nodes by position: bit i stands for the machine's i-th node, in ascending id order. Ids may be sparse;
// positions are not, and keep the numeric order of the sets.
using PositionMask = uint64_t;
constexpr PositionMask Bit(int position) { return PositionMask{1} << position; }

// Which of two merged affinities the reference takes (topologymanager/policy.go HintMerger.compare, numa_info.go
// Narrowest and Closest). Both comparisons are total orders on non-empty sets, so that the answer of the reference's
// walk does not depend on the order it walks in.
class AffinityOrder {
 public:
  // distances: position × position; closest: as many nodes are told apart by their distances first.
  AffinityOrder(std::vector<std::vector<uint64_t>> distances, bool closest)
      : distances_(std::move(distances)), closest_(closest) {}

  // Fewer nodes, then (closest) the smaller average distance, then the lower numbers.
  bool Before(PositionMask a, PositionMask b) const {
    const int size_a = std::popcount(a);
    const int size_b = std::popcount(b);
    if (size_a != size_b) return size_a < size_b;
    if (closest_ && a != b) {
      const uint64_t distance_a = Distance(a);
      const uint64_t distance_b = Distance(b);
      if (distance_a != distance_b) return distance_a < distance_b;
    }
    return a < b;
  }

  // How far a size is from what an unpreferred affinity should have: best_size itself, then smaller ones, the larger
  // the better, then larger ones, the smaller the better.
  static int SizeRank(int size, int best_size) { return size <= best_size ? best_size - size : size; }
  bool UnpreferredBefore(PositionMask a, PositionMask b, int best_size) const {
    const int rank_a = SizeRank(std::popcount(a), best_size);
    const int rank_b = SizeRank(std::popcount(b), best_size);
    return rank_a != rank_b ? rank_a < rank_b : Before(a, b);
  }

  bool closest() const { return closest_; }
  // The sum of the distances between all ordered pairs of the set. Among sets of one size it orders as the average.
  uint64_t Distance(PositionMask set) const {
    uint64_t sum = 0;
    for (PositionMask from = set; from != 0; from &= from - 1) {
      const std::vector<uint64_t>& row = distances_[static_cast<size_t>(std::countr_zero(from))];
      for (PositionMask to = set; to != 0; to &= to - 1) sum += row[static_cast<size_t>(std::countr_zero(to))];
    }
    return sum;
  }
  const std::vector<std::vector<uint64_t>>& distances() const { return distances_; }

 private:
  std::vector<std::vector<uint64_t>> distances_;
  bool closest_;
};

}  // namespace podfence
