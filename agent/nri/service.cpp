#include "agent/nri/service.h"

#include <chrono>
#include <iterator>
#include <utility>

#include "agent/core/text.h"
#include "agent/nri/events.h"

namespace podfence {
namespace {

template <typename T>
void Append(std::vector<T>&& from, std::vector<T>& to) {
  to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
}

template <typename Handler, typename... Arguments>
absl::Status Call(const Handler& handler, const Arguments&... arguments) {
  return handler == nullptr ? absl::OkStatus() : handler(arguments...);
}

template <typename Handler, typename... Arguments>
absl::StatusOr<std::string> CallForUpdates(const Handler& handler, const Arguments&... arguments) {
  if (handler == nullptr) return std::string();
  const absl::StatusOr<std::vector<NriContainerUpdate>> updates = handler(arguments...);
  if (!updates.ok()) return updates.status();
  return EncodeNriUpdates(*updates);
}

// A runtime takes Unimplemented for a plugin that has no such call, and asks it by StateChange instead
// (containerd/nri pkg/adaptation/plugin_type.go): a handler's error must not look like that.
absl::Status AsError(const absl::Status& status) {
  return absl::IsUnimplemented(status) ? absl::InternalError(status.message()) : status;
}

}  // namespace

std::string NriRuntimeId(const NriConfigureRequest& runtime) {
  return Cat(runtime.runtime_name, " ", runtime.runtime_version);
}

NriService::NriService(const NriHandlers* handlers, NriStatistics* statistics, std::string old_runtime)
    : handlers_(handlers), statistics_(statistics), old_runtime_(std::move(old_runtime)) {}

NriService::NriService(const NriHandlers* handlers, NriStatistics* statistics, NriConfigureRequest runtime,
                       uint32_t events)
    : handlers_(handlers),
      statistics_(statistics),
      runtime_(std::move(runtime)),
      events_(events),
      accepted_(true),
      synchronized_(true) {}

absl::StatusOr<std::string> NriService::Answer(std::string_view method, std::string_view payload) {
  const auto since = std::chrono::steady_clock::now();
  const std::optional<NriEvent> event = NriEventOf(method);
  rejected_ = false;
  std::string_view counted = method;
  absl::StatusOr<std::string> reply;
  if (event == NriEvent::kValidateContainerAdjustment) {
    reply = Validate(payload);
  } else if (event) {
    const absl::StatusOr<NriEventRequest> request = ParseNriEvent(*event, payload);
    reply = request.ok() ? Event(*event, *request) : request.status();
  } else if (method == "StateChange") {
    const absl::StatusOr<NriStateChange> change = ParseNriStateChange(payload);
    if (change.ok()) {
      const auto told = static_cast<NriEvent>(change->event);
      if (!NriMethodOf(told).empty()) counted = NriMethodOf(told);
      const absl::Status status = Tell(told, change->request);
      reply = status.ok() ? absl::StatusOr<std::string>(std::string()) : status;
    } else {
      reply = change.status();
    }
  } else if (method == "Configure") {
    reply = Configure(payload);
  } else if (method == "Synchronize") {
    reply = Synchronize(payload);
  } else if (method == "Shutdown") {
    reply = std::string();  // the runtime ends: the connection will
  } else {
    return absl::UnimplementedError(Cat("method ", method));
  }
  if (!reply.ok()) reply = AsError(reply.status());
  const auto took = absl::FromChrono(std::chrono::steady_clock::now() - since);
  (*statistics_)[std::string(counted)].Add(took, !reply.ok() || rejected_);
  return reply;
}

absl::StatusOr<std::string> NriService::Configure(std::string_view payload) {
  absl::StatusOr<NriConfigureRequest> request = ParseNriConfigure(payload);
  if (!request.ok()) return request.status();
  runtime_ = *std::move(request);
  const bool refused = NriRuntimeId(*runtime_) == old_runtime_;
  events_ = NriWantedEvents(*handlers_) & (refused ? kNriOldEvents : NriKnownEvents(*runtime_));
  if (handlers_->on_configure) handlers_->on_configure(runtime_->runtime_name, runtime_->runtime_version);
  return EncodeNriConfigureReply(static_cast<int32_t>(events_));
}

absl::StatusOr<std::string> NriService::Synchronize(std::string_view payload) {
  accepted_ = true;
  // What cannot be taken whole is not taken at all: the connection ends, and the next one synchronizes anew.
  const auto fail = [this](const absl::Status& status) {
    failure_ = AsError(status);
    return failure_;
  };
  state_size_ += payload.size();
  if (state_size_ > kMaxSynchronize) {
    return fail(absl::ResourceExhaustedError(
        Cat("NRI Synchronize: more than ", kMaxSynchronize, " bytes of pods and containers in the runtime")));
  }
  absl::StatusOr<NriSynchronizeRequest> part = ParseNriSynchronize(payload);
  if (!part.ok()) return fail(part.status());
  Append(std::move(part->pods), state_.pods);
  Append(std::move(part->containers), state_.containers);
  if (part->more) return EncodeNriSynchronizeReply({}, true);
  const NriSynchronizeRequest state = std::exchange(state_, {});
  state_size_ = 0;
  std::vector<NriContainerUpdate> updates;
  if (handlers_->on_synchronize) {
    absl::StatusOr<std::vector<NriContainerUpdate>> answer = handlers_->on_synchronize(state.pods, state.containers);
    if (!answer.ok()) return fail(answer.status());
    updates = *std::move(answer);
  }
  synchronized_ = true;
  return EncodeNriSynchronizeReply(updates, false);
}

absl::StatusOr<std::string> NriService::Validate(std::string_view payload) {
  const absl::StatusOr<NriValidation> validation = ParseNriValidation(payload);
  if (!validation.ok()) return validation.status();
  const absl::Status verdict = Call(handlers_->validate_adjustment, *validation);
  rejected_ = !verdict.ok();
  return EncodeNriValidationReply(verdict);
}

absl::StatusOr<std::string> NriService::Event(NriEvent event, const NriEventRequest& request) {
  const NriHandlers& to = *handlers_;
  switch (event) {
    case NriEvent::kCreateContainer: {
      if (!to.create_container) return std::string();
      const absl::StatusOr<NriCreateReply> reply = to.create_container(request.pod, request.container);
      if (!reply.ok()) return reply.status();
      return EncodeNriCreateReply(*reply);
    }
    case NriEvent::kUpdateContainer:
      return CallForUpdates(to.update_container, request.pod, request.container,
                            request.resources.value_or(NriResources{}));
    case NriEvent::kStopContainer: return CallForUpdates(to.stop_container, request.pod, request.container);
    default: {
      const absl::Status told = Tell(event, request);
      if (!told.ok()) return told;
      return std::string();
    }
  }
}

// The events whose reply says no more than that they were taken; one of the future is passed over, as the reference's
// plugin does it (containerd/nri pkg/stub/stub.go StateChange).
absl::Status NriService::Tell(NriEvent event, const NriEventRequest& request) {
  const NriHandlers& to = *handlers_;
  switch (event) {
    case NriEvent::kRunPodSandbox: return Call(to.run_pod_sandbox, request.pod);
    case NriEvent::kStopPodSandbox: return Call(to.stop_pod_sandbox, request.pod);
    case NriEvent::kRemovePodSandbox: return Call(to.remove_pod_sandbox, request.pod);
    case NriEvent::kUpdatePodSandbox:
      return Call(to.update_pod_sandbox, request.pod, request.overhead, request.resources);
    case NriEvent::kPostUpdatePodSandbox: return Call(to.post_update_pod_sandbox, request.pod);
    case NriEvent::kPostCreateContainer: return Call(to.post_create_container, request.pod, request.container);
    case NriEvent::kStartContainer: return Call(to.start_container, request.pod, request.container);
    case NriEvent::kPostStartContainer: return Call(to.post_start_container, request.pod, request.container);
    case NriEvent::kPostUpdateContainer: return Call(to.post_update_container, request.pod, request.container);
    case NriEvent::kRemoveContainer: return Call(to.remove_container, request.pod, request.container);
    default: return absl::OkStatus();
  }
}

}  // namespace podfence
