#include "agent/allocator/cpu_balance.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <numeric>
#include <random>

namespace podfence {
namespace {

// A Go slice that is only ever appended to: it shares its memory with the slice it was made from while there is room.
class Slice {
 public:
  Slice Append(int value) const {
    Slice longer = *this;
    if (memory_ == nullptr || size_ == memory_->size()) {
      longer.memory_ = std::make_shared<std::vector<int>>(std::max<size_t>(1, size_ * 2));
      for (size_t i = 0; i < size_; ++i) (*longer.memory_)[i] = (*memory_)[i];
    }
    (*longer.memory_)[size_] = value;
    ++longer.size_;
    return longer;
  }
  std::vector<int> Values() const {
    if (memory_ == nullptr) return {};
    return {memory_->begin(), memory_->begin() + static_cast<std::ptrdiff_t>(size_)};
  }

 private:
  std::shared_ptr<std::vector<int>> memory_;
  size_t size_ = 0;
};

// All combinations of k of the list in lexicographic order, until visit returns false (iterateCombinations).
bool Combine(const std::vector<int>& list, int k, size_t start, const Slice& so_far,
             const std::function<bool(const Slice&)>& visit) {
  if (k == 0) return visit(so_far);
  for (size_t i = start; i + static_cast<size_t>(k) <= list.size(); ++i) {
    if (!Combine(list, k - 1, i + 1, so_far.Append(list[i]), visit)) return false;
  }
  return true;
}

double Deviation(const std::vector<int>& left) {
  double sum = 0;
  for (int value : left) sum += value;
  const double mean = std::round(sum / static_cast<double>(left.size()) * 1000) / 1000;
  double squares = 0;
  for (int value : left) squares += (value - mean) * (value - mean);
  return std::round(std::sqrt(squares / static_cast<double>(left.size())) * 1000) / 1000;
}

// The search as the reference walks it: every combination, every subset for the remainder, memory shared as in Go.
class Walk {
 public:
  Walk(const BalanceProblem& problem, int size) : problem_(problem), size_(size) {}

  std::optional<NodeChoice> Run() {
    std::vector<int> all(problem_.free.size());
    std::iota(all.begin(), all.end(), 0);
    Combine(all, size_, 0, Slice(), [&](const Slice& combination) {
      if (best_ == 0 && (!problem_.align_by_socket || in_one_socket_)) return false;
      Try(combination);
      return true;
    });
    if (!found_) return std::nullopt;
    return NodeChoice{nodes_.Values(), remainder_.Values()};
  }

 private:
  int Groups(int cpus) const { return cpus / problem_.group; }

  void Try(const Slice& combination) {
    const std::vector<int> nodes = combination.Values();
    int groups = 0;
    for (int node : nodes) groups += Groups(problem_.free[static_cast<size_t>(node)]);
    if (groups * problem_.group < problem_.count) return;
    int share = problem_.count / size_ / problem_.group * problem_.group;
    if (problem_.align_by_socket) {
      for (int node : nodes) share = std::min(share, Groups(problem_.free[static_cast<size_t>(node)]) * problem_.group);
    }
    std::vector<int> left = problem_.free;
    for (int node : nodes) {
      if (left[static_cast<size_t>(node)] < share) return;
      left[static_cast<size_t>(node)] -= share;
    }
    const int rest = problem_.count - share * size_;
    double best = rest == 0 ? Deviation(left) : std::numeric_limits<double>::max();
    Slice best_subset;
    std::vector<int> able;
    for (int node : nodes) {
      if (left[static_cast<size_t>(node)] >= problem_.group) able.push_back(node);
    }
    for (int k = static_cast<int>(able.size()); rest > 0 && k >= 1; --k) {
      Combine(able, k, 0, Slice(), [&](const Slice& subset) {
        if (const std::optional<double> score = Rounds(left, subset.Values(), rest); score && *score < best) {
          best = *score;
          best_subset = subset;
        }
        return true;
      });
    }
    const bool one_socket = problem_.align_by_socket && InOneSocket(nodes);
    bool better = best < best_;
    if (problem_.align_by_socket && one_socket != in_one_socket_) better = one_socket;
    if (!better) return;
    best_ = best;
    remainder_ = best_subset;
    nodes_ = combination;
    in_one_socket_ = one_socket;
    found_ = true;
  }

