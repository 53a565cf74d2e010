#include "agent/audit_mode.h"

#include <spdlog/spdlog.h>

#include <utility>

#include "agent/core/text.h"
#include "agent/node_pods.h"

namespace podfence {
namespace {

ContainerPhase PhaseOf(ContainerState state) {
  switch (state) {
    case ContainerState::kRunning: return ContainerPhase::kRunning;
    case ContainerState::kTerminated: return ContainerPhase::kTerminated;
    case ContainerState::kWaiting: return ContainerPhase::kWaiting;
  }
  return ContainerPhase::kWaiting;
}

}  // namespace

absl::Status AuditMode::Start() {
  const std::string& directory = agent_.config().kubelet_state_directory;
  absl::StatusOr<std::unique_ptr<StateWatch>> watch =
      StateWatch::Create(agent_.loop(), directory, [this] { ReadState(); });
  if (!watch.ok()) return watch.status();
  watch_ = *std::move(watch);
  absl::StatusOr<std::unique_ptr<PodSource>> source =
      StartPodSource(agent_.loop(), agent_.config(),
                     {.on_changed = [this](const auto&) { Converge(); }, .on_synced = [this] { Converge(); }});
  if (!source.ok()) return source.status();
  source_ = *std::move(source);
  spdlog::info("the kubelet decides: its state from {}, its pods from {}", directory, source_->status().description);
  auditor_.AskUnknown([this] { return Unknown(); });
  ReadState();
  return absl::OkStatus();
}

void AuditMode::ReadState() {
  absl::StatusOr<KubeletState> state = ReadKubeletState(agent_.config().kubelet_state_directory);
  reading_ = state.status();
  agent_.Complain("the kubelet's state", reading_);
  // What is damaged now leaves what was decided before.
  if (state.ok()) {
    kubelet_ = *std::move(state);
    read_ = true;
  }
  Converge();
}

void AuditMode::Converge() {
  if (!source_->synced()) return;
  pods_ = taken_back_.LeaveOut(kubelet_, LivingPods(source_->cache()));
  auditor_.SetPods(pods_);
  if (read_) agent_.Follow(ComposeState(kubelet_, pods_));
  agent_.SetReady();
}

std::vector<Unseen> AuditMode::Unknown() const {
  std::vector<Unseen> unknown;
  if (read_) unknown = WithoutManagers(kubelet_);
  if (!reading_.ok()) unknown.push_back({"the kubelet's state", std::string(reading_.message())});
  const PodSourceStatus source = source_->status();
  if (!source.up) unknown.push_back({source.description, source.last_error.ToString()});
  return unknown;
}

std::vector<ContainerRun> AuditMode::Containers() const {
  std::vector<ContainerRun> runs;
  for (const PodRecordPtr& record : pods_) {
    for (const ContainerStatus& status : record->statuses) {
      ContainerRun& run = runs.emplace_back();
      run.uid = record->uid;
      run.name = status.name;
      run.phase = PhaseOf(status.state);
      run.restarts = static_cast<int>(status.restart_count);
    }
  }
  return runs;
}

void AuditMode::Complete(Snapshot& snapshot) const { snapshot.pod_source = ViewOf(source_->status()); }

}  // namespace podfence
