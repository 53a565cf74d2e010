#include "agent/allocator/cpu_topology.h"

#include <algorithm>

namespace podfence {
namespace {

using Index = CpuTopology::Index;

// A core as the machine names it, before its units have indexes.
struct NamedCore {
  const Core* core = nullptr;
  int node = 0;
  int socket = 0;
  int uncore = 0;
};

std::vector<CpuTopology::Unit> UnitsOf(const std::vector<NamedCore>& cores, int NamedCore::*id) {
  std::vector<int> ids;
  ids.reserve(cores.size());
  for (const NamedCore& core : cores) ids.push_back(core.*id);
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  std::vector<CpuTopology::Unit> units(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) units[i].id = ids[i];
  return units;
}

Index IndexOf(const std::vector<CpuTopology::Unit>& units, int id) {
  const auto unit = std::lower_bound(units.begin(), units.end(), id,
                                     [](const CpuTopology::Unit& unit, int wanted) { return unit.id < wanted; });
  return static_cast<Index>(unit - units.begin());
}

}  // namespace

CpuTopology::CpuTopology(const Machine& machine) : cpus(machine.Cpus()) {
  std::vector<NamedCore> named;
  for (const NumaNode& node : machine.nodes) {
    for (const podfence::Core& core : node.cores) {
      named.push_back({&core, node.id, core.socket, core.l3.value_or(core.socket)});
    }
  }
  std::sort(named.begin(), named.end(),
            [](const NamedCore& a, const NamedCore& b) { return a.core->id() < b.core->id(); });
  nodes = UnitsOf(named, &NamedCore::node);
  sockets = UnitsOf(named, &NamedCore::socket);
  uncores = UnitsOf(named, &NamedCore::uncore);

  std::vector<Cell> cell_of_core;
  cell_of_core.reserve(named.size());
  for (const NamedCore& core : named) {
    cell_of_core.push_back({IndexOf(nodes, core.node), IndexOf(sockets, core.socket), IndexOf(uncores, core.uncore)});
  }
  cells = cell_of_core;
  std::sort(cells.begin(), cells.end());
  cells.erase(std::unique(cells.begin(), cells.end()), cells.end());
  for (size_t i = 0; i < cells.size(); ++i) {
    for (Unit* unit : {&nodes[cells[i].node], &sockets[cells[i].socket], &uncores[cells[i].uncore]}) {
      unit->cells.push_back(static_cast<Index>(i));
    }
  }

  for (size_t i = 0; i < named.size(); ++i) {
    const Cell& cell = cell_of_core[i];
    const std::vector<int>& core_threads = named[i].core->threads;
    Core core;
    core.cell = static_cast<Index>(std::lower_bound(cells.begin(), cells.end(), cell) - cells.begin());
    core.first_thread = static_cast<Index>(threads.size());
    core.thread_count = static_cast<Index>(core_threads.size());
    for (int cpu : core_threads) {
      if (core_of.size() <= static_cast<size_t>(cpu)) core_of.resize(static_cast<size_t>(cpu) + 1, kNone);
      core_of[static_cast<size_t>(cpu)] = static_cast<Index>(i);
      threads.push_back(static_cast<Index>(cpu));
    }
    for (Unit* unit : {&nodes[cell.node], &sockets[cell.socket], &uncores[cell.uncore]}) {
      unit->cores.push_back(static_cast<Index>(i));
      unit->size += static_cast<int>(core_threads.size());
      for (int cpu : core_threads) unit->cpus.Add(cpu);
    }
    threads_per_core = std::max(threads_per_core, static_cast<int>(core_threads.size()));
    cores.push_back(core);
  }

  cpu_count = static_cast<int>(threads.size());
  if (!sockets.empty()) cpus_per_socket = cpu_count / static_cast<int>(sockets.size());
  if (!uncores.empty()) cpus_per_uncore = cpu_count / static_cast<int>(uncores.size());
  numa_first = sockets.size() >= nodes.size();
}

}  // namespace podfence
