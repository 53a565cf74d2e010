#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "agent/allocator/hints.h"
#include "agent/allocator/merge_offer.h"
#include "agent/allocator/merge_order.h"
#include "agent/core/machine.h"
#include "agent/core/policy.h"

namespace podfence {

enum class TopologyPolicy { kNone, kBestEffort, kRestricted, kSingleNumaNode };
enum class TopologyScope { kContainer, kPod };

// The Topology manager's configuration, checked (topologymanager/policy_options.go, topology_manager.go).
struct TopologyOptions {
  TopologyPolicy policy = TopologyPolicy::kNone;
  TopologyScope scope = TopologyScope::kContainer;
  bool prefer_closest_numa = false;
  int max_allowable_numa_nodes = 8;
};
// InvalidArgument: an unknown policy, scope or option, a bad value, or a machine of too many nodes, in the reference's
// terms and with the configuration key. Under policy none nothing else is looked at, as there.
absl::StatusOr<TopologyOptions> ParseTopologyOptions(const Machine& machine, const Policy& policy);

struct Merged {
  Hint best;           // numa empty: any node
  bool admit = false;  // what the policy says of it
};

// Merges what the providers offer under one policy. The answer is that of the reference's walk over the whole cross
// product (topologymanager/policy.go HintMerger), found without the walk: it only depends on the one set that all
// resources prefer, if there is one, and else on which intersections of their sets can be reached.
class HintMerger {
 public:
  // nodes: all NUMA nodes of the machine, ascending; distances: node order × node order.
  HintMerger(std::vector<int> nodes, std::vector<std::vector<uint64_t>> distances, TopologyOptions options);
  // Hints name nodes of the machine only.
  Merged Merge(const std::vector<ProviderHints>& providers) const;
  // The same under another policy.
  HintMerger WithPolicy(TopologyPolicy policy) const;
  const NodePositions& positions() const { return positions_; }

 private:
  NodePositions positions_;
  AffinityOrder order_;
  TopologyOptions options_;
};

}  // namespace podfence
