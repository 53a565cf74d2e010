#pragma once

#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/core/node_state.h"
#include "agent/enforcer/enforcer.h"
#include "agent/systemd/units.h"
#include "agent/witness.h"

namespace podfence {

// Enforcer and verifier as one: whatever the kernel is made to do is at once what it is expected to do, in the order
// that raises no false alarm (expected after vacating, before the new owner starts). Findings of both go to one sink.
class Fencer final : public Witness {
 public:
  // As Witness; name: of the cgroup that holds all pods.
  Fencer(Enforcer enforcer, std::unique_ptr<Verifier> verifier, absl::StatusOr<WriteWatch> writes,
         std::string cgroup_root, std::string name, FindingSink sink);

  // From the next pass on systemd is told what its units are held to.
  void TellSystemd(std::unique_ptr<SystemdUnits> units) { units_ = std::move(units); }

  // Expects the containers that live from an earlier agent: those whose cgroups are populated.
  void AdoptLiving(const NodeState& state);

  // Makes the kernel say what state says. After each commit.
  absl::Status Enforce(const NodeState& state);
  // A fenced, empty, expected cgroup for a container that is about to start.
  absl::StatusOr<Cgroup> PrepareContainer(const NodeState& state, const std::string& uid, const std::string& container);
  absl::StatusOr<Cgroup> FindContainer(const NodeState& state, const std::string& uid,
                                       const std::string& container) override;
  // Of pods whose cgroups a container runtime makes: see Enforcer.
  void SetPlaces(Places places) { enforcer_.SetPlaces(std::move(places)); }
  absl::Status FreeEnded(const std::string& uid) { return enforcer_.FreeEnded(uid); }
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
  absl::Status Release() override { return enforcer_.ReleaseHost(); }
  // Waits until systemd has taken note too, some seconds at most: for the end, when the loop does not run any more.
  absl::Status GiveBack(const NodeState& state);

 private:
  // Repairs what others changed, too.
  absl::StatusOr<Sight> Look(const NodeState& state) override;
  // Only containers that live: a one-shot init container's CPUs pass to the app containers after it.
  bool IsExpected(const Fence& fence) const override;
  absl::StatusOr<Sight> SightOf(absl::StatusOr<EnforceReport> report);
  bool WasAnnounced(const Finding& finding);
  absl::Status ExpectWider(const NodeState& state);

  Enforcer enforcer_;
  std::string name_;
  std::unique_ptr<SystemdUnits> units_;  // null: nobody else keeps notes of the cgroups
  std::set<std::pair<std::string, std::string>> alive_;
  struct Announced {
    std::string path, file, value;
    absl::Time until;
  };
  std::vector<Announced> announced_;
};

}  // namespace podfence
