#include "agent/kubernetes/node_reporter.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <deque>
#include <mutex>
#include <optional>
#include <utility>
#include <variant>

#include "agent/core/text.h"
#include "agent/kubernetes/http_client.h"
#include "agent/kubernetes/report.h"
#include "agent/kubernetes/retry.h"
#include "agent/kubernetes/worker.h"

namespace podfence {
namespace {

constexpr size_t kMostWaiting = 256;
constexpr HttpClient::Limits kLimits{.bytes = size_t{4} << 20, .time = absl::Seconds(10)};

// A pod that is to become Failed.
struct Rejection {
  PodReference pod;  // uid is the API's own
  std::string reason;
  std::string message;
};
// An event, and what of it was tried already: a try that did not look successful may have arrived.
struct EventReport {
  EventContent content;
  std::optional<EventBook::Step> step;
};
using Report = std::variant<Rejection, EventReport>;

bool IsEvent(const Report& report) { return std::holds_alternative<EventReport>(report); }

std::string Describe(const Report& report) {
  if (const auto* event = std::get_if<EventReport>(&report)) {
    return Cat("event ", event->content.reason, " of pod ", event->content.pod.ns, "/", event->content.pod.name);
  }
  const auto& rejection = std::get<Rejection>(report);
  return Cat("status ", rejection.reason, " of pod ", rejection.pod.ns, "/", rejection.pod.name);
}

// Worth another try; else the server will not take it, however often it is asked.
bool IsPassing(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) || absl::IsResourceExhausted(status) ||
         absl::IsUnauthenticated(status) || absl::IsFailedPrecondition(status);
}

// A namespace that ends takes nothing new, and says so by the same code as a missing rule.
bool IsMissingRule(const absl::Status& status) {
  return absl::IsPermissionDenied(status) && status.message().find("is being terminated") == absl::string_view::npos;
}

}  // namespace

struct NodeReporter::Impl {
  explicit Impl(NodeReporterOptions given)
      : node(std::move(given.node_name)), back_off(given.retry), client(std::move(given.api)) {}
  ~Impl() {
    worker->Join([this] {
      pause.Stop();
      client.Interrupt();
    });
  }

  const std::string node;
  // Of the thread alone.
  BackOff back_off;
  EventBook book;
  HttpClient client;
  Pause pause;
  // Of both.
  mutable std::mutex mutex;
  std::deque<Report> waiting;
  NodeReporterStatus status;
  std::unique_ptr<Worker> worker;

  void Add(Report report);
  std::optional<Report> TakeNext();
  void PutBack(Report report);
  void Run();
  bool Deliver(Report& report);
  absl::Status Send(const Rejection& rejection);
  absl::Status Send(EventReport& event);
  absl::Status SendStep(const EventContent& event, const EventBook::Step& step);
  absl::Status Ask(std::string_view what, const HttpClient::Request& request);
  void NoteForbidden(const Report& report, const absl::Status& why);
};

void NodeReporter::Impl::Add(Report report) {
  {
    const std::lock_guard lock(mutex);
    if (const auto* rejection = std::get_if<Rejection>(&report)) {
      // The newest reason is enough.
      std::erase_if(waiting, [&](const Report& other) {
        const auto* earlier = std::get_if<Rejection>(&other);
        return earlier != nullptr && earlier->pod.uid == rejection->pod.uid;
      });
    }
    if (waiting.size() >= kMostWaiting) {
      // An event explains, a status makes controllers act: events go first.
      const auto event = std::find_if(waiting.begin(), waiting.end(), IsEvent);
      waiting.erase(event == waiting.end() ? waiting.begin() : event);
      ++status.dropped;
    }
    waiting.push_back(std::move(report));
  }
  pause.Poke();
}

// Statuses before events: they make controllers act, and a server may keep its events elsewhere, where they fail alone.
std::optional<Report> NodeReporter::Impl::TakeNext() {
  const std::lock_guard lock(mutex);
  if (waiting.empty()) return std::nullopt;
  auto next = std::find_if_not(waiting.begin(), waiting.end(), IsEvent);
  if (next == waiting.end()) next = waiting.begin();
  Report report = std::move(*next);
  waiting.erase(next);
  return report;
}

void NodeReporter::Impl::PutBack(Report report) {
  const std::lock_guard lock(mutex);
  waiting.push_front(std::move(report));
}

void NodeReporter::Impl::Run() {
  while (!pause.stopped()) {
    std::optional<Report> report = TakeNext();
    if (!report) {
      pause.Wait(absl::Hours(1));
      continue;
    }
    if (Deliver(*report)) {
      back_off.Reset();
      continue;
    }
    PutBack(*std::move(report));
    pause.Wait(back_off.Next());
  }
}

// False: to be tried again.
bool NodeReporter::Impl::Deliver(Report& report) {
  const absl::Status sent = std::visit([this](auto& content) { return Send(content); }, report);
  if (pause.stopped()) return false;
  if (sent.ok()) {
    const std::lock_guard lock(mutex);
    (IsEvent(report) ? status.forbidden_events : status.forbidden_status) = false;
    return true;
  }
  bool news = false;
  {
    const std::lock_guard lock(mutex);
    ++status.failures;
    news = status.last_error != sent;
    status.last_error = sent;
  }
  if (IsPassing(sent)) {
    if (news) spdlog::warn("{} cannot be told, it is tried again: {}", Describe(report), ToStd(sent.message()));
    return false;
  }
  if (IsMissingRule(sent)) {
    NoteForbidden(report, sent);
  } else if (!absl::IsNotFound(sent) && !absl::IsAborted(sent)) {  // the pod is gone, or another one by now
    spdlog::warn("{} is not taken: {}", Describe(report), ToStd(sent.message()));
  }
  const std::lock_guard lock(mutex);
  ++status.dropped;
  return true;
}

