#include "agent/allocator/merge_packing.h"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <tuple>
#include <utility>

#include "absl/container/flat_hash_set.h"

namespace podfence {
namespace {

// The sum of the count smallest amounts.
uint64_t SmallestSum(const Excluder::Amount& amount, PositionMask nodes, int count) {
  std::array<uint64_t, 64> values;
  size_t n = 0;
  for (PositionMask rest = nodes; rest != 0; rest &= rest - 1) values[n++] = amount.of_node[std::countr_zero(rest)];
  const auto wanted = values.begin() + std::min<size_t>(n, static_cast<size_t>(count));
  if (wanted != values.begin() + n) std::nth_element(values.begin(), wanted, values.begin() + n);
  uint64_t sum = 0;
  for (auto value = values.begin(); value != wanted; ++value) sum += *value;
  return sum;
}

// How many of the nodes the amount suffices for at most.
int LargestCount(const Excluder::Amount& amount, PositionMask nodes) {
  std::array<uint64_t, 64> values;
  size_t n = 0;
  for (PositionMask rest = nodes; rest != 0; rest &= rest - 1) values[n++] = amount.of_node[std::countr_zero(rest)];
  std::sort(values.begin(), values.begin() + n);
  uint64_t spare = amount.spare;
  int count = 0;
  for (size_t i = 0; i < n && values[i] <= spare; ++i, ++count) spare -= values[i];
  return count;
}

}  // namespace

Packing::Packing(const Excluders& excluders) : excluders_(excluders) {
  for (const Excluder& excluder : excluders) {
    offset_.push_back(all_.size());
    all_.push_back(static_cast<uint64_t>(excluder.spare_nodes));
    for (const Excluder::Amount& amount : excluder.amounts) all_.push_back(amount.spare);
  }
  spare_ = all_;
}

bool Packing::Fits(size_t excluder, int node, const Spare& spare) const {
  const Excluder& rule = excluders_[excluder];
  const size_t first = offset_[excluder];
  if ((rule.may_leave_out & Bit(node)) == 0 || spare[first] == 0) return false;
  for (size_t i = 0; i < rule.amounts.size(); ++i) {
    if (rule.amounts[i].of_node[node] > spare[first + 1 + i]) return false;
  }
  return true;
}

void Packing::Take(size_t excluder, int node, Spare& spare) const {
  const size_t first = offset_[excluder];
  --spare[first];
  const auto& amounts = excluders_[excluder].amounts;
  for (size_t i = 0; i < amounts.size(); ++i) spare[first + 1 + i] -= amounts[i].of_node[node];
}

bool Packing::LeaveOut(int node) {
  left_out_ |= Bit(node);
  for (size_t e = 0; e < excluders_.size(); ++e) {
    if (!Fits(e, node, spare_)) continue;
    Take(e, node, spare_);
    return true;
  }
  return excluders_.size() > 1 && Repack();
}

// Depth first over the nodes, the most demanding first, remembering what failed; a fractional bound cuts early.
bool Packing::Repack() {
  absl::InlinedVector<int, 64> nodes;
  for (PositionMask rest = left_out_; rest != 0; rest &= rest - 1) nodes.push_back(std::countr_zero(rest));
  // The share of its spare amounts that leaving the node out costs an excluder, on average over the amounts; over all
  // nodes an excluder leaves out these cannot exceed 1.
  const auto share = [this](size_t e, int node, const Spare& spare) {
    if (!Fits(e, node, spare)) return std::numeric_limits<double>::infinity();
    const Excluder& rule = excluders_[e];
    double sum = 1.0 / static_cast<double>(spare[offset_[e]]);
    for (size_t i = 0; i < rule.amounts.size(); ++i) {
      const uint64_t amount = rule.amounts[i].of_node[node];
      if (amount > 0) sum += static_cast<double>(amount) / static_cast<double>(spare[offset_[e] + 1 + i]);
    }
    return sum / static_cast<double>(rule.amounts.size() + 1);
  };
  const auto least_share = [&](int node, const Spare& spare) {
    double least = std::numeric_limits<double>::infinity();
    for (size_t e = 0; e < excluders_.size(); ++e) least = std::min(least, share(e, node, spare));
    return least;
  };
  // Nodes alike come to stand side by side, so that exchanging them is not tried.
  std::array<double, 64> demand{};
  for (int node : nodes) demand[static_cast<size_t>(node)] = least_share(node, all_);
  std::sort(nodes.begin(), nodes.end(), [&demand](int a, int b) {
    return std::tuple(-demand[static_cast<size_t>(a)], a) < std::tuple(-demand[static_cast<size_t>(b)], b);
  });

  absl::flat_hash_set<std::pair<size_t, Spare>> failed;
  const double most = static_cast<double>(excluders_.size()) * (1 + 1e-9);
  const auto place = [&](const auto& self, size_t index, const Spare& spare) -> bool {
    if (index == nodes.size()) {
      spare_ = spare;
      return true;
    }
    if (failed.contains({index, spare})) return false;
    double total = 0;
    for (size_t i = index; i < nodes.size() && total <= most; ++i) total += least_share(nodes[i], spare);
    if (total <= most) {
      for (size_t e = 0; e < excluders_.size(); ++e) {
        if (!Fits(e, nodes[index], spare)) continue;
        Spare less = spare;
        Take(e, nodes[index], less);
        if (self(self, index + 1, less)) return true;
      }
    }
    failed.insert({index, spare});
    return false;
  };
  return place(place, 0, all_);
}

bool Packing::MaySpare(PositionMask nodes, int count) const {
  if (count <= 0) return true;
  if (excluders_.size() == 1) {
    const Excluder& rule = excluders_[0];
    const PositionMask open = nodes & rule.may_leave_out;
    if (std::popcount(open) < count || spare_[0] < static_cast<uint64_t>(count)) return false;
    for (size_t i = 0; i < rule.amounts.size(); ++i) {
      if (SmallestSum(rule.amounts[i], open, count) > spare_[1 + i]) return false;
    }
    return true;
  }
  // The assignment is not final: count from the start.
  int most = 0;
  PositionMask coverable = 0;
  for (const Excluder& rule : excluders_) {
    const PositionMask open = (nodes | left_out_) & rule.may_leave_out;
    coverable |= open;
    int largest = std::min(rule.spare_nodes, std::popcount(open));
    for (const Excluder::Amount& amount : rule.amounts) largest = std::min(largest, LargestCount(amount, open));
    most += largest;
  }
  return std::min(most, std::popcount(coverable)) >= std::popcount(left_out_) + count;
}

}  // namespace podfence
