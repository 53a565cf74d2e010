#include "agent/nri/plugin.h"

#include <algorithm>
#include <utility>

#include "agent/core/text.h"
#include "agent/nri/calls.h"
#include "agent/nri/events.h"
#include "agent/nri/link.h"
#include "agent/nri/mux.h"
#include "agent/nri/service.h"
#include "agent/nri/ttrpc.h"
#include "agent/runtime/event_source.h"

namespace podfence {
namespace {

constexpr char kPluginService[] = "nri.pkg.api.v1alpha1.Plugin";
constexpr char kRuntimeService[] = "nri.pkg.api.v1alpha1.Runtime";

// A runtime that does not know an event we subscribe to closes the connection at once (plugin.go configure). Twice in
// a row, for it may as well have ended just then.
constexpr absl::Duration kRefusal = absl::Seconds(1);
constexpr int kRefusals = 2;

bool IsName(std::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' ||
           c == '+' || c == '-';
  });
}

bool IsIndex(std::string_view index) {
  return index.size() == 2 && index.find_first_not_of("0123456789") == std::string_view::npos;
}

absl::Status Check(const NriOptions& options, const NriHandlers& handlers) {
  const auto bad = [](const std::string& what) { return absl::InvalidArgumentError(Cat("NRI plugin: ", what)); };
  // containerd/nri pkg/api/plugin.go CheckPluginName, CheckPluginIndex.
  if (!IsName(options.name)) return bad(Cat("name \"", options.name, "\": letters, digits and _.+- are allowed"));
  if (!IsIndex(options.index)) return bad(Cat("index \"", options.index, "\": two digits are wanted"));
  if (options.socket.empty()) return bad("the socket's path is empty");
  if (options.reconnect_min <= absl::ZeroDuration() || options.reconnect_max < options.reconnect_min) {
    return bad("reconnect_min must be above 0, and reconnect_max not below it");
  }
  if (options.registration_timeout <= absl::ZeroDuration() || options.update_timeout <= absl::ZeroDuration()) {
    return bad("timeouts must be above 0");
  }
  // No bit at all would subscribe to all events, those of a newer NRI included.
  if ((NriWantedEvents(handlers) & kNriOldEvents) == 0) return bad("no handler of a pod's or container's event");
  return absl::OkStatus();
}

// One connection to the runtime.
struct Session {
  Session(const NriHandlers* handlers, NriStatistics* statistics, const std::string& old_runtime)
      : service(handlers, statistics, old_runtime),
        server(kPluginService, kMuxQueue * kMuxMaxSend,
               [this](const TtrpcRequest& request) { return service.Answer(request.method, request.payload); }),
        client(kRuntimeService) {}
  Session(const NriHandlers* handlers, NriStatistics* statistics, const NriSession& from)
      : service(handlers, statistics,
                NriConfigureRequest{.runtime_name = from.runtime_name,
                                    .runtime_version = from.runtime_version,
                                    .nri_version = from.nri_version,
                                    .request_timeout = from.request_timeout},
                from.events),
        server(
            kPluginService, kMuxQueue * kMuxMaxSend,
            [this](const TtrpcRequest& request) { return service.Answer(request.method, request.payload); },
            from.last_stream),
        client(kRuntimeService, from.next_stream) {}

  NriService service;
  TtrpcServer server;
  TtrpcClient client;
  MuxDecoder mux;
  TtrpcDecoder calls;    // of the runtime
  TtrpcDecoder replies;  // to ours
  std::unique_ptr<NriLink> link;
  absl::Duration since = absl::ZeroDuration();       // connected
  absl::Duration configured = absl::ZeroDuration();  // answered Configure
  absl::Status registration;                         // the runtime's answer to RegisterPlugin

  void Send(uint32_t stream, std::string_view message) const {
    std::string frames;
    AppendMuxFrames(stream, message, frames);
    link->Send(frames);
  }
};

}  // namespace

struct NriPlugin::Impl {
  sd_event* loop = nullptr;
  NriOptions options;
  NriHandlers handlers;
  NriConnection connection;
  NriStatistics statistics;
  std::unique_ptr<Session> session;
  absl::Duration delay = absl::ZeroDuration();  // before the next try but one
  absl::Duration registered = absl::ZeroDuration();
  std::string old_runtime;
  int refusals = 0;
  EventSource retry;
  EventSource deadline;

