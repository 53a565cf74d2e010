#include "agent/allocator/memory_hints.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <random>

#include "agent/allocator/memory_books.h"
#include "tests/unit/allocator/memory_testing.h"

namespace podfence {
namespace {

using memory_testing::kGi;
using memory_testing::MachineOf;
using memory_testing::StaticPolicy;
using testing::ElementsAre;

using Nodes = std::vector<NumaNodeMemory>;
using Reusable = std::vector<Draft::ReusableMemory>;

uint64_t Sum(const Nodes& nodes, NumaSet set, std::string_view resource, uint64_t NodeMemory::*amount) {
  uint64_t sum = 0;
  for (int id : set) {
    const NodeMemory* entry = FindEntry(*FindBook(nodes, id), resource);
    if (entry != nullptr) sum += entry->*amount;
  }
  return sum;
}

NumaSet AllOf(const Nodes& nodes) {
  NumaSet all;
  for (const NumaNodeMemory& node : nodes) all.Add(node.id);
  return all;
}

// The rule of policy_static.go calculateHints, told of every set in turn.
std::vector<Hint> WalkAll(const Nodes& nodes, const MemoryRequests& requests, const Reusable& reusable) {
  const NumaSet all = AllOf(nodes);
  int min_size = all.size();
  std::vector<Hint> hints;
  for (uint64_t bits = 1; bits <= all.bits(); ++bits) {
    const NumaSet set(bits);
    if (!set.IsSubsetOf(all)) continue;
    bool fits = true;
    for (const MemoryRequest& request : requests) {
      fits &= Sum(nodes, set, request.resource, &NodeMemory::allocatable) >= request.bytes;
    }
    if (!fits) continue;
    min_size = std::min(min_size, set.size());
    for (int id : set) {
      const NumaNodeMemory& node = *FindBook(nodes, id);
      if (set.size() == 1) {
        fits &= node.cells.size() == 1;
      } else if (node.assignments > 0) {
        fits &= node.cells.size() > 1 && node.cells == set;
      }
    }
    for (const MemoryRequest& request : requests) {
      uint64_t free = Sum(nodes, set, request.resource, &NodeMemory::free);
      for (const Draft::ReusableMemory& entry : reusable) {
        if (entry.numa == set && entry.resource == request.resource) free += entry.bytes;
      }
      fits &= free >= request.bytes;
    }
    if (fits) hints.push_back({set, false});
  }
  for (Hint& hint : hints) hint.preferred = hint.numa.size() == min_size;
  return hints;
}

// The sets that a family describes (hints.h).
std::vector<Hint> Expand(const HintFamily& family) {
  std::vector<Hint> hints;
  for (uint64_t bits = 1; bits <= family.universe.bits(); ++bits) {
    const NumaSet set(bits);
    if (!set.IsSubsetOf(family.universe) || set.size() < family.min_size) continue;
    const bool reached = std::all_of(family.thresholds.begin(), family.thresholds.end(), [&](const HintThreshold& t) {
      uint64_t sum = 0;
      size_t position = 0;
      for (int id : family.universe) {
        if (set.Contains(id)) sum += t.amount[position];
        ++position;
      }
      return sum >= t.request;
    });
    if (reached) hints.push_back({set, set.size() == family.preferred_size});
  }
  for (NumaSet set : family.listed) hints.push_back({set, set.size() == family.preferred_size});
  std::sort(hints.begin(), hints.end(), [](const Hint& a, const Hint& b) { return a.numa.bits() < b.numa.bits(); });
  return hints;
}

// policy_static.go findBestHint among the sets that hold required.
std::optional<Hint> BestOf(const std::vector<Hint>& hints, NumaSet required) {
  std::optional<Hint> best;
  for (const Hint& hint : hints) {
    if (!required.IsSubsetOf(hint.numa)) continue;
    if (!best || (hint.preferred && !best->preferred) ||
        (hint.preferred == best->preferred && hint.numa.IsNarrowerThan(best->numa))) {
      best = hint;
    }
  }
  return best;
}

struct Case {
  Nodes nodes;
  MemoryRequests requests;
  Reusable reusable;
};

// Nodes with sparse ids and uneven amounts, some used alone, some in groups, with a request of one to three resources.
Case RandomCase(std::mt19937& random, bool wrapped) {
  const auto pick = [&](uint64_t below) { return static_cast<uint64_t>(random() % below); };
  Case c;
  const std::vector<std::string_view> resources = {"hugepages-1Gi", "hugepages-2Mi", "memory"};
  const size_t count = 1 + pick(7);
  int id = static_cast<int>(pick(3));
  for (size_t n = 0; n < count; ++n) {
    NumaNodeMemory node{.id = id, .assignments = 0, .cells = NumaSet{id}, .memory = {}};
    for (std::string_view resource : resources) {
      if (resource != "memory" && pick(4) == 0) continue;
      const uint64_t allocatable = pick(9);
      node.memory.push_back({std::string(resource), allocatable, allocatable, 0});
    }
    if (wrapped && n == count - 1) node.memory.back() = {"memory", ~uint64_t{2}, ~uint64_t{2}, 0};
    c.nodes.push_back(std::move(node));
    id += 1 + static_cast<int>(pick(2));
  }
  const std::vector<Hint> any = WalkAll(c.nodes, {}, {});
  for (size_t times = pick(4); times > 0; --times) {
    const NumaSet set = any[pick(any.size())].numa;
    if (ViolatesGroups(c.nodes, set)) continue;
    const uint64_t bytes = std::min(pick(6), Sum(c.nodes, set, "memory", &NodeMemory::free));
    TakeMemory(c.nodes, set, "memory", bytes);
    const bool known = std::any_of(c.reusable.begin(), c.reusable.end(), [&](const auto& r) { return r.numa == set; });
    if (!known && pick(2) == 0) c.reusable.push_back({set, "memory", bytes});
  }
  for (std::string_view resource : resources) {
    if (resource == "memory" || pick(3) == 0) c.requests.push_back({resource, pick(resource == "memory" ? 25 : 12)});
  }
  return c;
}

TEST(MemoryHintsTest, FamiliesAreTheReferencesSetsAndTheNarrowestItsBest) {
  std::mt19937 random(20260);
  size_t served = 0;
  for (int i = 0; i < 20000; ++i) {
    const Case c = RandomCase(random, i % 8 == 0);
    const std::vector<Hint> expected = WalkAll(c.nodes, c.requests, c.reusable);
    const std::optional<HintFamily> family = MemoryFamily(c.nodes, c.requests, c.reusable);
    ASSERT_EQ(family.has_value(), !expected.empty()) << "case " << i;
    if (!family) continue;
    ++served;
    ASSERT_EQ(Expand(*family), expected) << "case " << i;
    const NumaSet all = AllOf(c.nodes);
    for (uint64_t bits = 0; bits <= all.bits(); bits += 1 + random() % 5) {
      const NumaSet required = NumaSet(bits) & all;
      ASSERT_EQ(NarrowestHint(*family, required), BestOf(expected, required))
          << "case " << i << ", required {" << required.ToString() << "}";
    }
  }
  EXPECT_GT(served, 5000u);
}

TEST(MemoryHintsTest, NothingThatServesIsNoFamily) {
  const Nodes nodes = *FreshBooks(MachineOf({4, 4}), StaticPolicy());
  EXPECT_EQ(MemoryFamily(nodes, {{kMemory, 8 * kGi}}, {}), std::nullopt);
  EXPECT_EQ(MemoryFamily(nodes, {{"hugepages-1Gi", kGi}}, {}), std::nullopt);
}

TEST(MemoryHintsTest, InitContainersMemoryCountsOnItsOwnSetOnly) {
  Nodes nodes = *FreshBooks(MachineOf({4, 4}), StaticPolicy());
  TakeMemory(nodes, NumaSet{1}, kMemory, 3 * kGi);
  const MemoryRequests requests = {{kMemory, 4 * kGi}};
  EXPECT_EQ(MemoryFamily(nodes, requests, {{NumaSet{0}, "memory", 4 * kGi}}), std::nullopt);
  const auto family = MemoryFamily(nodes, requests, {{NumaSet{1}, "memory", 3 * kGi}});
  ASSERT_TRUE(family.has_value());
  EXPECT_THAT(Expand(*family), ElementsAre(Hint{NumaSet{1}, true}));
}

// The adversary of the search: two kinds of nodes, each rich in one resource only.
TEST(MemoryHintsTest, ManyUnevenNodesTakeNoTimeToSpeakOf) {
  Nodes nodes;
  std::mt19937 random(7);
  for (int id = 0; id < 64; ++id) {
    const bool rich = id % 2 == 0;
    const uint64_t memory = (rich ? 64 : 2) * kGi + random() % kGi;
    const uint64_t pages = (rich ? 1 : 32) * kGi;
    nodes.push_back({.id = id,
                     .assignments = 0,
                     .cells = NumaSet{id},
                     .memory = {{"hugepages-1Gi", pages, pages, 0}, {"memory", memory, memory, 0}}});
  }
  const auto begin = std::chrono::steady_clock::now();
  const auto family = MemoryFamily(nodes, {{"hugepages-1Gi", 300 * kGi}, {kMemory, 700 * kGi}}, {});
  ASSERT_TRUE(family.has_value());
  const auto best = NarrowestHint(*family, NumaSet{3, 60});
  ASSERT_TRUE(best.has_value());
  EXPECT_TRUE(best->preferred);
  EXPECT_EQ(family->preferred_size, 21);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(1));
}

}  // namespace

void PrintTo(const Hint& hint, std::ostream* out) {
  *out << "{" << hint.numa.ToString() << "}" << (hint.preferred ? " preferred" : "");
}

}  // namespace podfence
