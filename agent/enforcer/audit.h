#pragma once

#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "agent/core/node_state.h"
#include "agent/enforcer/inspect.h"
#include "agent/enforcer/places.h"
#include "agent/enforcer/plan.h"

namespace podfence {

// How long the kubelet may take to bring every container to a new pool: it does so once in cpuManagerReconcilePeriod,
// 10 s unless set otherwise; twice that, since each container takes it a call to the runtime.
inline constexpr absl::Duration kKubeletReconciles = absl::Seconds(20);

struct AuditOptions {
  std::string cgroup_root = "/sys/fs/cgroup";  // where cgroup v2 is mounted
  std::string sys_root = "/sys";               // where it says which CPUs are online
  bool cpu_quota = true;                       // the kubelet sets quotas (cpuCFSQuota)
  uint64_t quota_period_us = kQuotaPeriodUs;   // in such periods (cpuCFSQuotaPeriod)
  // Pods, by UID, whose limits are not those in force, since a resize is asked for: they are not held to them.
  std::set<std::string> resizing = {};
  // What the node shared pool was before, while the kubelet brings containers to what it is now: it does so one after
  // the other, once in cpuManagerReconcilePeriod (cm/cpumanager/cpu_manager.go reconcileState). A shared container that
  // still has such a set is no finding.
  std::vector<CpuSet> earlier_pools = {};
};

// What the control files say on a node whose kubelet decides and fences by itself; state: what it has decided. Pure.
// - An exclusive container has its own CPUs, one that shares its pod's has those, every other the node shared pool, if
//   that is not empty: then the kubelet sets nothing, which is a finding. What lies between them and the top inherits.
// - Containers are held to their memory's nodes where memory was assigned (internal_container_lifecycle_linux.go).
// - Nothing throttles an exclusive container (KEP-5526): neither it nor its pod has a quota. The kubelet leaves the
//   pod's in place where a container shares the budget (container_manager_linux.go PodHasExclusiveCPUs): a finding.
//   Every other quota and memory.max is that of the limits (cm/helpers_linux.go, kuberuntime_container_linux.go).
// - Nobody has a partition; weights are left to the kubelet and the runtime, who differ in how they compute them.
Plan MakeAuditPlan(const NodeState& state, const Places& places, const AuditOptions& options);

// Holds the cgroups at `places` against that plan, and writes nothing: there is nothing here that could. Passed over
// are cgroups that no decision names (sandboxes, ephemeral containers, a container that the kubelet has not told of
// yet), those in which nothing lives any more, and the host, which the kubelet does not fence: whoever really runs on
// exclusive CPUs is the verifier's to find. live: without the pods of the QoS classes, which hold nothing of their own.
// Errors as Inspect; NotFound where the kubelet has no cgroup.
absl::StatusOr<Inspection> Audit(const NodeState& state, const Places& places, const AuditOptions& options);

}  // namespace podfence
