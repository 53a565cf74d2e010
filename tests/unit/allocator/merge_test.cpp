#include "agent/allocator/merge.h"

#include <gtest/gtest.h>

#include <chrono>
#include <numeric>

#include "agent/allocator/merge_dense.h"
#include "agent/allocator/merge_lazy.h"
#include "tests/unit/allocator/merge_brute_force.h"

namespace podfence {
namespace {

std::string Show(const Hint& hint) { return "{" + hint.numa.ToString() + (hint.preferred ? "} preferred" : "}"); }

ProviderHints One(ResourceHints::Kind kind, std::vector<Hint> list = {}) {
  ProviderHints provider(1);
  provider[0].resource = "cpu";
  provider[0].kind = kind;
  provider[0].list = std::move(list);
  return provider;
}

std::vector<int> FirstNodes(int count) {
  std::vector<int> nodes(static_cast<size_t>(count));
  std::iota(nodes.begin(), nodes.end(), 0);
  return nodes;
}

std::vector<std::vector<uint64_t>> Flat(int count) {
  const auto n = static_cast<size_t>(count);
  std::vector<std::vector<uint64_t>> distances(n, std::vector<uint64_t>(n, 20));
  for (size_t i = 0; i < n; ++i) distances[i][i] = 10;
  return distances;
}

// A family as the memory manager gives: every node has its amount, and the smallest sets that would do are preferred.
ProviderHints Threshold(std::string_view resource, const std::vector<uint64_t>& amounts, uint64_t request,
                        int preferred_size) {
  ProviderHints provider(1);
  provider[0].resource = resource;
  provider[0].kind = ResourceHints::Kind::kFamily;
  HintFamily& family = provider[0].family;
  for (size_t i = 0; i < amounts.size(); ++i) family.universe.Add(static_cast<int>(i));
  family.thresholds.push_back({amounts, request});
  family.preferred_size = preferred_size;
  return provider;
}

TEST(Merge, NothingAskedForIsEveryNodeAndPreferred) {
  const HintMerger merger(FirstNodes(2), Flat(2), {.policy = TopologyPolicy::kRestricted});
  const Merged merged = merger.Merge({{}, One(ResourceHints::Kind::kNoPreference)});
  EXPECT_EQ(Show(merged.best), "{0-1} preferred");
  EXPECT_TRUE(merged.admit);
}

TEST(Merge, WhatCannotBeMetIsUnpreferred) {
  const std::vector<ProviderHints> hints = {One(ResourceHints::Kind::kList), One(ResourceHints::Kind::kNoPreference)};
  EXPECT_TRUE(HintMerger(FirstNodes(2), Flat(2), {.policy = TopologyPolicy::kBestEffort}).Merge(hints).admit);
  EXPECT_FALSE(HintMerger(FirstNodes(2), Flat(2), {.policy = TopologyPolicy::kRestricted}).Merge(hints).admit);
  const Merged single = HintMerger(FirstNodes(2), Flat(2), {.policy = TopologyPolicy::kSingleNumaNode}).Merge(hints);
  EXPECT_EQ(Show(single.best), "{}");
  EXPECT_FALSE(single.admit);
}

TEST(Merge, SingleNodeGivesAnyNodeWhereNobodyNamesOne) {
  const HintMerger merger(FirstNodes(2), Flat(2), {.policy = TopologyPolicy::kSingleNumaNode});
  const Merged merged = merger.Merge({One(ResourceHints::Kind::kNoPreference)});
  EXPECT_EQ(Show(merged.best), "{} preferred");
  EXPECT_TRUE(merged.admit);
}

TEST(Merge, ClosestOfSparseNodesGoesByTheNodesPlaces) {
  // The reference indexes the distances by node id and panics here.
  const std::vector<std::vector<uint64_t>> distances = {{10, 30, 20}, {30, 10, 11}, {20, 11, 10}};
  const HintMerger merger({0, 8, 12}, distances, {.policy = TopologyPolicy::kBestEffort, .prefer_closest_numa = true});
  const Merged merged = merger.Merge(
      {One(ResourceHints::Kind::kList, {{NumaSet{0, 8}, true}, {NumaSet{8, 12}, true}, {NumaSet{0, 12}, true}})});
  EXPECT_EQ(Show(merged.best), "{8,12} preferred");
}

TEST(Merge, AgreesWithTheWalkOverEveryCombination) {
  RandomMerges random(1);
  for (int round = 0; round < 20000; ++round) {
    const int count = 1 + random.Below(5);
    const std::vector<int> nodes = random.NodeIds(count);
    const auto distances = random.Distances(count);
    const TopologyOptions options = random.Options();
    const std::vector<ProviderHints> providers = random.Providers(nodes, 4);
    const Merged expected = MergeByWalk(nodes, distances, options, providers);
    const Merged merged = HintMerger(nodes, distances, options).Merge(providers);
    ASSERT_EQ(Show(merged.best), Show(expected.best)) << "round " << round;
    ASSERT_EQ(merged.admit, expected.admit) << "round " << round;
  }
}

// The two ways of merging, on machines too large for the walk too.
void ExpectSame(int round, const std::vector<int>& nodes, const std::vector<std::vector<uint64_t>>& distances,
                bool closest, const std::vector<ProviderHints>& providers) {
  const NodePositions positions(nodes);
  const AffinityOrder order(distances, closest);
  const std::vector<Offer> offers = MakeOffers(providers, positions);
  const std::optional<MergedSet> dense = MergeDense(offers, positions.count(), order);
  const std::optional<MergedSet> lazy = MergeLazy(offers, positions.all(), order);
  ASSERT_EQ(dense.has_value(), lazy.has_value()) << "round " << round;
  if (!dense) return;
  ASSERT_EQ(positions.ToIds(dense->nodes).ToString(), positions.ToIds(lazy->nodes).ToString()) << "round " << round;
  ASSERT_EQ(dense->preferred, lazy->preferred) << "round " << round;
}

TEST(Merge, TheTableAndTheSearchAgree) {
  RandomMerges random(2);
  for (int round = 0; round < 20000; ++round) {
    const int count = 1 + random.Below(round % 10 == 0 ? 9 : 6);
    const std::vector<int> nodes = random.NodeIds(count);
    ExpectSame(round, nodes, random.Distances(count), random.OneIn(2), random.Providers(nodes, 5));
    if (HasFatalFailure()) return;
  }
}

TEST(Merge, EightNodesWithFourProvidersOfAllHints) {
  std::vector<Hint> every;
  for (uint64_t set = 1; set < 256; ++set) every.push_back({NumaSet(set), false});
  const std::vector<ProviderHints> providers(4, One(ResourceHints::Kind::kList, every));
  const HintMerger merger(FirstNodes(8), Flat(8), {.policy = TopologyPolicy::kBestEffort});
  EXPECT_EQ(Show(merger.Merge(providers).best), "{0}");
}

TEST(Merge, ThirtyFourNodesAreNotListed) {
  std::vector<uint64_t> cpus(34, 4);
  std::vector<uint64_t> memory(34, 64);
  for (size_t i = 0; i < 30; ++i) memory[i] = 10 + i;
  const HintMerger merger(FirstNodes(34), Flat(34), {.policy = TopologyPolicy::kBestEffort});
  // No three nodes can be preferred by all: memory would do with two, devices are elsewhere.
  ProviderHints devices = One(ResourceHints::Kind::kList);
  for (int i = 0; i < 30; ++i) devices[0].list.push_back({NumaSet{i, i + 1, i + 2}, true});
  const Merged merged =
      merger.Merge({std::move(devices), Threshold("cpu", cpus, 12, 3), Threshold("memory", memory, 100, 2)});
  EXPECT_EQ(Show(merged.best), "{0-2}");
  EXPECT_EQ(Show(merger.Merge({{}, Threshold("cpu", cpus, 12, 3), Threshold("memory", memory, 150, 3)}).best),
            "{12,30-31} preferred");
}

}  // namespace
}  // namespace podfence
