#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/cgroup/cgroup_paths.h"
#include "agent/cgroup/write_watch.h"
#include "agent/core/node_state.h"
#include "agent/enforcer/enforcer.h"
#include "agent/findings.h"
#include "agent/server/snapshot.h"
#include "agent/systemd/units.h"
#include "agent/verification_state.h"
#include "agent/verifier/verifier.h"

namespace podfence {

// Enforcer and verifier as one: whatever the kernel is made to do is at once what it is expected to do, in the order
// that raises no false alarm (expected after vacating, before the new owner starts). Findings of both go to one sink.
class Fencer {
 public:
  using FindingSink = std::function<void(FindingView)>;

  // writes: tells of drift at once; without one (what it said is the error) drift is found at each Reconcile alone.
  Fencer(Enforcer enforcer, std::unique_ptr<Verifier> verifier, absl::StatusOr<WriteWatch> writes,
         std::string cgroup_root, std::string name, FindingSink sink);

  // From the next pass on systemd is told what its units are held to.
  void TellSystemd(std::unique_ptr<SystemdUnits> units) { units_ = std::move(units); }

  // Expects the containers that live from an earlier agent: those whose cgroups are populated.
  void AdoptLiving(const NodeState& state);

  // Makes the kernel say what state says. After each commit.
  absl::Status Enforce(const NodeState& state);
  // The same from a timer: repairs drift, looks at every task's affinity, and takes what the probes found.
  absl::Status Reconcile(const NodeState& state);
  // Hands the probes' findings to the sink: when fd() is readable.
  void DrainFindings(const NodeState& state);

  // A fenced, empty, expected cgroup for a container that is about to start.
  absl::StatusOr<Cgroup> PrepareContainer(const NodeState& state, const std::string& uid, const std::string& container);
  absl::StatusOr<Cgroup> FindContainer(const NodeState& state, const std::string& uid, const std::string& container);
  // Of pods whose cgroups a container runtime makes: see Enforcer.
  void SetPlaces(Places places) { enforcer_.SetPlaces(std::move(places)); }
  absl::StatusOr<Fence> DecidedFence(const NodeState& state, const std::string& uid,
                                     const std::string& container) const {
    return enforcer_.DecidedFence(state, uid, container);
  }
  // After Enforce: whether the container may start in the cgroup that was made for it.
  absl::Status CheckContainer(const NodeState& state, const std::string& uid, const std::string& container) {
    return enforcer_.CheckContainer(state, uid, container);
  }
  // The kubelet is about to write this value into a file of the cgroup (its path is below the root) that is fenced:
  // that is written over like any drift, but is none. Holds for one write within the next seconds.
  void Announce(const std::string& cgroup, const std::string& file, const std::string& value);
  // The container's process lives, or has ended: only cgroups of live containers are expected, since a one-shot init
  // container's CPUs pass to the app containers after it.
  absl::Status SetAlive(const std::string& uid, const std::string& container, bool alive);

  // Removes the cgroups of a pod that has ended. FailedPrecondition where processes still live in them.
  absl::Status RemovePod(const std::string& uid);
  // Kills what lives of a pod that has no decision, and removes its cgroups. Waits for the processes' end, at most
  // seconds: for the rare case of a lost checkpoint.
  absl::Status KillPod(const std::string& uid);
  absl::StatusOr<std::vector<std::string>> PodsWithCgroups() const { return enforcer_.PodsWithCgroups(); }
  absl::Status Release() { return enforcer_.ReleaseHost(); }
  // Waits until systemd has taken note too, some seconds at most: for the end, when the loop does not run any more.
  absl::Status GiveBack(const NodeState& state);

  absl::StatusOr<Observation> Read();
  ProbeReport Probes() const { return verifier_->Probes(); }
  int fd() const { return verifier_->fd(); }
  // Readable when someone may have written a fence; -1 without a watch.
  int writes_fd() const { return writes_.ok() ? writes_->fd() : -1; }
  // Whether someone has, since the last call: then Reconcile is due.
  bool WritesSeen();
  // Why drift is not told of at once.
  const absl::Status& watching() const { return watching_; }

  // Of the last Enforce or Reconcile: control files written, and how many of these were repairs.
  int writes() const { return last_writes_; }
  int repairs() const { return last_repairs_; }
  // How long each repair took since the agent's start, in seconds, from when the write was seen, or the look at which
  // it was found began, to the repair read back.
  const Histogram& repairs_taken() const { return repairs_taken_; }
  uint64_t errors() const { return errors_; }

  // Whether the node is as decided, with the findings that the log has.
  VerificationView Verify(const FindingLog& log);

 private:
  absl::Status Take(const NodeState& state, absl::Time began, absl::StatusOr<EnforceReport> report);
  bool WasAnnounced(const Finding& finding);
  void NameWriter(Finding& finding);
  absl::Status Expect();
  absl::Status ExpectWider(const NodeState& state);
  void Watch();

  Enforcer enforcer_;
  std::unique_ptr<Verifier> verifier_;
  absl::StatusOr<WriteWatch> writes_;
  absl::Status watching_;
  std::string cgroup_root_;
  std::string name_;
  FindingSink sink_;
  std::unique_ptr<SystemdUnits> units_;  // null: nobody else keeps notes of the cgroups
  std::set<std::pair<std::string, std::string>> alive_;
  std::vector<LiveFence> live_;
  int last_writes_ = 0;
  int last_repairs_ = 0;
  struct Announced {
    std::string path, file, value;
    absl::Time until;
  };
  std::vector<Announced> announced_;
  std::optional<absl::Time> write_seen_;  // and not looked at yet
  Histogram repairs_taken_{{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 10}};
  uint64_t errors_ = 0;
  CgroupPaths paths_;
  LossWatch losses_;
  Losses counted_;
  absl::Status read_;   // the last look at the kernel's counters
  absl::Status sweep_;  // and the last whole sweep
};

}  // namespace podfence
