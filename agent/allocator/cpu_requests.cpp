#include "agent/allocator/cpu_requests.h"

#include <algorithm>

#include "agent/allocator/memory_requests.h"

namespace podfence {
namespace {

int WholeCpus(const ResourceList& requests) {
  const auto cpu = requests.find(kCpu);
  if (cpu == requests.end() || !cpu->second.IsIntegral()) return 0;
  return static_cast<int>(cpu->second.Value());
}

}  // namespace

int ContainerExclusiveCpus(const Pod& pod, const Container& container) {
  if (pod.qos != QosClass::kGuaranteed) return 0;
  if (pod.HasPodLevelResources() && !RequestsEqualLimits(container)) return 0;
  return WholeCpus(container.resources.requests);
}

int PodExclusiveCpus(const Pod& pod) {
  if (pod.qos != QosClass::kGuaranteed) return 0;
  if (pod.HasPodLevelResources()) return WholeCpus(pod.resources->requests);
  // A one-shot init container runs beside the sidecars before it only; everything else runs together.
  int starting = 0;
  int together = 0;
  for (const Container& container : pod.init_containers) {
    const int cpus = ContainerExclusiveCpus(pod, container);
    if (IsSidecar(container)) {
      together += cpus;
    } else {
      starting = std::max(starting, together + cpus);
    }
  }
  for (const Container& container : pod.containers) together += ContainerExclusiveCpus(pod, container);
  return std::max(starting, together);
}

absl::Status CheckPodSharedCpus(const Pod& pod) {
  const int budget = PodExclusiveCpus(pod);
  bool shared = false;
  int exclusive = 0;
  for (const Container& container : pod.init_containers) {
    const int cpus = ContainerExclusiveCpus(pod, container);
    if (IsSidecar(container)) {
      shared = shared || cpus == 0;
      exclusive += cpus;
    } else if (cpus == 0 && exclusive >= budget) {
      return absl::FailedPreconditionError(
          "pod rejected, pod has shared init containers but no cpus available for them");
    }
  }
  for (const Container& container : pod.containers) {
    const int cpus = ContainerExclusiveCpus(pod, container);
    shared = shared || cpus == 0;
    exclusive += cpus;
  }
  if (shared && exclusive >= budget) {
    return absl::FailedPreconditionError(
        "pod rejected, sum of exclusive container cpu requests equals pod budget, leaving no cpus for shared "
        "containers");
  }
  return absl::OkStatus();
}

}  // namespace podfence
