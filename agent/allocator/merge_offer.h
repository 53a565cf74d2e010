#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "agent/allocator/hints.h"
#include "agent/allocator/merge_order.h"

namespace podfence {

// The machine's node ids and their positions.
class NodePositions {
 public:
  explicit NodePositions(std::vector<int> ids);
  int count() const { return static_cast<int>(ids_.size()); }
  PositionMask all() const { return all_; }
  PositionMask ToPositions(NumaSet ids) const;
  NumaSet ToIds(PositionMask positions) const;

 private:
  std::vector<int> ids_;
  PositionMask all_ = 0;
  bool identity_ = true;  // ids are 0…n-1
};

// A HintFamily by position.
struct FamilyRule {
  struct Threshold {
    absl::InlinedVector<uint64_t, 8> amount;  // by position; 0 outside the universe
    uint64_t request = 0;
  };
  PositionMask universe = 0;
  PositionMask required = 0;
  int min_size = 1;
  absl::InlinedVector<Threshold, 2> thresholds;
  absl::InlinedVector<PositionMask, 4> listed;
  int preferred_size = 0;
  absl::InlinedVector<PositionMask, 4> sockets;
  int preferred_sockets = 0;

  bool FollowsRule(PositionMask set) const;  // qualifies without being listed
  bool IsPreferred(PositionMask set) const;  // of a set that qualifies
  bool TouchesPreferredSockets(PositionMask set) const;
};

// What one resource brings into the merge.
struct Offer {
  struct Set {
    PositionMask nodes = 0;
    bool preferred = false;
  };
  bool any_node = false;            // a hint for any node is among its hints
  bool any_node_preferred = false;  // … as a preferred one
  std::vector<Set> list;
  std::optional<FamilyRule> family;

  // The all-encompassing hint of a provider or resource without preference.
  static Offer AnyNode(bool preferred);
};

// A merged affinity.
struct MergedSet {
  PositionMask nodes = 0;
  bool preferred = false;
};

// What the providers offer, resource by resource (policy.go filterProvidersHints).
std::vector<Offer> MakeOffers(const std::vector<ProviderHints>& providers, const NodePositions& positions);

}  // namespace podfence
