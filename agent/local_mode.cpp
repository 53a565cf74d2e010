#include "agent/local_mode.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "agent/core/text.h"

namespace podfence {

absl::Status LocalMode::Start() {
  if (absl::Status status = StartRuntime(); !status.ok()) return status;
  static constexpr auto kOnConverge = [](sd_event_source*, void* data) {
    static_cast<LocalMode*>(data)->Converge();
    return 0;
  };
  sd_event_source* converge = nullptr;
  if (const int result = sd_event_add_defer(agent_.loop(), &converge, kOnConverge, this); result < 0) {
    return absl::ErrnoToStatus(-result, "event loop: the deferred convergence");
  }
  converge_ = EventSource(converge);
  absl::StatusOr<std::unique_ptr<ManifestWatcher>> watcher = ManifestWatcher::Create(
      agent_.loop(), agent_.config().static_pod_path, [this](const ManifestSet& set) { OnManifests(set); });
  if (!watcher.ok()) return watcher.status();
  watcher_ = *std::move(watcher);
  spdlog::info("pods from {}", agent_.config().static_pod_path);
  return absl::OkStatus();
}

absl::Status LocalMode::StartRuntime() {
  const Config& config = agent_.config();
  absl::StatusOr<std::unique_ptr<LocalRuntime>> runtime =
      LocalRuntime::Create(agent_.loop(),
                           {.state_dir = config.state_directory,
                            .log_dir = config.pod_logs_dir,
                            .max_log_bytes = static_cast<uint64_t>(config.container_log_max_size)},
                           Callbacks());
  if (!runtime.ok()) return runtime.status();
  runtime_ = *std::move(runtime);
  std::vector<std::string> uids;
  for (const auto& [uid, allocation] : agent_.state().pods) {
    uids.push_back(uid);
    if (absl::Status status = runtime_->AddPod(allocation.pod); !status.ok()) {
      spdlog::error("pod {}: cannot go on: {}", allocation.pod->FullName(), status.ToString());
      continue;
    }
    in_runtime_.insert(uid);
  }
  return runtime_->DropOldRecords(uids);
}

RuntimeCallbacks LocalMode::Callbacks() {
  return {
      .prepare_cgroup =
          [this](const std::string& uid, const std::string& container) {
            return agent_.fencer().PrepareContainer(agent_.state(), uid, container);
          },
      .find_cgroup =
          [this](const std::string& uid, const std::string& container) {
            return agent_.fencer().FindContainer(agent_.state(), uid, container);
          },
      .on_started =
          [this](const std::string& uid, const std::string& container) {
            spdlog::info("pod {}: container {} started", uid, container);
            agent_.Complain("container start", agent_.fencer().SetAlive(uid, container, true));
            agent_.Complain("commit", agent_.ledger().Start(uid, container));
          },
      .on_exited =
          [this](const std::string& uid, const std::string& container, const ExitStatus& exit) {
            spdlog::info("pod {}: container {} ended{}", uid, container,
                         exit.known ? Cat(" with code ", exit.code) : std::string(", its exit code is not known"));
            agent_.Complain("container end", agent_.fencer().SetAlive(uid, container, false));
          },
      .on_pod_terminal =
          [this](const std::string& uid, PodResult phase) {
            spdlog::info("pod {}: {}", uid, phase == PodResult::kSucceeded ? "succeeded" : "failed");
            ReleasePod(uid, /*ended=*/true);
          },
      .on_pod_stopped =
          [this](const std::string& uid) {
            in_runtime_.erase(uid);
            if (agent_.state().pods.contains(uid)) ReleasePod(uid, /*ended=*/false);
            ScheduleConverge();
          },
  };
}

void LocalMode::OnManifests(const ManifestSet& set) {
  wanted_ = set.pods;
  manifests_seen_ = true;
  manifests_complete_ = set.complete;
  const std::vector<RejectedView> known = std::exchange(broken_, {});
  for (const absl::Status& error : set.errors) {
    const std::string message(error.message());
    const bool is_new = std::ranges::find(known, message, &RejectedView::message) == known.end();
    if (is_new) spdlog::error("manifest: {}", message);
    broken_.push_back(
        {.pod = "", .source = message.substr(0, message.find(':')), .reason = "Invalid", .message = message});
  }
  // A pod whose manifest went away is refused no more.
  std::erase_if(agent_.refused(), [&](const auto& entry) {
    return std::ranges::none_of(wanted_, [&](const auto& pod) { return pod->uid == entry.first; });
  });
  ScheduleConverge();
}

void LocalMode::ScheduleConverge() {
  if (converge_) sd_event_source_set_enabled(converge_.get(), SD_EVENT_ONESHOT);
}

void LocalMode::Converge() {
  if (!manifests_seen_) return;
  StopUnwanted();
  // What cannot be read may be the manifest of an ended pod, which must not run again once it can.
  if (manifests_complete_) {
    std::set<std::string, std::less<>> manifests;
    for (const auto& pod : wanted_) manifests.insert(pod->uid);
    agent_.Complain("commit", agent_.ledger().ForgetEnded(manifests));
  }
  for (const auto& pod : wanted_) {
    const NodeState& state = agent_.state();
    if (state.pods.contains(pod->uid) || state.ended.contains(pod->uid) || agent_.refused().contains(pod->uid))
      continue;
    // A changed manifest is another pod under the same name: it waits until the one before is gone.
    const bool name_taken = std::ranges::any_of(
        state.pods, [&](const auto& entry) { return entry.second.pod->FullName() == pod->FullName(); });
    if (!name_taken && !in_runtime_.contains(pod->uid)) AdmitPod(pod);
  }
  agent_.SetReady();
}

void LocalMode::StopUnwanted() {
  if (!manifests_complete_) return;
  const auto wanted = [&](const std::string& uid) {
    return std::ranges::any_of(wanted_, [&](const auto& pod) { return pod->uid == uid; });
  };
  for (const std::string& uid : std::set<std::string>(in_runtime_)) {
    if (!wanted(uid)) agent_.Complain("stop pod " + uid, runtime_->StopPod(uid), uid);
  }
  std::vector<std::string> lost;  // in the state, but nothing runs them and no manifest wants them
  for (const auto& [uid, allocation] : agent_.state().pods) {
    if (!wanted(uid) && !in_runtime_.contains(uid)) lost.push_back(uid);
  }
  for (const std::string& uid : lost) ReleasePod(uid, /*ended=*/false);
  RemoveOrphans();
}

// Pods of an earlier agent whose decisions were lost with a damaged checkpoint, and that no manifest wants.
void LocalMode::RemoveOrphans() {
  const absl::StatusOr<std::vector<std::string>> uids = agent_.fencer().PodsWithCgroups();
  agent_.Complain("list pods", uids.status());
  if (!uids.ok()) return;
  for (const std::string& uid : *uids) {
    if (agent_.state().pods.contains(uid) || in_runtime_.contains(uid)) continue;
    const bool wanted = std::ranges::any_of(wanted_, [&](const auto& pod) { return pod->uid == uid; });
    if (wanted && !agent_.state().ended.contains(uid)) continue;
    spdlog::warn("pod {}: cgroups without a decision or a manifest: ended and removed", uid);
    agent_.Complain("remove pod " + uid, agent_.fencer().KillPod(uid), uid);
  }
}

void LocalMode::AdmitPod(const std::shared_ptr<const Pod>& pod) {
  if (absl::Status status = LocalRuntime::Check(*pod); !status.ok()) {
    agent_.Refuse(*pod, "Invalid", std::string(status.message()));
    return;
  }
  const absl::StatusOr<AdmitResult> result = agent_.Admit(pod);
  if (!result.ok() || !result->admitted()) return;  // where nothing changed the timer converges again
  if (const std::string notice = LocalRuntime::Notice(*pod); !notice.empty()) spdlog::info("{}", notice);
  absl::Status status = runtime_->AddPod(pod);
  agent_.Complain("start pod " + pod->uid, status, pod->uid);
  if (status.ok()) in_runtime_.insert(pod->uid);
}

void LocalMode::ReleasePod(const std::string& uid, bool ended) {
  if (agent_.Release(uid, ended)) ScheduleConverge();
}

void LocalMode::Complete(Snapshot& snapshot) const {
  snapshot.rejected.insert(snapshot.rejected.begin(), broken_.begin(), broken_.end());
}

}  // namespace podfence
