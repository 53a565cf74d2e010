#pragma once

#include <systemd/sd-event.h>

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "agent/agent.h"
#include "agent/mode.h"
#include "agent/runtime/event_source.h"
#include "agent/runtime/local.h"
#include "agent/runtime/manifest_watcher.h"

namespace podfence {

// Mode local: the pods are a directory's manifests, and the agent starts their processes itself.
class LocalMode final : public Mode {
 public:
  explicit LocalMode(Agent& agent) : agent_(agent) {}

  std::string_view name() const override { return "local"; }
  absl::Status Start() override;
  const Runtime& runtime() const override { return *runtime_; }
  void Retry() override { ScheduleConverge(); }
  void Complete(Snapshot& snapshot) const override;

 private:
  absl::Status StartRuntime();
  RuntimeCallbacks Callbacks();
  void OnManifests(const ManifestSet& set);
  void Converge();
  void ScheduleConverge();
  void StopUnwanted();
  void AdmitPod(const std::shared_ptr<const Pod>& pod);
  void ReleasePod(const std::string& uid, bool ended);
  void RemoveOrphans();

  Agent& agent_;
  std::unique_ptr<LocalRuntime> runtime_;
  std::unique_ptr<ManifestWatcher> watcher_;
  std::vector<std::shared_ptr<const Pod>> wanted_;  // as the manifests stand, in their order
  bool manifests_seen_ = false;
  bool manifests_complete_ = true;  // false: an unreadable manifest may name any pod, so none is ended for want of one
  std::vector<RejectedView> broken_;  // manifests that cannot be read, as of the last change
  std::set<std::string> in_runtime_;  // UIDs that the runtime knows
  EventSource converge_;
};

}  // namespace podfence