  absl::Duration Now() const;
  void At(const EventSource& timer, absl::Duration moment) const;
  void ArmDeadline() const;
  absl::Status MakeTimers();
  void Connect();
  absl::Status Adopt(NriSession from);
  void TakeRuntime();
  void TakeRegistration();
  void TryAgain(const absl::Status& reason);
  void Register();
  absl::Status OnData(std::string_view bytes);
  absl::Status OnCall(const TtrpcMessage& message);
  void OnDeadline();
  void End(const absl::Status& reason);
  void LearnFromRefusal();
};

// Since any moment; the loop's, which does not move within one of its turns.
absl::Duration NriPlugin::Impl::Now() const {
  uint64_t usec = 0;
  sd_event_now(loop, CLOCK_MONOTONIC, &usec);
  return absl::Microseconds(usec);
}

void NriPlugin::Impl::At(const EventSource& timer, absl::Duration moment) const {
  sd_event_source_set_time(timer.get(), static_cast<uint64_t>(absl::ToInt64Microseconds(moment)));
  sd_event_source_set_enabled(timer.get(), SD_EVENT_ONESHOT);
}

void NriPlugin::Impl::ArmDeadline() const {
  absl::Duration next = absl::InfiniteDuration();
  if (session != nullptr) {
    next = session->client.next_deadline();
    if (connection.state == NriState::kRegistering) {
      next = std::min(next, session->since + options.registration_timeout);
    }
  }
  if (next == absl::InfiniteDuration()) {
    sd_event_source_set_enabled(deadline.get(), SD_EVENT_OFF);
  } else {
    At(deadline, next);
  }
}

void NriPlugin::Impl::Connect() {
  session = std::make_unique<Session>(&handlers, &statistics, old_runtime);
  absl::StatusOr<std::unique_ptr<NriLink>> link = NriLink::Connect(
      loop, options.socket, [this](std::string_view bytes) { return OnData(bytes); },
      [this](const absl::Status& reason) { End(reason); });
  if (!link.ok()) {
    session.reset();
    TryAgain(link.status());
    return;
  }
  session->link = *std::move(link);
  session->since = Now();
  connection.state = NriState::kRegistering;
  Register();
  ArmDeadline();
}

absl::Status NriPlugin::Impl::Adopt(NriSession from) {
  session = std::make_unique<Session>(&handlers, &statistics, from);
  const uint32_t wanted = NriWantedEvents(handlers) & NriKnownEvents(*session->service.runtime());
  if ((wanted & ~from.events) != 0) {
    return absl::InvalidArgumentError("the NRI connection of the former agent has not all events that this one needs");
  }
  absl::StatusOr<std::unique_ptr<NriLink>> link = NriLink::Adopt(
      loop, std::move(from.socket), [this](std::string_view bytes) { return OnData(bytes); },
      [this](const absl::Status& reason) { End(reason); });
  if (!link.ok()) return link.status();
  session->link = *std::move(link);
  sd_event_source_set_enabled(retry.get(), SD_EVENT_OFF);
  TakeRuntime();
  TakeRegistration();
  return absl::OkStatus();
}

void NriPlugin::Impl::TakeRuntime() {
  const NriConfigureRequest& runtime = *session->service.runtime();
  session->configured = Now();
  connection.runtime_name = runtime.runtime_name;
  connection.runtime_version = runtime.runtime_version;
  connection.nri_version = runtime.nri_version;
  connection.request_timeout = runtime.request_timeout;
}

void NriPlugin::Impl::TakeRegistration() {
  connection.state = NriState::kRegistered;
  connection.validates = (session->service.events() & NriBit(NriEvent::kValidateContainerAdjustment)) != 0;
  connection.last_error = absl::OkStatus();
  ++connection.registrations;
  registered = Now();
  refusals = 0;
  if (handlers.on_connected) handlers.on_connected();
}