void NodeReporter::Impl::NoteForbidden(const Report& report, const absl::Status& why) {
  bool known = false;
  {
    const std::lock_guard lock(mutex);
    known = std::exchange(IsEvent(report) ? status.forbidden_events : status.forbidden_status, true);
  }
  if (known) return;
  const std::string_view rule = IsEvent(report) ? R"({apiGroups: [""], resources: [events], verbs: [create, patch]})"
                                                : R"({apiGroups: [""], resources: [pods/status], verbs: [patch]})";
  spdlog::warn("{} may not be told, and others like it: the agent's ClusterRole needs the rule {} ({})",
               Describe(report), rule, ToStd(why.message()));
}

absl::Status NodeReporter::Impl::Ask(std::string_view what, const HttpClient::Request& request) {
  const absl::StatusOr<HttpReply> reply = client.Fetch(request, kLimits);
  if (!reply.ok()) return reply.status();
  if (reply->code == 200 || reply->code == 201) return absl::OkStatus();
  return ApiError(Cat(what, " at ", client.access().endpoint.Origin()), *reply);
}

absl::Status NodeReporter::Impl::Send(const Rejection& rejection) {
  absl::Status status = Ask(Cat("set the status of pod ", rejection.pod.ns, "/", rejection.pod.name),
                            {.method = "PATCH",
                             .target = Cat("/api/v1/namespaces/", EscapeUrl(rejection.pod.ns), "/pods/",
                                           EscapeUrl(rejection.pod.name), "/status"),
                             .content_type = "application/strategic-merge-patch+json",
                             .body = RejectionPatch(rejection.pod.uid, rejection.reason, rejection.message)});
  if (status.ok()) {
    const std::lock_guard lock(mutex);
    ++this->status.statuses_set;
  }
  return status;
}

absl::Status NodeReporter::Impl::Send(EventReport& event) {
  if (!event.step) event.step = book.Next(event.content, absl::Now());
  if (!event.step) return absl::OkStatus();
  absl::Status status = SendStep(event.content, *event.step);
  if (!event.step->make && absl::IsNotFound(status)) {  // the server keeps events for an hour
    book.Forget(event.content);
    event.step = book.Next(event.content, absl::Now());
    status = SendStep(event.content, *event.step);
  }
  if (IsPassing(status)) return status;
  if (status.ok()) {
    const std::lock_guard lock(mutex);
    ++this->status.events_sent;
  } else {
    book.Forget(event.content);
  }
  return status;
}

absl::Status NodeReporter::Impl::SendStep(const EventContent& event, const EventBook::Step& step) {
  const std::string path = Cat("/api/v1/namespaces/", EscapeUrl(event.pod.ns), "/events");
  const std::string what = Cat("tell an event of pod ", event.pod.ns, "/", event.pod.name);
  if (!step.make) {
    return Ask(what, {.method = "PATCH",
                      .target = Cat(path, "/", EscapeUrl(step.count.name)),
                      .content_type = "application/strategic-merge-patch+json",
                      .body = EventCountPatch(step.count)});
  }
  const absl::Status status = Ask(what, {.method = "POST",
                                         .target = path,
                                         .content_type = "application/json",
                                         .body = EventBody(event, step.count, node)});
  // There already: an earlier try arrived.
  return absl::IsAborted(status) ? absl::OkStatus() : status;
}

absl::StatusOr<std::unique_ptr<NodeReporter>> NodeReporter::Create(NodeReporterOptions options) {
  if (options.node_name.empty()) return absl::InvalidArgumentError("reports to the API server need nodeName");
  auto impl = std::make_unique<Impl>(std::move(options));
  Impl* self = impl.get();
  impl->worker = std::make_unique<Worker>("podfence-report", [self] { self->Run(); });
  return std::unique_ptr<NodeReporter>(new NodeReporter(std::move(impl)));
}

NodeReporter::NodeReporter(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
NodeReporter::~NodeReporter() = default;

void NodeReporter::Reject(const PodObject& pod, std::string_view reason, std::string_view message,
                          std::string_view explanation) {
  Event(pod, EventType::kWarning, reason, explanation);
  if (pod.is_static() || pod.is_terminal()) return;
  impl_->Add(Rejection{.pod = {.ns = pod.ns, .name = pod.name, .uid = pod.api_uid},
                       .reason = std::string(reason),
                       .message = std::string(message)});
}

void NodeReporter::Event(const PodObject& pod, EventType type, std::string_view reason, std::string_view note) {
  impl_->Add(EventReport{.content = {.pod = {.ns = pod.ns, .name = pod.name, .uid = pod.uid},
                                     .warning = type == EventType::kWarning,
                                     .reason = std::string(reason),
                                     .note = CutText(note, kLongestNote)},
                         .step = std::nullopt});
}

NodeReporterStatus NodeReporter::status() const {
  const std::lock_guard lock(impl_->mutex);
  NodeReporterStatus status = impl_->status;
  status.waiting = impl_->waiting.size();
  return status;
}

}  // namespace podfence
