#include "agent/allocator/cpu_distributed.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "agent/allocator/cpu_balance.h"
#include "agent/allocator/cpu_packed.h"

namespace podfence {
namespace {

// Some NUMA nodes, as indexes of the topology, in the reference's order.
using Nodes = std::vector<CpuTopology::Index>;

// Socket of a NUMA node; -1 where it has CPUs of several.
int SocketOf(const CpuTopology& topology, CpuTopology::Index node) {
  int socket = -1;
  for (CpuTopology::Index cell : topology.nodes[node].cells) {
    const int other = topology.cells[cell].socket;
    if (socket >= 0 && socket != other) return -1;
    socket = other;
  }
  return socket;
}

// The even shares of the chosen nodes, then the remainder group by group.
absl::StatusOr<CpuSet> TakeChosen(const CpuTopology& topology, const CpuSet& available, const Nodes& nodes,
                                  const NodeChoice& choice, int count, int group, const CpuSet* unowned) {
  CpuSet free = available;
  CpuSet taken;
  CpuSet still_unowned = unowned == nullptr ? CpuSet() : *unowned;
  const auto of_node = [&](int position) { return free & topology.nodes[nodes[static_cast<size_t>(position)]].cpus; };
  const auto take = [&](const CpuSet& from, int wanted) -> absl::Status {
    absl::StatusOr<CpuSet> part = TakePacked(topology, from, wanted, {.unowned = &still_unowned});
    if (!part.ok()) return part.status();
    free -= *part;
    still_unowned -= *part;
    taken |= *part;
    return absl::OkStatus();
  };

  const auto size = static_cast<int>(choice.nodes.size());
  int share = count / size / group * group;
  for (int node : choice.nodes) share = std::min(share, of_node(node).size() / group * group);
  for (int node : choice.nodes) {
    if (absl::Status status = take(of_node(node), share); !status.ok()) return status;
  }
  int remainder = count - share * size;
  for (bool progress = true; remainder > 0 && progress;) {
    progress = false;
    for (int node : choice.remainder) {
      if (remainder == 0) break;
      const CpuSet cpus = of_node(node);
      if (cpus.size() < group) continue;
      if (absl::Status status = take(cpus, group); !status.ok()) return status;
      remainder -= group;
      progress = true;
    }
  }
  // Here the reference goes round for ever: the nodes it ended up with cannot give all the CPUs.
  if (remainder > 0) {
    if (absl::Status status = take(free, remainder); !status.ok()) return status;
  }
  return taken;
}

}  // namespace

absl::StatusOr<CpuSet> TakeDistributed(const CpuTopology& topology, const CpuSet& available, int count, int group_size,
                                       bool align_by_socket, const CpuSet* unowned) {
  const int size = available.size();
  if (count < 1 || count > size || count % group_size != 0)
    return TakePacked(topology, available, count, {.unowned = unowned});

  const Nodes nodes = NodesInPackingOrder(topology, available);
  BalanceProblem problem;
  problem.count = count;
  problem.group = group_size;
  problem.align_by_socket = align_by_socket;
  for (CpuTopology::Index node : nodes) {
    problem.free.push_back(available.IntersectionSize(topology.nodes[node].cpus));
    problem.socket.push_back(SocketOf(topology, node));
  }

  // As few nodes as an average node's groups allow, as many as there are groups wanted (rangeNUMANodesNeededToSatisfy).
  const int groups = (topology.cpu_count - 1) / group_size + 1;
  const int groups_per_node = (groups - 1) / static_cast<int>(topology.nodes.size()) + 1;
  const int groups_wanted = (count - 1) / group_size + 1;
  const int fewest = (groups_wanted - 1) / groups_per_node + 1;
  const int most = std::min(groups_wanted, static_cast<int>(nodes.size()));
  for (int chosen = fewest; chosen <= most; ++chosen) {
    if (const std::optional<NodeChoice> choice = ChooseNodes(problem, chosen)) {
      return TakeChosen(topology, available, nodes, *choice, count, group_size, unowned);
    }
  }
  return TakePacked(topology, available, count, {.unowned = unowned});
}

}  // namespace podfence
