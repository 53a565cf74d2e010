#pragma once

#include <systemd/sd-event.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/runtime/runtime.h"

namespace podfence {

struct LocalRuntimeOptions {
  std::string state_dir;  // records of what was started: <state_dir>/containers/<uid>/<container>
  std::string log_dir;    // <log_dir>/<namespace>_<pod>_<uid>/<container>.log, the one before it with ".1"
  std::string proc_root = "/proc";
  uint64_t max_log_bytes = 10 << 20;  // of each of the two files (kubelet: containerLogMaxSize 10Mi)
  absl::Duration log_check_period = absl::Seconds(10);
  // kubelet.go: 10 s, doubled up to 5 min, forgotten after 10 min of running.
  absl::Duration backoff_base = absl::Seconds(10);
  absl::Duration backoff_max = absl::Minutes(5);
  absl::Duration backoff_reset = absl::Minutes(10);
};

// Runs pods as plain processes: each container's command in its own cgroup from its first instruction, in a session
// of its own. There are no images and no namespaces: a container without a command cannot be started, since the
// image's entrypoint is not known here (Check says so).
//
// The kubelet's order (kuberuntime_manager.go computeInitContainerActions): init containers one after the other,
// sidecars among them started in their place and kept up, then the app containers together. A failed one-shot init
// container ends the pod under restart policy Never, else it is repeated. When all app containers are done for good
// the sidecars are stopped in reverse order, and the pod is Succeeded or Failed.
//
// Processes outlive the agent. A new agent adopts them: AddPod finds the container's cgroup populated and goes on from
// the record. An adopted process's exit status cannot be known (it is another's child): an init container is then
// run again, an app container is taken as failed.
//
// On the thread of the sd_event loop alone. No call waits for a process.
class LocalRuntime : public Runtime {
 public:
  // The loop must outlive the runtime. Errors: the directories cannot be made.
  static absl::StatusOr<std::unique_ptr<LocalRuntime>> Create(sd_event* loop, LocalRuntimeOptions options,
                                                              RuntimeCallbacks callbacks);
  ~LocalRuntime() override;  // leaves all processes running

  // Whether the pod can run here at all: InvalidArgument names the container without a command.
  static absl::Status Check(const Pod& pod);
  // Notices for a person about what of the pod has no meaning here (images are not pulled).
  static std::string Notice(const Pod& pod);

  // Starts the pod, or goes on with it where an earlier agent left it. Starting happens from the loop, after return.
  // InvalidArgument as Check, or for a uid that is no name of a directory; AlreadyExists for a UID that is known and
  // not stopped.
  absl::Status AddPod(std::shared_ptr<const Pod> pod);
  // Ends the pod: SIGTERM to each container's main process, sidecars last; after the pod's grace period all are
  // killed. on_pod_stopped follows; the pod's records and logs are removed. Idempotent; NotFound for an unknown UID.
  absl::Status StopPod(std::string_view uid);
  // How the pod ended, where an earlier agent's records say that it is over: it need not be admitted again.
  absl::StatusOr<std::optional<PodResult>> EndedAs(const Pod& pod) const;
  // Forgets the records of pods that are none of `uids`: once, after the start.
  absl::Status DropOldRecords(const std::vector<std::string>& uids);

  std::vector<ContainerRun> Containers() const override;

 private:
  struct Impl;
  explicit LocalRuntime(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace podfence
