#include "agent/runtime/pod_progress.h"

#include <algorithm>

namespace podfence {
namespace {

class Progress {
 public:
  Progress(const Pod& pod, const std::vector<ContainerProgress>& containers) : pod_(pod), containers_(containers) {}

  PodStep Next(bool asked_to_stop) {
    PodStep step;
    const bool init_failed = InitFailed();
    step.ending = asked_to_stop || init_failed || AppsTerminated();
    if (step.ending) {
      End(step);
      if (step.stopped && !asked_to_stop) {
        step.terminal = init_failed || AppFailed() ? PodResult::kFailed : PodResult::kSucceeded;
      }
    } else {
      Start(step);
    }
    return step;
  }

 private:
  size_t InitCount() const { return pod_.init_containers.size(); }
  bool Sidecar(size_t i) const { return i < InitCount() && IsSidecar(pod_.init_containers[i]); }
  bool InitFailed() const {
    for (size_t i = 0; i < InitCount(); ++i) {
      if (!Sidecar(i) && containers_[i].phase == ContainerPhase::kTerminated && containers_[i].failed) return true;
    }
    return false;
  }
  bool AppsTerminated() const {
    return std::all_of(containers_.begin() + static_cast<std::ptrdiff_t>(InitCount()), containers_.end(),
                       [](const ContainerProgress& app) { return app.phase == ContainerPhase::kTerminated; });
  }
  bool AppFailed() const {
    return std::any_of(containers_.begin() + static_cast<std::ptrdiff_t>(InitCount()), containers_.end(),
                       [](const ContainerProgress& app) { return app.failed; });
  }

  void Start(PodStep& step) const {
    bool later_may_start = true;
    for (size_t i = 0; i < containers_.size(); ++i) {
      const ContainerProgress& container = containers_[i];
      const bool waits = container.phase == ContainerPhase::kWaiting;
      const bool due = container.phase == ContainerPhase::kBackOff && container.due;
      // A container that ran before is due by itself, whatever stands before it.
      if ((waits && later_may_start) || due) step.start.push_back(i);
      if (i >= InitCount()) continue;
      const bool passed = Sidecar(i) ? container.ever_started : container.phase == ContainerPhase::kTerminated;
      later_may_start = later_may_start && passed;
    }
  }

  void End(PodStep& step) const {
    bool others_run = false;
    std::optional<size_t> last_sidecar;
    for (size_t i = 0; i < containers_.size(); ++i) {
      if (containers_[i].phase != ContainerPhase::kRunning) continue;
      if (Sidecar(i)) {
        last_sidecar = i;
      } else {
        others_run = true;
        if (!containers_[i].asked_to_end) step.stop.push_back(i);
      }
    }
    step.stopped = !others_run && !last_sidecar;
    if (!others_run && last_sidecar && !containers_[*last_sidecar].asked_to_end) step.stop.push_back(*last_sidecar);
  }

  const Pod& pod_;
  const std::vector<ContainerProgress>& containers_;
};

}  // namespace

PodStep NextStep(const Pod& pod, const std::vector<ContainerProgress>& containers, bool asked_to_stop) {
  return Progress(pod, containers).Next(asked_to_stop);
}

ContainerPhase PhaseAfterExit(const Pod& pod, const Container& container, bool init, const ExitStatus& exit) {
  if (IsSidecar(container)) return ContainerPhase::kBackOff;
  if (init) {
    if (exit.ok()) return ContainerPhase::kTerminated;
    return exit.known && pod.restart_policy == RestartPolicy::kNever ? ContainerPhase::kTerminated
                                                                     : ContainerPhase::kBackOff;
  }
  const bool again =
      pod.restart_policy == RestartPolicy::kAlways || (pod.restart_policy == RestartPolicy::kOnFailure && !exit.ok());
  return again ? ContainerPhase::kBackOff : ContainerPhase::kTerminated;
}

std::string_view ContainerPhaseName(ContainerPhase phase) {
  switch (phase) {
    case ContainerPhase::kWaiting: return "waiting";
    case ContainerPhase::kRunning: return "running";
    case ContainerPhase::kBackOff: return "back-off";
    case ContainerPhase::kTerminated: return "terminated";
  }
  return "";
}

}  // namespace podfence
