#pragma once

#include <cstdint>
#include <span>
#include <tuple>
#include <vector>

#include "agent/core/cpu_set.h"
#include "agent/core/machine.h"

namespace podfence {

// A Machine compiled for picking CPUs (cpumanager/topology/topology.go): every core, NUMA node, socket and uncore cache
// is a small index, ascending as its id does, so that ties between ids are ties between indexes. NUMA nodes that have
// no CPU are left out. Immutable.
struct CpuTopology {
  using Index = uint16_t;
  static constexpr Index kNone = 0xFFFF;

  struct Core {
    Index cell = 0;
    Index first_thread = 0;  // in threads
    Index thread_count = 0;
  };
  // The cores that one NUMA node, socket and uncore cache have in common. Units need not nest: an L3 may span nodes.
  struct Cell {
    Index node = 0;
    Index socket = 0;
    Index uncore = 0;
    friend bool operator==(const Cell&, const Cell&) = default;
    friend bool operator<(const Cell& a, const Cell& b) {
      return std::tie(a.node, a.socket, a.uncore) < std::tie(b.node, b.socket, b.uncore);
    }
  };
  // One NUMA node, socket or uncore cache.
  struct Unit {
    int id = 0;
    int size = 0;  // CPUs
    std::vector<Index> cores;
    std::vector<Index> cells;
    CpuSet cpus;
  };

  explicit CpuTopology(const Machine& machine);

  bool Knows(int cpu) const { return cpu >= 0 && static_cast<size_t>(cpu) < core_of.size() && core_of[cpu] != kNone; }
  // CPU numbers of a core, ascending.
  std::span<const Index> ThreadsOf(const Core& core) const {
    return std::span(threads).subspan(core.first_thread, core.thread_count);
  }

  CpuSet cpus;
  std::vector<Index> core_of;  // by CPU number; kNone where there is none
  std::vector<Index> threads;  // CPU numbers, core by core, ascending in each
  std::vector<Core> cores;     // ascending by lowest CPU
  std::vector<Cell> cells;     // ascending
  std::vector<Unit> nodes;
  std::vector<Unit> sockets;
  std::vector<Unit> uncores;

  int cpu_count = 0;
  // CPUs of a whole core. Where cores differ (an offline SMT sibling) the reference divides all CPUs by all cores and
  // then believes half-free cores free; here the fullest core counts, and a core has the threads it has.
  int threads_per_core = 1;
  int cpus_per_socket = 0;  // all CPUs over all sockets, rounded down, as CPUsPerSocket
  int cpus_per_uncore = 0;  // likewise, CPUsPerUncore
  bool numa_first = false;  // a NUMA node holds whole sockets, rather than a socket whole nodes
};

}  // namespace podfence
