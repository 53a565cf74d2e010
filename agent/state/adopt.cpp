#include "agent/state/adopt.h"

#include <algorithm>

#include "agent/core/text.h"

namespace podfence {
namespace {

const NumaNodeMemory* FindNode(const std::vector<NumaNodeMemory>& nodes, int id) {
  const auto found = std::ranges::find(nodes, id, &NumaNodeMemory::id);
  return found == nodes.end() ? nullptr : &*found;
}

// The books of one node: what pods hold of it as committed, of what the node has now.
NumaNodeMemory AdoptNode(const NumaNodeMemory& now, const NumaNodeMemory& before, std::vector<std::string>& misfits) {
  NumaNodeMemory node = now;
  node.assignments = before.assignments;
  node.cells = before.cells;
  for (const NodeMemory& held : before.memory) {
    if (held.reserved == 0) continue;
    const auto found = std::ranges::find(node.memory, held.resource, &NodeMemory::resource);
    if (found == node.memory.end()) {
      misfits.push_back(Cat("pods hold ", held.reserved, " bytes of ", held.resource, " on NUMA node ", node.id,
                            ", which has no such resource now"));
      continue;
    }
    found->reserved = held.reserved;
    found->free = found->allocatable > held.reserved ? found->allocatable - held.reserved : 0;
    if (found->allocatable < held.reserved) {
      misfits.push_back(Cat("pods hold ", held.reserved, " bytes of ", held.resource, " on NUMA node ", node.id,
                            ", of which only ", found->allocatable, " are allocatable now"));
    }
  }
  return node;
}

}  // namespace

AdoptedState AdoptState(const NodeState& committed, const NodeState& initial, const Machine& machine,
                        const CpuSet& reserved_cpus) {
  AdoptedState adopted{
      .state = {.shared_cpus = initial.shared_cpus, .nodes = {}, .pods = committed.pods, .ended = committed.ended},
      .misfits = {}};
  const CpuSet present = machine.Cpus();
  for (const auto& [uid, allocation] : committed.pods) {
    const CpuSet held = allocation.HeldCpus();
    adopted.state.shared_cpus -= held;
    const std::string name = allocation.pod->FullName();
    const auto misfit = [&](const CpuSet& cpus, std::string_view why) {
      if (cpus.empty()) return;
      adopted.misfits.push_back(Cat("pod ", name, " holds CPUs ", cpus.ToString(), ", ", why));
    };
    misfit(held - present, "which this machine does not have online now");
    misfit(held & reserved_cpus, "which are reserved now");
  }
  for (const NumaNodeMemory& now : initial.nodes) {
    const NumaNodeMemory* before = FindNode(committed.nodes, now.id);
    adopted.state.nodes.push_back(before == nullptr ? now : AdoptNode(now, *before, adopted.misfits));
  }
  for (const NumaNodeMemory& before : committed.nodes) {
    if (before.assignments > 0 && FindNode(initial.nodes, before.id) == nullptr) {
      adopted.misfits.push_back(Cat("pods hold memory of NUMA node ", before.id, ", which has no books now"));
    }
  }
  return adopted;
}

}  // namespace podfence
