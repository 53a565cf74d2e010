#include "agent/allocator/cpu_packed.h"

#include <algorithm>

#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/utility/utility.h"

namespace podfence {
namespace {

using Index = CpuTopology::Index;
using Order = absl::InlinedVector<Index, 32>;
template <size_t kInline>
using Counts = absl::InlinedVector<int, kInline>;

// What is still free while one allocation is put together (the reference's cpuAccumulator): counts per unit, kept up
// to date as CPUs are taken, so that nothing is ever counted over CPU sets again.
class Picker {
 public:
  Picker(const CpuTopology& topology, const CpuSet& available, int count)
      : topology_(topology),
        free_(available),
        needed_(count),
        core_free_(topology.cores.size(), 0),
        cell_free_(topology.cells.size(), 0),
        node_free_(topology.nodes.size(), 0),
        socket_free_(topology.sockets.size(), 0),
        uncore_free_(topology.uncores.size(), 0) {
    for (int cpu : available) ++core_free_[topology.core_of[cpu]];
    for (size_t core = 0; core < core_free_.size(); ++core) {
      cell_free_[topology.cores[core].cell] += core_free_[core];
    }
    for (size_t i = 0; i < cell_free_.size(); ++i) {
      const CpuTopology::Cell& cell = topology.cells[i];
      node_free_[cell.node] += cell_free_[i];
      socket_free_[cell.socket] += cell_free_[i];
      uncore_free_[cell.uncore] += cell_free_[i];
    }
  }

  bool Satisfied() const { return needed_ < 1; }
  CpuSet TakeResult() { return std::move(taken_); }

  void TakeWholeNodes() {
    for (Index node : NodesInOrder()) {
      TakeUnit(topology_.nodes[node], node_free_[node] == topology_.nodes[node].size);
    }
  }

  // The reference compares with the machine's average socket: of unequal ones, a larger one that is fully free is
  // passed over, one that is as free as the average is taken whole (PackedOptions::unowned).
  void TakeWholeSockets(const CpuSet* unowned) {
    for (Index index : SocketsInOrder()) {
      const CpuTopology::Unit& socket = topology_.sockets[index];
      if (socket_free_[index] != topology_.cpus_per_socket || needed_ < socket.size) continue;
      const CpuSet more = socket_free_[index] < socket.size ? socket.cpus - free_ - taken_ : CpuSet();
      if (!more.empty() && (unowned == nullptr || !more.IsSubsetOf(*unowned))) continue;
      TakeUnit(socket, true);
      taken_ |= more;
      needed_ -= more.size();
    }
  }

  // Whole uncore caches while the need is that large, then the first one that can hold all the rest (takeUncoreCache).
  void TakeUncores() {
    for (Index uncore : UncoresInOrder()) {
      if (needed_ >= topology_.cpus_per_uncore) {
        for (Index whole : UncoresInOrder()) {
          TakeUnit(topology_.uncores[whole], uncore_free_[whole] == topology_.uncores[whole].size);
        }
      }
      if (Satisfied()) return;
      TakePartOfUncore(topology_.uncores[uncore]);
      if (Satisfied()) return;
    }
  }

  void TakeWholeCores() {
    for (const CpuTopology::Unit* group : CoreGroupsInOrder()) {
      for (int size = 1; size <= topology_.threads_per_core && !Satisfied(); ++size) {
        for (Index core : group->cores) {
          if (core_free_[core] != size || topology_.cores[core].thread_count != size || needed_ < size) continue;
          TakeFreeOf(core);
          if (Satisfied()) return;
        }
      }
    }
  }

  void TakeThreads() {
    for (const CpuTopology::Unit* group : CoreGroupsInOrder()) {
      for (int size = 1; size <= topology_.threads_per_core; ++size) {
        for (Index core : group->cores) {
          if (core_free_[core] != size) continue;
          TakeFreeOf(core);
          if (Satisfied()) return;
        }
      }
    }
  }

  // By CPU number within each socket (sortAvailableCPUsSpread).
  void TakeThreadsSpread() {
    for (Index socket : SocketsInOrder()) {
      for (int cpu : free_& topology_.sockets[socket].cpus) {
        Take(cpu);
        if (Satisfied()) return;
      }
    }
  }

  Order NodesInOrder() const {
    if (topology_.numa_first) return AllInOrder(node_free_);
    return WithinInOrder(AllInOrder(socket_free_), topology_.sockets, &CpuTopology::Cell::node, node_free_);
  }

 private:
  void Take(int cpu) {
    const Index core = topology_.core_of[static_cast<size_t>(cpu)];
    const CpuTopology::Cell& cell = topology_.cells[topology_.cores[core].cell];
    --core_free_[core];
    --cell_free_[topology_.cores[core].cell];
    --node_free_[cell.node];
    --socket_free_[cell.socket];
    --uncore_free_[cell.uncore];
    free_.Remove(cpu);
    taken_.Add(cpu);
    --needed_;
  }

  // Takes the free threads of a core, lowest first, as far as they are needed.
  void TakeFreeOf(Index index) {
    for (int cpu : topology_.ThreadsOf(topology_.cores[index])) {
      if (needed_ == 0) return;
      if (free_.Contains(cpu)) Take(cpu);
    }
  }

