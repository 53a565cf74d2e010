#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "agent/cgroup/cgroup.h"
#include "agent/cgroup/cgroup_paths.h"
#include "agent/cgroup/write_watch.h"
#include "agent/core/histogram.h"
#include "agent/core/node_state.h"
#include "agent/enforcer/enforcer.h"
#include "agent/enforcer/finding.h"
#include "agent/findings.h"
#include "agent/server/snapshot.h"
#include "agent/verification_state.h"
#include "agent/verifier/verifier.h"

namespace podfence {

// What one look at the cgroups showed, and what was done about it.
struct Sight {
  std::vector<LiveFence> live;      // every cgroup of the plan that exists
  std::vector<Finding> findings;    // what is not as decided
  std::vector<Unseen> unseen = {};  // what could not be read
  int writes = 0;                   // control files written
};

// Sees whether the kernel does what was decided: expects of it what stands in the cgroups, and hands what they and the
// probes say otherwise to one sink. What is done about it is for those who derive from it: the Fencer writes, the
// Auditor does not. On the loop's thread alone.
class Witness {
 public:
  using FindingSink = std::function<void(FindingView)>;
  virtual ~Witness() = default;

  // A whole sweep, from a timer: looks at the cgroups, at every task's affinity, and takes what the probes found.
  absl::Status Reconcile(const NodeState& state);
  // Hands the probes' findings to the sink: when fd() is readable.
  void DrainFindings(const NodeState& state);

  virtual absl::StatusOr<Cgroup> FindContainer(const NodeState& state, const std::string& uid,
                                               const std::string& container) = 0;
  // At the agent's orderly end.
  virtual absl::Status Release() { return absl::OkStatus(); }

  absl::StatusOr<Observation> Read();
  ProbeReport Probes() const { return verifier_->Probes(); }
  int fd() const { return verifier_->fd(); }
  // Readable when someone may have written a fence; -1 without a watch.
  int writes_fd() const { return writes_.ok() ? writes_->fd() : -1; }
  // Whether someone has, since the last call: then Reconcile is due.
  bool WritesSeen();
  // Why drift is not told of at once.
  const absl::Status& watching() const { return watching_; }

  // Of the last look: control files written, and how many of these were repairs.
  int writes() const { return last_writes_; }
  int repairs() const { return last_repairs_; }
  // How long each repair took since the agent's start, in seconds, from when the write was seen, or the look at which
  // it was found began, to the repair read back.
  const Histogram& repairs_taken() const { return repairs_taken_; }
  uint64_t errors() const { return errors_; }

  // Whether the node is as decided, with the findings that the log has.
  VerificationView Verify(const FindingLog& log);

 protected:
  // writes: tells of drift at once; without one (what it said is the error) drift is found at each Reconcile alone.
  Witness(std::unique_ptr<Verifier> verifier, absl::StatusOr<WriteWatch> writes, std::string cgroup_root,
          FindingSink sink);

  // The look of a sweep.
  virtual absl::StatusOr<Sight> Look(const NodeState& state) = 0;
  // Whether the verifier is to hold the tasks of a live cgroup to its fence.
  virtual bool IsExpected(const Fence& /*fence*/) const { return true; }
  // Whether the last look has told of the same already.
  virtual bool IsTold(const FindingView& /*finding*/) const { return false; }
  // What is not known beside what no look and no probe could see.
  virtual std::vector<Unseen> Unknown() const { return {}; }

  // Takes a look that began at `began`: its findings to the sink, its fences to the verifier.
  absl::Status Take(const NodeState& state, absl::Time began, absl::StatusOr<Sight> sight);
  absl::Status Expect();

  std::vector<LiveFence> live_;
  std::string cgroup_root_;
  uint64_t errors_ = 0;

 private:
  void NameWriter(Finding& finding);
  void Watch();

  std::unique_ptr<Verifier> verifier_;
  absl::StatusOr<WriteWatch> writes_;
  absl::Status watching_;
  FindingSink sink_;
  int last_writes_ = 0;
  int last_repairs_ = 0;
  std::optional<absl::Time> write_seen_;  // and not looked at yet
  Histogram repairs_taken_{{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 10}};
  CgroupPaths paths_;
  LossWatch losses_;
  Losses counted_;
  absl::Status read_;           // the last look at the kernel's counters
  absl::Status sweep_;          // and the last whole sweep
  std::vector<Unseen> unseen_;  // of the last look at the cgroups
};

}  // namespace podfence
