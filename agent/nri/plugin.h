#pragma once

#include <systemd/sd-event.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "agent/cgroup/unique_fd.h"
#include "agent/nri/statistics.h"
#include "agent/nri/values.h"

namespace podfence {

// The room nri: Podfence as an NRI plugin of containerd or CRI-O, over the runtime's socket. It knows NRI's wire and
// nothing of what is decided: it may use core alone. Data comes up mux.h (frames) → ttrpc.h (calls) → messages.h
// (values) → plugin.h (the session), and answers go the same way down.

struct NriOptions {
  // The runtime makes it anew at each of its starts: where the agent is a container, mount the directory.
  std::string socket = "/var/run/nri/nri.sock";
  // What the runtime's required_plugins and its logs call us: "90-podfence" or "podfence". Two digits: plugins are
  // called in the order of their index, and those that set the same field after us make the creation fail.
  std::string name = "podfence";
  std::string index = "90";
  // Between tries to connect: doubled from the first to the last. A registration that held for longer than
  // `reconnect_max` starts from `reconnect_min` again.
  absl::Duration reconnect_min = absl::Milliseconds(100);
  absl::Duration reconnect_max = absl::Seconds(5);
  // From the connection to the end of the synchronization. Not short: the runtime first waits for every stop that is
  // in progress, for as long as the grace period of the pod (containerd cri/server/container_stop.go), and starting
  // over would only wait again.
  absl::Duration registration_timeout = absl::Minutes(10);
  absl::Duration update_timeout = absl::Seconds(10);  // for UpdateContainers
};

// Called on the loop's thread. They answer from memory, at once: the runtime holds a lock meanwhile, and after its
// request timeout (2 s) drops the plugin and goes on WITHOUT it. A handler that is not set is answered with "nothing
// to change", and its event is not subscribed to.
//
// An error fails the call of the runtime (the sandbox, the create, the start), and its message is what the kubelet
// shows: it must hold the whole reason. Handlers may call UpdateContainers (it does not wait) and must not destroy the
// plugin.
struct NriHandlers {
  // The runtime is known: before the synchronization.
  std::function<void(const std::string& runtime_name, const std::string& runtime_version)> on_configure;
  // Everything that lives in the runtime, after each (re)connection; exited containers are left out. The answer are
  // updates. An error drops the connection, which is then tried again.
  std::function<absl::StatusOr<std::vector<NriContainerUpdate>>(const std::vector<NriPod>& pods,
                                                                const std::vector<NriContainer>& containers)>
      on_synchronize;

  std::function<absl::Status(const NriPod& pod)> run_pod_sandbox;
  std::function<absl::Status(const NriPod& pod)> stop_pod_sandbox;
  std::function<absl::Status(const NriPod& pod)> remove_pod_sandbox;
  // Before a resize of the pod; the resources are nullopt where not said.
  std::function<absl::Status(const NriPod& pod, const std::optional<NriResources>& overhead,
                             const std::optional<NriResources>& resources)>
      update_pod_sandbox;
  // After it, but before the kubelet writes the pod's cgroup (kuberuntime_manager.go): too early for a repair.
  std::function<absl::Status(const NriPod& pod)> post_update_pod_sandbox;

  std::function<absl::StatusOr<NriCreateReply>(const NriPod& pod, const NriContainer& container)> create_container;
  // An error rejects the creation with that reason. Where the runtime has it (NriConnection::validates) a missing
  // answer fails the creation too, which makes create_container fail closed.
  std::function<absl::Status(const NriValidation& validation)> validate_adjustment;
  std::function<absl::Status(const NriPod& pod, const NriContainer& container)> post_create_container;
  std::function<absl::Status(const NriPod& pod, const NriContainer& container)> start_container;
  std::function<absl::Status(const NriPod& pod, const NriContainer& container)> post_start_container;
  // `wanted` is what the caller (the kubelet's resize) asks for; the answer may name the same container to change it.
  std::function<absl::StatusOr<std::vector<NriContainerUpdate>>(const NriPod& pod, const NriContainer& container,
                                                                const NriResources& wanted)>
      update_container;
  std::function<absl::Status(const NriPod& pod, const NriContainer& container)> post_update_container;
  // Also comes for a create that was refused, and may come after the create of the same container's next incarnation.
  std::function<absl::StatusOr<std::vector<NriContainerUpdate>>(const NriPod& pod, const NriContainer& container)>
      stop_container;
  std::function<absl::Status(const NriPod& pod, const NriContainer& container)> remove_container;