void NriPlugin::Impl::TryAgain(const absl::Status& reason) {
  connection.state = NriState::kDisconnected;
  connection.validates = false;
  connection.last_error = reason;
  At(retry, Now() + delay);
  delay = std::min(delay * 2, options.reconnect_max);
}

void NriPlugin::Impl::Register() {
  Session& current = *session;
  const absl::StatusOr<std::string> call = current.client.Call(
      "RegisterPlugin", EncodeNriRegister(options.name, options.index), Now(), absl::InfiniteDuration(),
      [&current](const absl::StatusOr<std::string>& reply) { current.registration = reply.status(); });
  if (call.ok()) current.Send(kMuxRuntimeService, *call);
  current.registration = call.status();
}

absl::Status NriPlugin::Impl::OnData(std::string_view bytes) {
  absl::Status status = session->mux.Feed(bytes, [this](uint32_t stream, std::string_view part) {
    if (stream == kMuxPluginService) {
      return session->calls.Feed(part, [this](const TtrpcMessage& message) { return OnCall(message); });
    }
    // The reference passes over streams that it does not know (mux.go reader).
    if (stream != kMuxRuntimeService) return absl::OkStatus();
    return session->replies.Feed(part, [this](const TtrpcMessage& message) {
      session->client.Handle(message);
      if (session->registration.ok()) return absl::OkStatus();
      return absl::Status(session->registration.code(),
                          Cat("the runtime refused to register the NRI plugin ", options.index, "-", options.name, ": ",
                              ToStd(session->registration.message())));
    });
  });
  ArmDeadline();
  return status;
}

absl::Status NriPlugin::Impl::OnCall(const TtrpcMessage& message) {
  Session& current = *session;
  const bool was_configured = current.service.runtime().has_value();
  const std::string reply = current.server.Handle(message);
  if (!reply.empty()) current.Send(kMuxPluginService, reply);
  if (current.service.runtime() && !was_configured) TakeRuntime();
  if (current.service.synchronized() && connection.state != NriState::kRegistered) TakeRegistration();
  return absl::OkStatus();
}

void NriPlugin::Impl::OnDeadline() {
  if (session == nullptr) return;
  const absl::Duration now = Now();
  if (connection.state == NriState::kRegistering && session->since + options.registration_timeout <= now) {
    End(absl::DeadlineExceededError(
        Cat("the runtime did not register us as an NRI plugin within ",
            ToStd(absl::FormatDuration(options.registration_timeout)),
            ": a stop of a container that takes that long holds it up, or another plugin")));
    return;
  }
  session->client.Expire(now);
  ArmDeadline();
}

void NriPlugin::Impl::LearnFromRefusal() {
  const NriService& service = session->service;
  const bool refused = service.runtime() && !service.accepted() && Now() - session->configured < kRefusal;
  refusals = refused ? refusals + 1 : 0;
  if (refusals < kRefusals) return;
  refusals = 0;
  // Should the older events not be it either, the next tries are as before.
  const std::string id = NriRuntimeId(*service.runtime());
  old_runtime = old_runtime == id ? std::string() : id;
}

void NriPlugin::Impl::End(const absl::Status& reason) {
  LearnFromRefusal();
  // Where the runtime closes since our answer was an error, that is the reason.
  const absl::Status why = session->service.failure().ok() ? reason : session->service.failure();
  const std::unique_ptr<Session> ended = std::move(session);
  const bool was_registered = connection.state == NriState::kRegistered;
  if (was_registered && Now() - registered >= options.reconnect_max) delay = options.reconnect_min;
  TryAgain(why);
  ArmDeadline();
  ended->client.Fail(absl::UnavailableError(
      Cat("the NRI connection ended: ", ToStd(why.message()), "; whether it was done is not known")));
  if (was_registered && handlers.on_disconnected) handlers.on_disconnected(why);
}

