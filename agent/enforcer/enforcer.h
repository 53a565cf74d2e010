#pragma once

// The enforcer brings the kernel to what a committed NodeState says: it vacates, then hands over, reads back, and
// repairs what others change. It uses core/ and cgroup/ alone, decides nothing about CPUs or memory, and knows no
// pods but those of the NodeState. Layout below the injected cgroup root: <name>/pod<uid>/<container>, or, where a
// container runtime makes the pods' cgroups, whatever it says (Places).

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/cgroup/cgroup.h"
#include "agent/core/machine.h"
#include "agent/core/node_state.h"
#include "agent/enforcer/finding.h"
#include "agent/enforcer/host_fence.h"
#include "agent/enforcer/plan.h"

namespace podfence {

struct EnforcerOptions {
  std::string name = "podfence";  // of the cgroup below the root that holds all pods
  bool runtime_cgroups = false;   // it and the pods' cgroups are made by others, who say where (SetPlaces)
  CpuSet reserved;                // the system's CPUs
  bool cpu_manager = true;        // false under cpuManagerPolicy none
  bool partitions = true;         // exclusive containers get scheduling domains of their own, where the kernel has them
  uint64_t quota_period_us = kQuotaPeriodUs;
  bool kubelet_quota = true;                            // see PlanContext
  std::optional<HostFenceOptions> host = std::nullopt;  // none: the host stays as it is
  std::string sys_root = "/sys";                        // where it says which CPUs are online
  bool repair = true;                                   // false: what others change is reported and stays
};

// A cgroup that exists, and what it is held to.
struct LiveFence {
  Fence fence;
  std::string path;  // absolute
  uint64_t id = 0;   // cgroup id
};

// What one pass did and found.
struct EnforceReport {
  std::vector<LiveFence> live;    // every cgroup of the plan that exists
  std::vector<Finding> findings;  // all of them, the plan's too
  int writes = 0;                 // control files written
  CpuSet shared;                  // the plan's: where shared containers run
  CpuSet host;                    // the plan's: where the host runs
};

// Not thread-safe; for the agent's one loop. Every call does its work and returns: nothing waits.
class Enforcer {
 public:
  // Opens the hierarchy at cgroup_root (OpenHierarchy's errors). Changes nothing yet.
  static absl::StatusOr<Enforcer> Create(const std::string& cgroup_root, const Machine& machine,
                                         EnforcerOptions options);
  Enforcer(Enforcer&&) noexcept;
  Enforcer& operator=(Enforcer&&) noexcept;
  ~Enforcer();  // leaves everything as it is; see ReleaseHost

  // Makes the cgroup that holds all pods, unless that is the kubelet's, with all controllers enabled downwards.
  // Idempotent; once before all else.
  absl::Status Prepare();
  // Where the runtime keeps the pods, from the next pass on. Only with runtime_cgroups; before the first call nothing
  // below the host's own cgroups is touched, since nothing tells whose they are.
  void SetPlaces(Places places);
  // Before a container of the pod is made: takes their CPUs from its ended ones whose cgroups are still there (CRI-O's,
  // until they are removed). As long as those are partitions the kernel refuses every cpuset beside them that names a
  // CPU of theirs. Errors: a cgroup cannot be read or written.
  absl::Status FreeEnded(std::string_view uid);

  // Makes the kernel say what state says, for all cgroups that exist: (1) every shared cgroup, the host's too, is
  // taken off CPUs that are someone's own; (2) cpuset.cpus.effective is read back; (3) owners get theirs, then shared
  // cgroups grow. Idempotent; after every commit. Differences from what the pass before left are findings (kDrift),
  // and repaired, unless the options say otherwise: then a file that someone changed stays as it is until a decision of
  // our own changes what belongs into it. Errors: our own tree cannot be read. A refused write is a finding, and the
  // rest goes on.
  absl::StatusOr<EnforceReport> Apply(const NodeState& state);
  // Apply, and the sweep over kernel threads that appeared since and over where memory lies. From a timer.
  absl::StatusOr<EnforceReport> Reconcile(const NodeState& state);

  // Makes the cgroup of a container that is about to start: fresh (an old empty one is removed), fenced, read back, no
  // process in it. For an exclusive container no shared cgroup may still have one of its CPUs: FailedPrecondition
  // names the one that has. FailedPrecondition too where processes of an earlier start still live in it.
  absl::StatusOr<Cgroup> CreateContainerCgroup(const NodeState& state, std::string_view uid,
                                               std::string_view container);
  // Whether the container may run in the cgroup that the runtime made for it: it is fenced whole, as read here, and no
  // shared cgroup still has one of its CPUs, as the pass just before has read back. FailedPrecondition says what is not
  // as decided; NotFound where there is no such decision or cgroup.
  absl::Status CheckContainer(const NodeState& state, std::string_view uid, std::string_view container) const;
  // What is decided for a container, wherever its cgroup will be. NotFound where nothing is.
  absl::StatusOr<Fence> DecidedFence(const NodeState& state, std::string_view uid, std::string_view container) const;
  // The cgroup of a container that was made before; NotFound where there is none.
  absl::StatusOr<Cgroup> FindContainerCgroup(const NodeState& state, std::string_view uid,
                                             std::string_view container) const;
  // Removes the pod's cgroups, or waits for the runtime to have done so. FailedPrecondition where processes still live
  // there; Ok where there are none.
  absl::Status RemovePod(std::string_view uid);
  // Pods that have cgroups below ours, by UID.
  absl::StatusOr<std::vector<std::string>> PodsWithCgroups() const;

  // Gives the runtime's cgroups back as Kubernetes alone would have them (GiveBackPlan), and says which these are. At
  // the end of Podfence on a node; with runtime_cgroups.
  absl::StatusOr<EnforceReport> GiveBack(const NodeState& state);
  // Undoes the host fence: every set goes back to what it was before, unless someone else has changed it since.
  // At the agent's orderly end. The containers' fences stay: their processes go on.
  absl::Status ReleaseHost();

 private:
  struct Impl;
  explicit Enforcer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace podfence