  std::function<void()> on_connected;  // registered, configured and synchronized: events flow from here
  std::function<void(const absl::Status& reason)> on_disconnected;  // once for each on_connected
};

enum class NriState {
  kDisconnected,  // waiting for the next try
  kRegistering,   // connected; the runtime has not synchronized us yet
  kRegistered,    // events come
};

// How things stand with the runtime, for status and metrics.
struct NriConnection {
  NriState state = NriState::kDisconnected;
  std::string runtime_name;  // of the present or last connection; empty before the first
  std::string runtime_version;
  std::string nri_version;  // as the runtime says it, since NRI 0.12; else empty
  bool validates = false;   // ValidateContainerAdjustment is subscribed to: creation fails closed
  absl::Duration request_timeout = absl::ZeroDuration();  // the runtime's, for one handler; 0 where not said
  uint64_t registrations = 0;
  absl::Status last_error;  // why the last connection ended or the last try failed; OK after a registration
};

// A registered connection without its plugin, between two calls: what another process needs to go on with it. To
// register anew the runtime would wait for every stop that is in progress, and let nothing start meanwhile.
struct NriSession {
  UniqueFd socket = {};
  std::string runtime_name = {};
  std::string runtime_version = {};
  std::string nri_version = {};
  absl::Duration request_timeout = absl::ZeroDuration();
  uint32_t events = 0;       // a mask: what was subscribed to
  uint32_t last_stream = 0;  // ttrpc's, of the runtime's last call
  uint32_t next_stream = 1;  // and of ours
};

class NriPlugin {
 public:
  // Connects from the loop, not from here, and goes on trying for ever. The loop must outlive the plugin. Errors:
  // InvalidArgument for a name, index, socket path or bound that cannot be.
  static absl::StatusOr<std::unique_ptr<NriPlugin>> Create(sd_event* loop, NriOptions options, NriHandlers handlers);
  // Goes on with a session: nothing is registered or synchronized. Also InvalidArgument where the handlers want events
  // of this runtime that the session has not.
  static absl::StatusOr<std::unique_ptr<NriPlugin>> Resume(sd_event* loop, NriOptions options, NriHandlers handlers,
                                                           NriSession session);
  ~NriPlugin();  // closes the connection; on_disconnected is not called

  // What the runtime could not change of the updates; empty where all was done or silently skipped. Errors:
  // DeadlineExceeded (what became of it is not known), Unavailable when the connection ended, or the runtime's own.
  using UpdateCallback = std::function<void(absl::StatusOr<std::vector<NriContainerUpdate>> failed)>;
  // An update that answers no event. Sent from the loop; the runtime takes the lock of its events for it, so the reply
  // only comes after the event in progress: `done` is called from the loop later, exactly once, unless the plugin is
  // destroyed before. Errors (then `done` is not called): FailedPrecondition while not registered, InvalidArgument for
  // no updates or one without an id, ResourceExhausted when it is too large or too many wait.
  absl::Status UpdateContainers(const std::vector<NriContainerUpdate>& updates, UpdateCallback done);

  // Gives the connection away; this plugin does nothing any more. FailedPrecondition where it is not registered,
  // Unavailable in the middle of a call: a moment later it is possible.
  absl::StatusOr<NriSession> Detach();

  const NriConnection& connection() const;
  const NriStatistics& statistics() const;

 private:
  struct Impl;
  explicit NriPlugin(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace podfence