NriPlugin::NriPlugin(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
NriPlugin::~NriPlugin() = default;

absl::Status NriPlugin::Impl::MakeTimers() {
  sd_event_source* source = nullptr;
  const auto connect = [](sd_event_source*, uint64_t, void* self) {
    static_cast<Impl*>(self)->Connect();
    return 0;
  };
  int result = sd_event_add_time(loop, &source, CLOCK_MONOTONIC, 0, 1000, connect, this);
  if (result < 0) return absl::ErrnoToStatus(-result, "arm the timer of NRI's connection");
  retry = EventSource(source);
  const auto expire = [](sd_event_source*, uint64_t, void* self) {
    static_cast<Impl*>(self)->OnDeadline();
    return 0;
  };
  result = sd_event_add_time(loop, &source, CLOCK_MONOTONIC, 0, 1000, expire, this);
  if (result < 0) return absl::ErrnoToStatus(-result, "arm the timer of NRI's calls");
  deadline = EventSource(source);
  sd_event_source_set_enabled(source, SD_EVENT_OFF);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<NriPlugin>> NriPlugin::Create(sd_event* loop, NriOptions options, NriHandlers handlers) {
  if (absl::Status status = Check(options, handlers); !status.ok()) return status;
  auto impl = std::make_unique<Impl>();
  impl->loop = loop;
  impl->delay = options.reconnect_min;
  impl->options = std::move(options);
  impl->handlers = std::move(handlers);
  if (absl::Status status = impl->MakeTimers(); !status.ok()) return status;
  return std::unique_ptr<NriPlugin>(new NriPlugin(std::move(impl)));
}

absl::StatusOr<std::unique_ptr<NriPlugin>> NriPlugin::Resume(sd_event* loop, NriOptions options, NriHandlers handlers,
                                                             NriSession session) {
  absl::StatusOr<std::unique_ptr<NriPlugin>> plugin = Create(loop, std::move(options), std::move(handlers));
  if (!plugin.ok()) return plugin;
  if (absl::Status status = (*plugin)->impl_->Adopt(std::move(session)); !status.ok()) return status;
  return plugin;
}

absl::StatusOr<NriSession> NriPlugin::Detach() {
  Impl& impl = *impl_;
  if (impl.connection.state != NriState::kRegistered) {
    return absl::FailedPreconditionError("the runtime has not registered this agent's NRI plugin");
  }
  const Session& now = *impl.session;
  if (now.mux.within() || now.calls.within() || now.replies.within() || now.link->queued() || !now.client.idle()) {
    return absl::UnavailableError("a call of the runtime's is in progress");
  }
  const NriConfigureRequest& runtime = *now.service.runtime();
  NriSession given{.socket = now.link->Release(),
                   .runtime_name = runtime.runtime_name,
                   .runtime_version = runtime.runtime_version,
                   .nri_version = runtime.nri_version,
                   .request_timeout = runtime.request_timeout,
                   .events = now.service.events(),
                   .last_stream = now.server.last_stream(),
                   .next_stream = now.client.next_stream()};
  impl.session.reset();
  impl.connection.state = NriState::kDisconnected;
  sd_event_source_set_enabled(impl.deadline.get(), SD_EVENT_OFF);
  return given;
}

absl::Status NriPlugin::UpdateContainers(const std::vector<NriContainerUpdate>& updates, UpdateCallback done) {
  Impl& impl = *impl_;
  if (updates.empty()) return absl::InvalidArgumentError("update containers by NRI: no update given");
  for (const NriContainerUpdate& update : updates) {
    if (update.id.empty()) return absl::InvalidArgumentError("update containers by NRI: an update without an id");
  }
  if (impl.connection.state != NriState::kRegistered) {
    return absl::FailedPreconditionError(
        "update containers by NRI: not registered with the runtime; its next "
        "synchronization asks for all updates");
  }
  const absl::StatusOr<std::string> call =
      impl.session->client.Call("UpdateContainers", EncodeNriUpdates(updates), impl.Now(), impl.options.update_timeout,
                                [done = std::move(done)](const absl::StatusOr<std::string>& reply) {
                                  done(reply.ok() ? ParseNriUpdates(*reply) : reply.status());
                                });
  if (!call.ok()) return call.status();
  impl.session->Send(kMuxRuntimeService, *call);
  impl.ArmDeadline();
  return absl::OkStatus();
}

const NriConnection& NriPlugin::connection() const { return impl_->connection; }
const NriStatistics& NriPlugin::statistics() const { return impl_->statistics; }

}  // namespace podfence
