#pragma once

// Hints: which sets of NUMA nodes a provider (devices, CPU, memory) could serve a request from
// (topologymanager/topology_manager.go TopologyHint). A listed hint is one 64-bit word; a family describes, without
// listing them, all sets that satisfy a request, so that merging need not walk 2^nodes of them.

#include <cstdint>
#include <string>
#include <vector>

#include "agent/core/numa_set.h"

namespace podfence {

struct Hint {
  NumaSet numa;  // empty: any node (the reference's nil affinity)
  bool preferred = false;
  friend bool operator==(const Hint&, const Hint&) = default;
};

// Σ over the nodes of a set of amount[node] must reach request.
struct HintThreshold {
  std::vector<uint64_t> amount;  // by position in universe order (ascending node id)
  uint64_t request = 0;
};

// All sets M with  M ⊆ universe,  required ⊆ M,  |M| >= min_size,  and every threshold reached; and those in listed.
// A set is preferred when it has preferred_size nodes, and, where sockets are given (align-by-socket), also when it
// touches exactly preferred_sockets of them.
struct HintFamily {
  NumaSet universe;
  NumaSet required;
  int min_size = 1;
  std::vector<HintThreshold> thresholds;
  std::vector<NumaSet> listed;  // sets that qualify beside the rule above (already checked), without duplicates of it
  int preferred_size = 0;
  std::vector<NumaSet> sockets;  // nodes of each socket; empty: no socket rule
  int preferred_sockets = 0;
};

// The hints of one provider for one resource.
struct ResourceHints {
  enum class Kind {
    kNoPreference,  // the reference's null: any node, preferred
    kList,          // exactly these; an empty list cannot be met (any node, not preferred)
    kFamily,
  };
  std::string_view resource;  // outlives the hints: a name of the pod or a constant
  Kind kind = Kind::kNoPreference;
  std::vector<Hint> list;
  HintFamily family;
};

// One provider's answer. Without entries it has no preference at all.
using ProviderHints = std::vector<ResourceHints>;

}  // namespace podfence
