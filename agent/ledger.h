#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/allocator/allocator.h"
#include "agent/core/decision.h"
#include "agent/core/node_state.h"
#include "agent/state/store.h"

namespace podfence {

// The node's decisions: the allocator, the one true NodeState, and its checkpoint. Every change is decided, committed,
// and only then visible in state(): whoever enforces state() enforces nothing that a crash could forget. One that
// follows another's decisions has no checkpoint, and decides nothing.
class Ledger {
 public:
  struct Opened;
  // Loads the checkpoint and brings it under the allocator's machine and policy (AdoptState).
  static absl::StatusOr<Opened> Open(Allocator allocator, StateStore store);
  // Of one that follows: every call that decides is FailedPrecondition.
  static Ledger Following(Allocator allocator);
  // What the other has decided, from now on. Only of one that follows. Containers that were given something count in
  // counters().assignments when they are first seen; how many allocations that took is not to be seen.
  void Follow(NodeState state);

  const NodeState& state() const { return state_; }
  const Allocator& allocator() const { return allocator_; }
  // StateStore::lock_fd; -1 of one that follows.
  int lock_fd() const { return store_ ? store_->lock_fd() : -1; }

  // Decides on a pod. After an admission state() holds it. The Status is the commit's: on an error nothing has changed,
  // and the pod may be tried again. trace is filled with the decision's reasons.
  absl::StatusOr<AdmitResult> Admit(std::shared_ptr<const Pod> pod, Trace& trace);
  // Takes up a pod as an earlier agent decided on it (Allocator::Restore), and commits.
  absl::Status Restore(PodAllocation allocation);
  // A container was started (Allocator::Start). Commits only where that changes anything.
  absl::Status Start(std::string_view uid, std::string_view container);
  // The pod holds nothing any more. ended: it came to its own end, and stays ended while its manifest stands.
  absl::Status Remove(std::string_view uid, bool ended);
  // Forgets ended pods whose manifests are gone.
  absl::Status ForgetEnded(const std::set<std::string, std::less<>>& manifests);

  // Since Open.
  const CounterGrowth& counters() const { return counters_; }
  uint64_t admitted() const { return admitted_; }
  uint64_t rejected() const { return rejected_; }
  uint64_t commits() const { return commits_; }
  uint64_t commit_errors() const { return commit_errors_; }
  uint64_t invariant_violations() const { return invariant_violations_; }
  double last_decision_seconds() const { return last_decision_seconds_; }

 private:
  Ledger(Allocator allocator, std::optional<StateStore> store);
  absl::Status Commit(NodeState next);
  absl::Status Commit(const StateChange& change);

  Allocator allocator_;
  std::optional<StateStore> store_;  // none: it follows
  NodeState state_;
  CounterGrowth counters_;
  uint64_t admitted_ = 0;
  uint64_t rejected_ = 0;
  uint64_t commits_ = 0;
  uint64_t commit_errors_ = 0;
  uint64_t invariant_violations_ = 0;
  double last_decision_seconds_ = 0;
};

struct Ledger::Opened {
  Ledger ledger;
  bool restored = false;             // a checkpoint was found
  bool rebooted = false;             // LoadedState::rebooted
  std::string damage;                // what was wrong with a damaged one, and where it is now
  std::vector<std::string> misfits;  // AdoptedState::misfits
};

}  // namespace podfence
