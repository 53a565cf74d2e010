#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/cgroup/control.h"
#include "agent/core/cpu_set.h"
#include "agent/core/node_state.h"
#include "agent/enforcer/finding.h"
#include "agent/enforcer/kube_values.h"
#include "agent/enforcer/places.h"

namespace podfence {

// Whose a cgroup below the top one is.
enum class CgroupRole {
  kTop,         // a cgroup that holds all pods, or many: inherits all CPUs, no quota
  kPod,         // holds the containers' cgroups, no process
  kQuotaGroup,  // <pod>/containers.quota-shared: shared containers of one pod that share one quota
  kContainer,
  kPause,  // a pod's sandbox
  kClass,  // a QoS class without exclusive containers, with all its pods
};
// Whether a cgroup of that role only holds others that are fenced themselves: no process lives in it.
constexpr bool HoldsOthers(CgroupRole role) {
  return role == CgroupRole::kTop || role == CgroupRole::kPod || role == CgroupRole::kQuotaGroup;
}

// Which control files a fence holds. The rest is left to whoever made the cgroup.
struct HeldFiles {
  bool cpus = true;
  bool mems = true;
  bool cpu_max = true;
  bool cpu_weight = true;
  bool memory_max = true;
  bool partition = true;  // cpuset.cpus.exclusive and cpuset.cpus.partition
  friend bool operator==(const HeldFiles&, const HeldFiles&) = default;
  friend HeldFiles operator&(const HeldFiles& a, const HeldFiles& b) {
    return {.cpus = a.cpus && b.cpus,
            .mems = a.mems && b.mems,
            .cpu_max = a.cpu_max && b.cpu_max,
            .cpu_weight = a.cpu_weight && b.cpu_weight,
            .memory_max = a.memory_max && b.memory_max,
            .partition = a.partition && b.partition};
  }
};

// What the control files of one cgroup must say.
struct Fence {
  std::string path = {};  // relative to the top cgroup, which is "": "pod<uid>/<container>"
  CgroupRole role = CgroupRole::kContainer;
  std::string uid = {};
  std::string container = {};        // empty but for kContainer
  bool exclusive = false;            // the CPUs are this container's own (or, for kPod, the pod's bubble)
  CpuSet cpus = {};                  // cpuset.cpus; empty: inherits
  CpuSet cpus_exclusive = {};        // cpuset.cpus.exclusive: the partitions' at and below it; empty: none
  std::string partition = "member";  // cpuset.cpus.partition: "root" for a scheduling domain of its own
  NumaSet mems = {};                 // cpuset.mems; empty: inherits (every node that has memory)
  CpuMax cpu_max = {};
  uint64_t cpu_weight = 100;
  std::optional<uint64_t> memory_max = std::nullopt;  // bytes; none: max
  HeldFiles held = {};
  std::string group = {};  // the quota group that a container belongs in; empty: none
  CpuSet guest_cpus = {};  // of kPod: where what no decision names in it runs; empty: on the node shared pool
  friend bool operator==(const Fence&, const Fence&) = default;
};

// What the plan needs to know beside the NodeState.
struct PlanContext {
  CpuSet all;               // every CPU of the machine
  CpuSet reserved;          // the system's CPUs
  bool cpu_manager = true;  // false under cpuManagerPolicy none: containers without own CPUs are not fenced
  bool partitions = false;  // the kernel lets any cgroup be a partition root (Linux 6.7)
  // Where a container runtime keeps the pods; null: nobody does, and their cgroups are ours.
  const Places* places = nullptr;
  uint64_t quota_period_us = kQuotaPeriodUs;
  bool kubelet_quota = true;  // the kubelet makes quotas of limits (cpuCFSQuota)
};

struct Plan {
  std::vector<Fence> fences;  // parents before children; pods by UID, containers in the pod's order
  CpuSet exclusive;           // every CPU that is some container's own, and every bubble: closed to all others
  CpuSet shared;              // where node-shared containers run; empty: not fenced
  // Where the host's own cgroups, workqueues and kernel threads run: shared and reserved; empty: not fenced.
  CpuSet host;
  bool runtime_cgroups = false;   // made by the kubelet and a runtime, as PlanContext::places says
  std::vector<Finding> findings;  // kEmptyNodePool, kNoQuotaLeft; paths relative to our own cgroup
  // Null where there is none.
  const Fence* Find(std::string_view path) const;
  const Fence* FindContainer(std::string_view uid, std::string_view container) const;
};

// The quota group of a pod whose cgroup is at `pod`, and whether a path is in it.
std::string QuotaGroupOf(std::string_view pod);

// Turns decisions into the wanted contents of control files. Pure. The rules:
// - cpuset: an exclusive container has its own CPUs, a pod-isolated one its pod's shared pool, every other the node
//   shared pool; a pod with a bubble is held to it as a whole.
// - partition: an exclusive container has a scheduling domain of its own. Without one the scheduler compares whole
//   cores (fair.c calculate_imbalance), and a busy container on the SMT sibling of an exclusive CPU makes that core
//   look too busy to take the exclusive container's second thread: it waits while its CPU is idle. One-shot init
//   containers have none: their CPUs are the app containers' next.
// - quota: design "Quotas"; values as the kubelet computes them (cm/helpers_linux.go MilliCPUToQuota;
//   kuberuntime_container_linux.go: a container without a limit has its pod's), at least 1,000 us a period.
//   One-shot init containers run before the app containers, so they use what those do not yet use.
// - cpu.weight: from the request as the kubelet and its cgroup library do (helpers_linux.go MilliCPUToShares, then
//   shares to weight on the quadratic curve that maps 2, 1024, 262144 to 1, 100, 10000).
// - memory.max from limits, cpuset.mems from the blocks.
// Of cgroups that a container runtime made (places) only what keeps the promises is held, the rest is the kubelet's:
// - A QoS class is held to the node shared pool, a sandbox and an ephemeral container to where their pod's shared
//   containers run, a pod to all that its parts may run on.
// - The quotas of a pod with exclusive containers and of its shared ones, and cpuset.mems where memory was assigned.
// - A shared container that stands beside its quota group (it was there before Podfence) gets its part of the group's
//   quota, by weight: the processes of others are not moved.
Plan MakePlan(const NodeState& state, const PlanContext& context);

}  // namespace podfence
