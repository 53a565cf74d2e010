#pragma once

#include <optional>
#include <vector>

namespace podfence {

// Which NUMA nodes an allocation is spread over under distribute-cpus-across-numa (the search in cpu_assignment.go
// takeByTopologyNUMADistributed, KEP-2902). Nodes are positions in the order the reference lists them.
struct BalanceProblem {
  std::vector<int> free;    // free CPUs of each node, never 0
  std::vector<int> socket;  // the node's socket; -1 where it touches several; only read with align_by_socket
  int count = 0;            // CPUs wanted, a multiple of group
  int group = 1;            // CPUs that stay together (a core's, under full-pcpus-only)
  bool align_by_socket = false;
};

struct NodeChoice {
  std::vector<int> nodes;      // each takes an even share of the CPUs
  std::vector<int> remainder;  // then these take one group each in turn until nothing is left
  friend bool operator==(const NodeChoice&, const NodeChoice&) = default;
};

// The choice of `size` nodes that leaves the free CPUs of all nodes most even (the least standard deviation, to three
// decimals); none where no such set of nodes can serve the request.
//
// The reference tries every combination of nodes with every subset of it for the remainder: 3^n. Here a dynamic
// programme finds the same one in polynomial time. What makes it possible: the sum of what is left is the same for
// every choice, so the deviation orders as the sum of squares does, which is a sum over the nodes; handing out the
// remainder in rounds gives each node min(what it has, L + 1) groups up to some node and min(what it has, L) after it;
// and the first of equal choices in the reference's order is found by fixing one node after the other.
//
// It also reproduces what the reference returns rather than what it found: its combinations of 4, 6 to 8, 10 to 16, …
// nodes share memory with the ones tried after them, so the tail of the best one is overwritten.
std::optional<NodeChoice> ChooseNodes(const BalanceProblem& problem, int size);

}  // namespace podfence
