#pragma once

// The runtime room: what runs the containers (local.h starts their processes itself; NRI follows a container runtime).
// It knows pods, cgroups' handles and processes; which CPUs a container gets, and its cgroup's fence, are not its
// business: it asks for a ready cgroup before each start.

#include <sys/types.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "agent/cgroup/cgroup.h"
#include "agent/core/pod.h"

namespace podfence {

enum class ContainerPhase {
  kWaiting,  // not started yet: earlier init containers come first
  kRunning,
  kBackOff,     // ended, will be started again
  kTerminated,  // ended for good
};
std::string_view ContainerPhaseName(ContainerPhase phase);

// How a process ended. Of an adopted process, which is not our child, nothing can be known: then `known` is false.
struct ExitStatus {
  bool known = true;
  int code = 0;        // exit code; 128 + signal where a signal ended it
  int signal = 0;      // 0: it exited by itself
  std::string detail;  // why it could not be started, where that is the reason
  bool ok() const { return known && code == 0; }
};

// One container as it stands.
struct ContainerRun {
  std::string uid;  // of the pod
  std::string name;
  ContainerPhase phase = ContainerPhase::kWaiting;
  pid_t pid = 0;            // the main process while it runs
  uint64_t cgroup_id = 0;   // while it runs
  std::string cgroup_path;  // absolute, while it runs
  int restarts = 0;
  absl::Time started;                   // of the last start; InfinitePast: never
  std::optional<ExitStatus> last_exit;  // of the last run that ended
  std::string message;                  // why it waits or ended, for people
};

enum class PodResult { kSucceeded, kFailed };

// What a runtime tells and asks its owner. All run on the event loop's thread; none may call back into the runtime
// but for reading. Every one must be set.
struct RuntimeCallbacks {
  // Gives the container's own fenced, empty cgroup; right before each start. An error is taken as a failed start and
  // tried again after the back-off.
  std::function<absl::StatusOr<Cgroup>(const std::string& uid, const std::string& container)> prepare_cgroup;
  // Gives the cgroup of an earlier start; NotFound where there is none. For adoption.
  std::function<absl::StatusOr<Cgroup>(const std::string& uid, const std::string& container)> find_cgroup;
  std::function<void(const std::string& uid, const std::string& container)> on_started;
  std::function<void(const std::string& uid, const std::string& container, const ExitStatus& exit)> on_exited;
  // No container of the pod will run again (restart policy): its CPUs are free.
  std::function<void(const std::string& uid, PodResult phase)> on_pod_terminal;
  // A stop that was asked for is complete: no process of the pod lives.
  std::function<void(const std::string& uid)> on_pod_stopped;
};

// The part that every runtime has.
class Runtime {
 public:
  virtual ~Runtime() = default;
  // Every container of every pod it knows, by UID, then in the pod's order.
  virtual std::vector<ContainerRun> Containers() const = 0;
};

}  // namespace podfence