  void TakeUnit(const CpuTopology::Unit& unit, bool whole) {
    if (!whole || needed_ < unit.size) return;
    for (Index core : unit.cores) TakeFreeOf(core);
  }

  // takePartialUncore: the lowest cores of the cache with anything free, as many as the need fills; taken only if that
  // meets the need exactly.
  void TakePartOfUncore(const CpuTopology::Unit& uncore) {
    const int per_core = topology_.threads_per_core;
    int cores_wanted = (needed_ + per_core - 1) / per_core;
    CpuSet part;
    for (Index index : uncore.cores) {
      if (cores_wanted == 0) break;
      if (core_free_[index] == 0) continue;
      for (int cpu : topology_.ThreadsOf(topology_.cores[index])) {
        if (free_.Contains(cpu)) part.Add(cpu);
      }
      --cores_wanted;
    }
    // An odd need takes one thread of its last core: the highest CPU of all is left out.
    int size = part.size();
    int last = CpuSet::kMaxCpu + 1;
    if (needed_ % 2 != 0 && per_core > 1 && size > needed_) {
      for (int cpu : part) last = cpu;
      --size;
    }
    if (size != needed_) return;
    for (int cpu : part) {
      if (cpu != last) Take(cpu);
    }
  }

  template <typename Free>
  static void SortByFree(Order::iterator first, Order::iterator last, const Free& free) {
    std::sort(first, last, [&](Index a, Index b) { return free[a] != free[b] ? free[a] < free[b] : a < b; });
  }

  template <typename Free>
  static Order AllInOrder(const Free& free) {
    Order order;
    for (size_t i = 0; i < free.size(); ++i) {
      if (free[i] > 0) order.push_back(static_cast<Index>(i));
    }
    SortByFree(order.begin(), order.end(), free);
    return order;
  }

  // The units with free CPUs within each of the outer units in turn, each unit once.
  template <typename Free>
  Order WithinInOrder(const Order& outer, const std::vector<CpuTopology::Unit>& outer_units,
                      Index CpuTopology::Cell::*member, const Free& free) const {
    Order order;
    for (Index unit : outer) {
      const size_t begin = order.size();
      for (Index cell : outer_units[unit].cells) {
        const Index inner = topology_.cells[cell].*member;
        if (cell_free_[cell] > 0 && std::find(order.begin(), order.end(), inner) == order.end()) {
          order.push_back(inner);
        }
      }
      SortByFree(order.begin() + static_cast<std::ptrdiff_t>(begin), order.end(), free);
    }
    return order;
  }

  Order SocketsInOrder() const {
    if (!topology_.numa_first) return AllInOrder(socket_free_);
    return WithinInOrder(AllInOrder(node_free_), topology_.nodes, &CpuTopology::Cell::socket, socket_free_);
  }
  Order UncoresInOrder() const {
    return WithinInOrder(NodesInOrder(), topology_.nodes, &CpuTopology::Cell::uncore, uncore_free_);
  }
  // The lowest unit above cores: sockets where NUMA nodes come first, else NUMA nodes.
  absl::InlinedVector<const CpuTopology::Unit*, 32> CoreGroupsInOrder() const {
    absl::InlinedVector<const CpuTopology::Unit*, 32> groups;
    const std::vector<CpuTopology::Unit>& units = topology_.numa_first ? topology_.sockets : topology_.nodes;
    for (Index unit : topology_.numa_first ? SocketsInOrder() : NodesInOrder()) groups.push_back(&units[unit]);
    return groups;
  }

  const CpuTopology& topology_;
  CpuSet free_;
  CpuSet taken_;
  int needed_;
  Counts<128> core_free_;
  Counts<32> cell_free_;
  Counts<16> node_free_;
  Counts<16> socket_free_;
  Counts<32> uncore_free_;
};

}  // namespace

std::vector<CpuTopology::Index> NodesInPackingOrder(const CpuTopology& topology, const CpuSet& available) {
  const Order order = Picker(topology, available, 0).NodesInOrder();
  return {order.begin(), order.end()};
}

absl::StatusOr<CpuSet> TakePacked(const CpuTopology& topology, const CpuSet& available, int count,
                                  const PackedOptions& options) {
  if (count < 1) return absl::StatusOr<CpuSet>(absl::in_place);
  const int size = available.size();
  if (count > size) {
    return absl::ResourceExhaustedError(
        absl::StrCat("not enough cpus available to satisfy request: requested=", count, ", available=", size));
  }
  Picker picker(topology, available, count);
  if (topology.numa_first) {
    picker.TakeWholeNodes();
    if (!picker.Satisfied()) picker.TakeWholeSockets(options.unowned);
  } else {
    picker.TakeWholeSockets(options.unowned);
    if (!picker.Satisfied()) picker.TakeWholeNodes();
  }
  if (!picker.Satisfied() && options.align_by_uncore) picker.TakeUncores();
  if (!picker.Satisfied() && !options.spread_across_cores) picker.TakeWholeCores();
  if (!picker.Satisfied()) {
    if (options.spread_across_cores) {
      picker.TakeThreadsSpread();
    } else {
      picker.TakeThreads();
    }
  }
  return picker.TakeResult();
}

}  // namespace podfence
