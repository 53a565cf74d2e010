#pragma once

#include <systemd/sd-event.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "agent/cgroup/cgroup.h"
#include "agent/runtime/event_source.h"
#include "agent/runtime/launch.h"
#include "agent/runtime/local.h"
#include "agent/runtime/log_file.h"
#include "agent/runtime/pod_progress.h"
#include "agent/runtime/record.h"

namespace podfence {

// What the pods of one LocalRuntime share.
struct LocalContext {
  sd_event* loop = nullptr;
  LocalRuntimeOptions options;
  RuntimeCallbacks callbacks;
  RecordStore records;
  // Ends the pod's object, as its last act: no process of it lives.
  std::function<void(const std::string& uid)> pod_over;
};

// Where the pod's containers log.
std::string LogDirectory(const LocalContext& context, const Pod& pod);

// One container's process through its runs: start, exit, the end of what it left behind, back-off. It decides nothing
// about order; `on_change` tells its pod that there is something to decide.
class LocalContainer {
 public:
  LocalContainer(LocalContext& context, const Pod& pod, const Container& container, bool init,
                 std::function<void()> on_change);

  // Goes on where an earlier agent left off: reads the record, and adopts what lives in the cgroup.
  absl::Status Restore();
  // Starts it: a failure is noted and backs off, as a failed run does.
  void Start();
  // SIGTERM to the main process.
  void AskToEnd();
  // SIGKILL to everything in its cgroup.
  void Kill();
  // No start is to come any more: a container that does not run is over.
  void GiveUp();
  void BoundLog();

  ContainerProgress Progress() const;
  const ContainerRun& status() const { return status_; }

 private:
  bool running() const { return status_.phase == ContainerPhase::kRunning; }
  absl::Status TryStart();
  absl::Status Watch(pid_t pid, UniqueFd pidfd);
  void OnProcessEnd();
  void EndLeftovers();
  void FinishRun();
  void FailStart(const absl::Status& status);
  void SetPhase(const ExitStatus& exit);
  void WaitForRestart();
  void SaveRecord(std::optional<ContainerRecord::Process> process);
  pid_t FindMainProcess(const ContainerRecord* record) const;
  std::string Name() const;

  LocalContext& context_;
  const Pod& pod_;
  const Container& container_;
  const bool init_;
  std::function<void()> on_change_;
  ContainerRun status_;
  LogFile log_;
  RestartBackOff back_off_;
  absl::Time run_end_;
  bool due_ = false;
  bool asked_to_end_ = false;

  // Of the present run.
  Command command_;
  std::optional<Cgroup> cgroup_;
  UniqueFd pidfd_;
  UniqueFd error_pipe_;
  UniqueFd events_;
  std::optional<ExitStatus> exit_;  // the main process ended; what it left behind may still live
  EventSource exit_source_;
  EventSource events_source_;
  EventSource timer_;
};

// One pod: starts and ends its containers in the kubelet's order.
class LocalPod {
 public:
  LocalPod(LocalContext& context, std::shared_ptr<const Pod> pod);
  // Restores every container and makes the first step from the loop.
  absl::Status Begin();
  void Stop();
  const Pod& pod() const { return *pod_; }
  void BoundLogs();
  void AppendStatus(std::vector<ContainerRun>& statuses) const;

 private:
  void Schedule();
  void Step();
  std::vector<ContainerProgress> Progress() const;
  void ArmGracePeriod();

  LocalContext& context_;
  std::shared_ptr<const Pod> pod_;
  std::vector<std::unique_ptr<LocalContainer>> containers_;
  bool stopping_ = false;
  bool told_terminal_ = false;
  EventSource step_;
  EventSource grace_;
};

}  // namespace podfence
