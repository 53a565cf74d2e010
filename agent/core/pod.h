#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "agent/core/quantity.h"

namespace podfence {

inline constexpr std::string_view kCpu = "cpu";
inline constexpr std::string_view kMemory = "memory";
inline constexpr std::string_view kHugePagesPrefix = "hugepages-";

// Resource name to amount, in name order (v1.ResourceList).
using ResourceList = std::map<std::string, Quantity, std::less<>>;

struct ResourceRequirements {
  ResourceList requests;
  ResourceList limits;
  friend bool operator==(const ResourceRequirements&, const ResourceRequirements&) = default;
};

enum class QosClass { kGuaranteed, kBurstable, kBestEffort };
enum class RestartPolicy { kAlways, kOnFailure, kNever };

struct EnvVar {
  std::string name;
  std::string value;
  friend bool operator==(const EnvVar&, const EnvVar&) = default;
};

// A container of a pod. Init containers with restart_policy Always are sidecars (restartable init containers).
struct Container {
  std::string name;
  std::string image;
  std::vector<std::string> command;
  std::vector<std::string> args;
  std::vector<EnvVar> env;
  std::string working_dir;
  std::optional<RestartPolicy> restart_policy;  // the container's own; on init containers only Always
  ResourceRequirements resources;
  friend bool operator==(const Container&, const Container&) = default;
};

// A Pod as the allocator and the runtimes take it: parsed, defaulted and validated by pods/ (DefaultPod,
// ValidatePod), with its QoS class worked out. Fields that Podfence has no use for are not kept.
struct Pod {
  std::string uid;  // never empty after pods/: from the manifest, or its hash as for static pods
  std::string ns = "default";
  std::string name;
  std::map<std::string, std::string> labels;
  std::map<std::string, std::string> annotations;
  std::vector<Container> init_containers;
  std::vector<Container> containers;
  RestartPolicy restart_policy = RestartPolicy::kAlways;
  int64_t termination_grace_period_seconds = 30;
  ResourceList overhead;
  std::optional<ResourceRequirements> resources;  // the pod-level budget (spec.resources)
  QosClass qos = QosClass::kBestEffort;

  // Pod-level resources are set: some supported resource is in spec.resources
  // (k8s.io/component-helpers/resource IsPodLevelResourcesSet).
  bool HasPodLevelResources() const;
  // "namespace/name", for people.
  std::string FullName() const { return ns + "/" + name; }
  const Container* FindContainer(std::string_view container) const;
  friend bool operator==(const Pod&, const Pod&) = default;
};

inline bool IsSidecar(const Container& container) { return container.restart_policy == RestartPolicy::kAlways; }

// An init container of the pod that ends before its app containers run.
inline bool IsOneShotInit(const Pod& pod, const Container& container) {
  const auto same = [&](const Container& init) { return init.name == container.name; };
  return !IsSidecar(container) && std::any_of(pod.init_containers.begin(), pod.init_containers.end(), same);
}

// Calls visit(container, is_init) for init containers, then app containers: the order the reference allocates in.
template <typename Visitor>
void ForEachContainer(const Pod& pod, Visitor&& visit) {
  for (const Container& container : pod.init_containers) visit(container, true);
  for (const Container& container : pod.containers) visit(container, false);
}

std::string_view QosName(QosClass qos);

}  // namespace podfence
