#pragma once

// agent/ is the whole: one loop that owns the NodeState and is its only writer. Pods come in, the ledger decides and
// commits, the fencer makes the kernel say so and expects it; the server shows immutable snapshots. What a mode adds
// (where pods come from, who runs them) is its Mode. Single-threaded and event-driven: between events the agent sleeps.

#include <systemd/sd-event.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/complaints.h"
#include "agent/config/config.h"
#include "agent/fencer.h"
#include "agent/findings.h"
#include "agent/handover.h"
#include "agent/ledger.h"
#include "agent/mailbox.h"
#include "agent/mode.h"
#include "agent/observer.h"
#include "agent/repair_pace.h"
#include "agent/server/http_server.h"
#include "agent/trace_book.h"
#include "agent/witness.h"

namespace podfence {

// A pod that was refused, and is not tried again before something is released.
struct RefusedPod {
  RejectedView view;
  std::string reference_message;  // the kubelet's own words for it
  bool told = false;              // in mode manage: the API server has been told
};

// What every mode has: decides, fences, verifies and exports.
class Agent {
 public:
  // Takes the state directory's lock, loads the checkpoint, fences what lives from an earlier agent, listens; in mode
  // audit, where another decides, it only listens. Errors name what is missing on this machine and the remedy.
  static absl::StatusOr<std::unique_ptr<Agent>> Create(Config config);
  ~Agent();

  // Runs until SIGTERM or SIGINT. Containers go on after it; the host's own fence is undone.
  absl::Status Run();

  // After Run: a successor has the node.
  bool left() const { return left_; }

  // The port it listens on (configuration may say 0).
  int port() const { return server_->port(); }

  // For the mode, on the loop's thread.
  sd_event* loop() { return loop_; }
  const Config& config() const { return config_; }
  Ledger& ledger() { return *ledger_; }
  const NodeState& state() const { return ledger_->state(); }
  // Of modes that decide.
  Fencer& fencer() { return *fencer_; }

  // Decides on a pod; explained and, where it is refused, kept in refused() with its reasons. The Status is the
  // commit's: on an error nothing has changed.
  absl::StatusOr<AdmitResult> Decide(const std::shared_ptr<const Pod>& pod);
  // The same, and fences what was decided.
  absl::StatusOr<AdmitResult> Admit(const std::shared_ptr<const Pod>& pod);
  // A pod is refused; reference_message: the kubelet's own words, where the reason is the allocator's.
  void Refuse(const Pod& pod, std::string reason, std::string message, std::string reference_message = "");
  // By UID. What was refused for want of room may fit whenever something is released: Release empties it.
  std::map<std::string, RefusedPod>& refused() { return refused_; }
  // The pod holds nothing any more, and its cgroups are gone. ended: it came to its own end. False: it could not be
  // done now, and its CPUs stay its own while anything of it may live.
  bool Release(const std::string& uid, bool ended);
  // For a successor (handover.h): its port is free, and can be taken again; the loop ends, and nothing is released.
  void StopServing() { server_->StopListening(); }
  absl::Status StartServer();
  void Leave();
  // Another has decided this: it is looked at as soon as the loop is free. Of modes that follow.
  void Follow(NodeState state);

  // Whether the checkpoint that this agent found is of before the machine's last boot.
  bool rebooted() const { return rebooted_; }

  // From now on /-/ready says yes.
  void SetReady();
  void NoteFinding(FindingView finding);
  // Logs what failed, once as long as it goes on failing in the same way; Ok ends that, and so does the end of the pod
  // (uid) that it is about.
  void Complain(const std::string& what, const absl::Status& status, const std::string& uid = "");
  // Of pods that are gone, where they were not released.
  void ForgetComplaints(const std::function<bool(const std::string& uid)>& gone) { complaints_.Forget(gone); }

 private:
  explicit Agent(Config config);
  absl::Status Start();
  absl::Status StartDeciding(Allocator allocator);
  absl::Status OpenLedger(Allocator allocator);
  absl::Status StartFencer();
  absl::Status StartAuditing(Allocator allocator);
  absl::Status StartVerifier();
  absl::Status AddEventSources();

  void OnTimer();
  void HurryTimer();
  std::shared_ptr<const Snapshot> TakeSnapshot();

  Config config_;
  std::optional<Handover> former_;  // until the mode has it
  sd_event* loop_ = nullptr;
  std::unique_ptr<Ledger> ledger_;
  std::unique_ptr<Verifier> verifier_;  // until the witness has it
  std::unique_ptr<Witness> witness_;
  Fencer* fencer_ = nullptr;  // the same, in modes that decide
  std::unique_ptr<Mode> mode_;
  std::unique_ptr<SnapshotMailbox> mailbox_;
  TraceBook traces_;
  std::unique_ptr<HttpServer> server_;
  Observer observer_;
  FindingLog findings_;

  bool ready_ = false;
  bool left_ = false;
  bool rebooted_ = false;
  std::map<std::string, RefusedPod> refused_;
  std::vector<std::string> misfits_;  // of the checkpoint, as long as their pods stand
  sd_event_source* timer_ = nullptr;
  RepairPace pace_;
  double started_ = 0;
  Complaints complaints_;
};

}  // namespace podfence
