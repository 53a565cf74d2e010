#include "agent/runtime/local_pod.h"

#include <cerrno>

#include "agent/cgroup/files.h"
#include "agent/core/text.h"
#include "spdlog/spdlog.h"

namespace podfence {

std::string LogDirectory(const LocalContext& context, const Pod& pod) {
  return Cat(context.options.log_dir, "/", pod.ns, "_", pod.name, "_", pod.uid);
}

LocalPod::LocalPod(LocalContext& context, std::shared_ptr<const Pod> pod) : context_(context), pod_(std::move(pod)) {
  ForEachContainer(*pod_, [&](const Container& container, bool init) {
    containers_.push_back(std::make_unique<LocalContainer>(context_, *pod_, container, init, [this] { Schedule(); }));
  });
}

absl::Status LocalPod::Begin() {
  if (absl::Status status = MakeDirectories(LogDirectory(context_, *pod_)); !status.ok()) return status;
  sd_event_source* source = nullptr;
  const auto handler = [](sd_event_source*, void* self) {
    static_cast<LocalPod*>(self)->Step();
    return 0;
  };
  const int result = sd_event_add_defer(context_.loop, &source, handler, this);
  if (result < 0) return absl::ErrnoToStatus(-result, Cat("add pod ", pod_->FullName(), " to the event loop"));
  step_ = EventSource(source);
  for (const std::unique_ptr<LocalContainer>& container : containers_) {
    if (absl::Status status = container->Restore(); !status.ok()) return status;
  }
  return absl::OkStatus();
}

void LocalPod::Stop() {
  stopping_ = true;
  Schedule();
}

void LocalPod::Schedule() {
  if (step_) sd_event_source_set_enabled(step_.get(), SD_EVENT_ONESHOT);
}

std::vector<ContainerProgress> LocalPod::Progress() const {
  std::vector<ContainerProgress> progress;
  for (const std::unique_ptr<LocalContainer>& container : containers_) progress.push_back(container->Progress());
  return progress;
}

void LocalPod::Step() {
  const PodStep step = NextStep(*pod_, Progress(), stopping_);
  for (size_t i : step.start) containers_[i]->Start();
  for (size_t i : step.stop) containers_[i]->AskToEnd();
  if (!step.ending) return;
  for (const std::unique_ptr<LocalContainer>& container : containers_) container->GiveUp();
  if (!step.stopped) {
    ArmGracePeriod();
    return;
  }
  grace_.reset();
  if (step.terminal && !told_terminal_) {
    told_terminal_ = true;
    spdlog::info("pod {}: {}", pod_->FullName(), *step.terminal == PodResult::kSucceeded ? "succeeded" : "failed");
    context_.callbacks.on_pod_terminal(pod_->uid, *step.terminal);
  }
  if (stopping_) context_.pod_over(std::string(pod_->uid));  // this object is gone now
}

void LocalPod::ArmGracePeriod() {
  if (grace_) return;
  sd_event_source* source = nullptr;
  const auto handler = [](sd_event_source*, uint64_t, void* self) {
    LocalPod& pod = *static_cast<LocalPod*>(self);
    spdlog::warn("pod {}: its grace period is over, what still runs is killed", pod.pod_->FullName());
    for (const std::unique_ptr<LocalContainer>& container : pod.containers_) container->Kill();
    return 0;
  };
  const uint64_t usec = static_cast<uint64_t>(pod_->termination_grace_period_seconds) * 1'000'000;
  const int result = sd_event_add_time_relative(context_.loop, &source, CLOCK_MONOTONIC, usec, 10'000, handler, this);
  if (result < 0) {
    spdlog::error("pod {}: arm its grace period: {}; killing it at once", pod_->FullName(), strerror(-result));
    for (const std::unique_ptr<LocalContainer>& container : containers_) container->Kill();
    return;
  }
  grace_ = EventSource(source);
}

void LocalPod::BoundLogs() {
  for (const std::unique_ptr<LocalContainer>& container : containers_) container->BoundLog();
}

void LocalPod::AppendStatus(std::vector<ContainerRun>& statuses) const {
  for (const std::unique_ptr<LocalContainer>& container : containers_) statuses.push_back(container->status());
}

}  // namespace podfence
