#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "agent/allocator/merge_offer.h"
#include "agent/allocator/merge_order.h"

namespace podfence {

// Families of hints are closed upwards: a set that reaches its thresholds still does with more nodes. So which sets
// they allow, and in which sets several of them can meet, is a question of which nodes can be left out. An Excluder is
// one that leaves nodes out: it can spare so many nodes, and so much of each amount.
struct Excluder {
  struct Amount {
    const uint64_t* of_node = nullptr;  // by position
    uint64_t spare = 0;
  };
  PositionMask may_leave_out = 0;
  int spare_nodes = 0;
  absl::InlinedVector<Amount, 4> amounts;
};
using Excluders = absl::InlinedVector<Excluder, 4>;

// What a family can leave out of its universe; none where not even the whole universe satisfies it.
std::optional<Excluder> ExcluderOf(const FamilyRule& rule);

// The sets M ⊆ candidates such that the excluders together can leave out all of candidates − M.
struct ExclusionProblem {
  PositionMask candidates = 0;
  Excluders excluders;
  // Where not null, M must also touch as many sockets as the rule prefers.
  absl::InlinedVector<const FamilyRule*, 2> socket_rules;
};

// The best such set of exactly size nodes; none: there is none. Exact. What is searched grows with how many different
// nodes there are, not with 2^nodes: it becomes large only where several excluders are nearly used up by nodes of many
// different amounts.
std::optional<PositionMask> BestOfSize(const ExclusionProblem& problem, int size, const AffinityOrder& order);
// The size of the smallest such sets, socket rules aside. candidates itself is always one of the sets.
int SmallestSize(const ExclusionProblem& problem);

}  // namespace podfence
