#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <vector>

#include "absl/time/time.h"
#include "agent/core/pod.h"
#include "agent/runtime/runtime.h"

namespace podfence {

// What the next step of a pod depends on, of one of its containers.
struct ContainerProgress {
  ContainerPhase phase = ContainerPhase::kWaiting;
  bool ever_started = false;
  bool failed = false;        // kTerminated: its last run did not end well
  bool due = false;           // kBackOff: the wait is over
  bool asked_to_end = false;  // kRunning: has got its SIGTERM
};

// What to do now; containers by their place in the pod: init containers, then app containers.
struct PodStep {
  std::vector<size_t> start;
  std::vector<size_t> stop;           // ask to end
  bool ending = false;                // nothing will be started any more: ends are final
  bool stopped = false;               // ending, and no container runs
  std::optional<PodResult> terminal;  // stopped by itself: how it went
};

// The kubelet's order of things (kuberuntime_manager.go computePodActions, computeInitContainerActions,
// kuberuntime_termination_order.go). Pure.
// - Init containers one after the other; one-shot ones must end well before the next starts, sidecars must have been
//   started once. Then all app containers. A container that backs off is started when it is due.
// - The pod ends when it is asked to, when every app container is terminated, or when an init container failed for
//   good: first everything but sidecars is asked to end, then the sidecars, the last one first.
PodStep NextStep(const Pod& pod, const std::vector<ContainerProgress>& containers, bool asked_to_stop);

// What becomes of a container whose run ended: kBackOff or kTerminated. `init`: it is an init container.
// Of an adopted process nobody knows how it ended (exit.known is false): an init container is run again, whatever the
// policy, and an app container counts as failed.
ContainerPhase PhaseAfterExit(const Pod& pod, const Container& container, bool init, const ExitStatus& exit);

// The kubelet's back-off of one container (client-go util/flowcontrol/backoff.go): the first restart is immediate, the
// next wait `base` from the end of the last run, then twice as long each time up to `max`; forgotten when a run lasted
// longer than `reset`.
class RestartBackOff {
 public:
  RestartBackOff(absl::Duration base, absl::Duration max, absl::Duration reset)
      : base_(base), max_(max), reset_(reset) {}
  // How long to wait after a run that ended at `now`.
  absl::Duration WaitAfter(absl::Time now) const {
    return now - last_restart_ <= reset_ ? wait_ : absl::ZeroDuration();
  }
  // A restart happens at `now`, of a run that ended at `ended`.
  void Restarted(absl::Time ended, absl::Time now) {
    wait_ = ended - last_restart_ <= reset_ ? std::min(2 * wait_, max_) : base_;
    last_restart_ = now;
  }

 private:
  absl::Duration base_;
  absl::Duration max_;
  absl::Duration reset_;
  absl::Duration wait_;
  absl::Time last_restart_ = absl::InfinitePast();
};

}  // namespace podfence
