#include "agent/core/decision.h"
#include "agent/core/node_state.h"
#include "agent/core/pod.h"

namespace podfence {

bool Pod::HasPodLevelResources() const {
  if (!resources) return false;
  const auto supported = [](const ResourceList& list) {
    for (const auto& [name, amount] : list) {
      if (name == kCpu || name == kMemory || name.starts_with(kHugePagesPrefix)) return true;
    }
    return false;
  };
  return supported(resources->requests) || supported(resources->limits);
}

const Container* Pod::FindContainer(std::string_view container) const {
  const Container* found = nullptr;
  ForEachContainer(*this, [&](const Container& candidate, bool) {
    if (candidate.name == container) found = &candidate;
  });
  return found;
}

std::string_view QosName(QosClass qos) {
  switch (qos) {
    case QosClass::kGuaranteed: return "Guaranteed";
    case QosClass::kBurstable: return "Burstable";
    case QosClass::kBestEffort: return "BestEffort";
  }
  return "";
}

std::string_view IsolationName(Isolation isolation) {
  switch (isolation) {
    case Isolation::kHost: return "host";
    case Isolation::kPod: return "pod";
    case Isolation::kContainer: return "container";
  }
  return "";
}

CpuSet PodAllocation::HeldCpus() const {
  if (cpus) return *cpus;
  CpuSet held;
  for (const ContainerAllocation& container : containers) {
    if (container.cpus) held |= *container.cpus;
  }
  return held;
}

const ContainerAllocation* PodAllocation::Find(std::string_view container) const {
  for (const ContainerAllocation& allocation : containers) {
    if (allocation.name == container) return &allocation;
  }
  return nullptr;
}

ContainerAllocation* PodAllocation::Find(std::string_view container) {
  return const_cast<ContainerAllocation*>(std::as_const(*this).Find(container));
}

void Apply(const StateChange& change, NodeState& state) {
  state.shared_cpus = change.shared_cpus;
  state.nodes = change.nodes;
  if (change.pod) {
    state.pods.insert_or_assign(change.uid, *change.pod);
  } else {
    state.pods.erase(change.uid);
  }
}

}  // namespace podfence
