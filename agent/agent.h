#pragma once

// agent/ is the whole: one loop that owns the NodeState and is its only writer. Manifests come in, the ledger decides
// and commits, the fencer makes the kernel say so and expects it, the runtime starts what is fenced; the server shows
// immutable snapshots. Single-threaded and event-driven: between events the agent sleeps.

#include <systemd/sd-event.h>

#include <map>
#include <memory>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/config/config.h"
#include "agent/fencer.h"
#include "agent/findings.h"
#include "agent/ledger.h"
#include "agent/mailbox.h"
#include "agent/observer.h"
#include "agent/repair_pace.h"
#include "agent/runtime/local.h"
#include "agent/runtime/manifest_watcher.h"
#include "agent/server/http_server.h"
#include "agent/trace_book.h"

namespace podfence {

// Mode local: decides, fences, runs, verifies and exports the pods of a directory of manifests.
class Agent {
 public:
  // Takes the state directory's lock, loads the checkpoint, fences what lives from an earlier agent, listens. Errors
  // name what is missing on this machine and the remedy.
  static absl::StatusOr<std::unique_ptr<Agent>> Create(Config config);
  ~Agent();

  // Runs until SIGTERM or SIGINT. Containers go on after it; the host's own fence is undone.
  absl::Status Run();

  // The port it listens on (configuration may say 0).
  int port() const { return server_->port(); }

 private:
  explicit Agent(Config config);
  absl::Status Start();
  absl::Status StartFencer();
  absl::Status StartRuntime();
  absl::Status StartServer();
  absl::Status AddEventSources();

  // Manifests, and what follows from them.
  void OnManifests(const ManifestSet& set);
  void Converge();
  void ScheduleConverge();
  void StopUnwanted();
  void AdmitPod(const std::shared_ptr<const Pod>& pod);
  void ReleasePod(const std::string& uid, bool ended);
  void RemoveOrphans();
  RuntimeCallbacks Callbacks();

  void OnTimer();
  void HurryTimer();
  std::shared_ptr<const Snapshot> TakeSnapshot();
  void NoteFinding(FindingView finding);
  // Logs what failed, once as long as it goes on failing in the same way; Ok ends that.
  void Complain(const std::string& what, const absl::Status& status);

  Config config_;
  sd_event* loop_ = nullptr;
  std::unique_ptr<Ledger> ledger_;
  std::unique_ptr<Fencer> fencer_;
  std::unique_ptr<LocalRuntime> runtime_;
  std::unique_ptr<ManifestWatcher> watcher_;
  std::unique_ptr<SnapshotMailbox> mailbox_;
  TraceBook traces_;
  std::unique_ptr<HttpServer> server_;
  Observer observer_;
  FindingLog findings_;

  std::vector<std::shared_ptr<const Pod>> wanted_;  // as the manifests stand, in their order
  bool manifests_seen_ = false;
  bool ready_ = false;
  bool manifests_complete_ = true;  // false: an unreadable manifest may name any pod, so none is ended for want of one
  std::map<std::string, RejectedView> rejected_;  // by UID: refused until something is released
  std::vector<RejectedView> broken_;              // manifests that cannot be read, as of the last change
  std::set<std::string> in_runtime_;              // UIDs that the runtime knows
  std::vector<std::string> misfits_;              // of the checkpoint, as long as their pods stand
  sd_event_source* converge_ = nullptr;
  sd_event_source* timer_ = nullptr;
  RepairPace pace_;
  double started_ = 0;
  std::map<std::string, std::string> complaints_;
};

}  // namespace podfence