  // none: the subset cannot give all of it (where it falls short by less than a group each, the reference hangs).
  std::optional<double> Rounds(std::vector<int> left, const std::vector<int>& subset, int rest) const {
    int can_give = 0;
    for (int node : subset) can_give += Groups(left[static_cast<size_t>(node)]) * problem_.group;
    if (can_give < rest) return std::nullopt;
    while (rest > 0) {
      for (int node : subset) {
        int& free = left[static_cast<size_t>(node)];
        if (rest == 0 || free < problem_.group) continue;
        free -= problem_.group;
        rest -= problem_.group;
      }
    }
    return Deviation(left);
  }

  bool InOneSocket(const std::vector<int>& nodes) const {
    const int socket = problem_.socket[static_cast<size_t>(nodes[0])];
    return socket >= 0 && std::all_of(nodes.begin(), nodes.end(),
                                      [&](int node) { return problem_.socket[static_cast<size_t>(node)] == socket; });
  }

  const BalanceProblem& problem_;
  int size_;
  double best_ = std::numeric_limits<double>::max();
  Slice nodes_;
  Slice remainder_;
  bool in_one_socket_ = false;
  bool found_ = false;
};

std::string Show(const BalanceProblem& problem, int size) {
  std::string text = "free";
  for (int free : problem.free) text += " " + std::to_string(free);
  text += ", sockets";
  for (int socket : problem.socket) text += " " + std::to_string(socket);
  return text + ", count " + std::to_string(problem.count) + ", group " + std::to_string(problem.group) + ", size " +
         std::to_string(size) + (problem.align_by_socket ? ", by socket" : "");
}

// The dynamic programme finds what the walk over everything finds, on nodes of every shape.
void CompareOnRandomProblems(unsigned seed, int rounds, int most_nodes) {
  std::mt19937 random(seed);
  const auto pick = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
  for (int round = 0; round < rounds; ++round) {
    BalanceProblem problem;
    const int nodes = pick(1, most_nodes);
    const int largest = pick(1, pick(0, 1) == 0 ? 6 : 40);
    int total = 0;
    for (int i = 0; i < nodes; ++i) {
      problem.free.push_back(pick(pick(0, 1) == 0 ? 1 : largest, largest));
      problem.socket.push_back(pick(-1, 2));
      total += problem.free.back();
    }
    if (pick(0, 1) == 0) std::sort(problem.free.begin(), problem.free.end());
    problem.group = pick(1, 3);
    problem.align_by_socket = pick(0, 1) == 0;
    if (total < problem.group) continue;
    problem.count = pick(1, total / problem.group) * problem.group;
    for (int size = 1; size <= std::min(nodes, problem.count / problem.group); ++size) {
      ASSERT_EQ(ChooseNodes(problem, size), Walk(problem, size).Run()) << Show(problem, size);
    }
  }
}

TEST(CpuBalance, FindsWhatTheReferencesWalkFinds) { CompareOnRandomProblems(1, 3000, 6); }
TEST(CpuBalance, FindsItWhereCombinationsShareMemory) { CompareOnRandomProblems(2, 60, 9); }

TEST(CpuBalance, PrefersTheEvenestOutcome) {
  const BalanceProblem problem{.free = {4, 8, 8}, .socket = {}, .count = 8, .group = 1, .align_by_socket = false};
  EXPECT_EQ(ChooseNodes(problem, 2), (NodeChoice{{1, 2}, {}}));
}

TEST(CpuBalance, KeepsToOneSocketWhereAligned) {
  const BalanceProblem problem{
      .free = {4, 4, 9, 9}, .socket = {0, 0, 0, 1}, .count = 8, .group = 1, .align_by_socket = true};
  EXPECT_EQ(ChooseNodes(problem, 2), (NodeChoice{{0, 2}, {}}));
}

TEST(CpuBalance, NothingFits) {
  const BalanceProblem problem{.free = {2, 2, 2}, .socket = {}, .count = 6, .group = 1, .align_by_socket = false};
  EXPECT_EQ(ChooseNodes(problem, 2), std::nullopt);
  EXPECT_EQ(ChooseNodes(problem, 4), std::nullopt);
}

// 3^32 walks in the reference.
TEST(CpuBalance, StaysPolynomial) {
  BalanceProblem problem;
  int total = 0;
  for (int i = 0; i < 32; ++i) {
    problem.free.push_back(40 + i);
    total += problem.free.back();
  }
  problem.count = total / 2 + 15;
  const std::optional<NodeChoice> choice = ChooseNodes(problem, 32);
  ASSERT_TRUE(choice.has_value());
  EXPECT_EQ(choice->nodes.size(), 32U);
}

}  // namespace
}  // namespace podfence
