#pragma once

// The reference's way of merging, written as plainly as can be: every family listed, every combination walked.

#include <optional>
#include <random>
#include <vector>

#include "agent/allocator/hints.h"
#include "agent/allocator/merge.h"

namespace podfence {

// All hints of a resource, families listed by their definition in hints.h; nullopt affinity is any node.
std::vector<Hint> ListHints(const ResourceHints& hints);

// topologymanager/policy.go and policy_*.go by their rules: every combination of one hint a resource is merged, and
// the better one is kept.
Merged MergeByWalk(const std::vector<int>& nodes, const std::vector<std::vector<uint64_t>>& distances,
                   const TopologyOptions& options, const std::vector<ProviderHints>& providers);

// Random machines and providers: lists, families with one or two thresholds, required nodes, listed sets, sockets,
// partial universes; small amounts, so that limits are met exactly.
class RandomMerges {
 public:
  explicit RandomMerges(uint32_t seed) : random_(seed) {}
  int Below(int limit) { return static_cast<int>(random_() % static_cast<uint32_t>(limit)); }
  bool OneIn(int n) { return Below(n) == 0; }
  std::vector<int> NodeIds(int count);  // sparse now and then
  std::vector<std::vector<uint64_t>> Distances(int count);
  TopologyOptions Options();
  std::vector<ProviderHints> Providers(const std::vector<int>& nodes, int most_resources);

 private:
  NumaSet SomeNodes(const std::vector<int>& nodes);
  HintFamily Family(const std::vector<int>& nodes);
  ResourceHints Hints(const std::vector<int>& nodes);
  std::mt19937 random_;
};

}  // namespace podfence
