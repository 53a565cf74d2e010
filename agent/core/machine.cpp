#include "agent/core/machine.h"

#include "absl/strings/str_cat.h"

namespace podfence {

CpuSet Machine::CpusOf(const NumaNode& node) const {
  CpuSet cpus;
  for (const Core& core : node.cores) {
    for (int thread : core.threads) cpus.Add(thread);
  }
  return cpus;
}

CpuSet Machine::Cpus() const {
  CpuSet cpus;
  for (const NumaNode& node : nodes) cpus |= CpusOf(node);
  return cpus;
}

NumaSet Machine::NodeIds() const {
  NumaSet ids;
  for (const NumaNode& node : nodes) ids.Add(node.id);
  return ids;
}

const NumaNode* Machine::FindNode(int id) const {
  for (const NumaNode& node : nodes) {
    if (node.id == id) return &node;
  }
  return nullptr;
}

absl::Status ValidateMachine(const Machine& machine) {
  if (machine.nodes.empty()) return absl::InvalidArgumentError("machine has no NUMA node");
  CpuSet seen;
  int previous_id = -1;
  for (const NumaNode& node : machine.nodes) {
    if (node.id <= previous_id || node.id > NumaSet::kMaxNode) {
      return absl::InvalidArgumentError(
          absl::StrCat("NUMA node ", node.id, ": ids must ascend and lie in 0 to ", NumaSet::kMaxNode));
    }
    previous_id = node.id;
    if (node.distances.size() != machine.nodes.size()) {
      return absl::InvalidArgumentError(absl::StrCat("NUMA node ", node.id, ": has ", node.distances.size(),
                                                     " distances for ", machine.nodes.size(), " nodes"));
    }
    for (const Core& core : node.cores) {
      if (core.threads.empty()) {
        return absl::InvalidArgumentError(absl::StrCat("NUMA node ", node.id, ": has a core without CPUs"));
      }
      int previous_cpu = -1;
      for (int cpu : core.threads) {
        if (cpu <= previous_cpu || cpu > CpuSet::kMaxCpu) {
          return absl::InvalidArgumentError(
              absl::StrCat("NUMA node ", node.id, ": CPU ", cpu, " is out of order or above ", CpuSet::kMaxCpu));
        }
        if (seen.Contains(cpu)) {
          return absl::InvalidArgumentError(absl::StrCat("CPU ", cpu, " is on two cores"));
        }
        previous_cpu = cpu;
        seen.Add(cpu);
      }
    }
  }
  if (seen.empty()) return absl::InvalidArgumentError("machine has no CPU");
  return absl::OkStatus();
}

}  // namespace podfence
