#include "agent/kubernetes/api_watch.h"

#include <cstdint>
#include <random>
#include <utility>

#include "agent/core/text.h"

namespace podfence {
namespace {

// An object in etcd has at most 1.5 MiB (--max-request-bytes); its JSON, escaped and with what the server adds, several
// times that.
constexpr size_t kLongestLine = size_t{16} << 20;
constexpr int kPage = 500;       // as client-go's pager
constexpr int kMostPages = 200;  // of one node's pods: a server that always has one more does not hold us for ever
// Watches end after a random time, so that those of a cluster do not all come back at once; as client-go does it.
constexpr int kShortestWatchSeconds = 300;
constexpr int kLongestWatchSeconds = 600;
constexpr int kGraceSeconds = 30;

bool IsExpired(const absl::Status& status) { return absl::IsOutOfRange(status); }

}  // namespace

ApiWatch::ApiWatch(ApiAccess access, std::string node_name, const RetryDelays& retry)
    : node_name_(std::move(node_name)), retry_(retry), client_(std::move(access)) {}

std::string ApiWatch::Name() const {
  return Cat("the API server at ", client_.access().endpoint.Origin(), " (pods of node ", node_name_, ")");
}

void ApiWatch::Stop() {
  pause_.Stop();
  client_.Interrupt();
}

void ApiWatch::Run(PodSink& sink) {
  BackOff back_off(retry_);
  while (!pause_.stopped()) {
    if (!listed_) {
      if (const absl::Status status = Relist(sink); !status.ok()) {
        if (pause_.stopped()) return;
        sink.Down(status);
        pause_.Wait(back_off.Next());
        continue;
      }
    }
    const absl::Time begin = absl::Now();
    const absl::Status status = Watch(sink);
    if (pause_.stopped()) return;
    // A watch that is cut off at once, again and again, must not become a flood of requests.
    const absl::Duration lasted = absl::Now() - begin;
    if (lasted >= retry_.longest) back_off.Reset();
    if (IsExpired(status)) {
      listed_ = false;
      version_ = "";
    } else if (!status.ok()) {
      sink.Down(status);
    } else if (lasted >= retry_.first) {
      continue;
    }
    pause_.Wait(back_off.Next());
  }
}

absl::StatusOr<PodList> ApiWatch::ListPage(const std::string& query) {
  const std::string what = Cat("list the pods of node ", node_name_, " at ", client_.access().endpoint.Origin());
  const absl::StatusOr<HttpReply> reply =
      client_.Fetch({.method = "GET",
                     .target = Cat("/api/v1/pods?fieldSelector=spec.nodeName%3D", EscapeUrl(node_name_), query),
                     .content_type = "",
                     .body = ""},
                    HttpClient::Limits());
  if (!reply.ok()) return reply.status();
  if (reply->code != 200) {
    const absl::Status error = ApiError(what, *reply);
    if (!absl::IsPermissionDenied(error)) return error;
    return absl::PermissionDeniedError(Cat(ToStd(error.message()), "; a ClusterRole needs list and watch on pods"));
  }
  absl::StatusOr<PodList> list = ParsePodList(reply->body);
  if (!list.ok()) return absl::DataLossError(Cat(what, ": ", ToStd(list.status().message())));
  return list;
}

absl::StatusOr<PodList> ApiWatch::List(const std::string& from) {
  const std::string version = from.empty() ? "" : Cat("&resourceVersion=", EscapeUrl(from));
  // A server answers a page from etcd, anything else from memory: pages only where etcd is asked anyway.
  const std::string page = from.empty() ? Cat("&limit=", kPage) : "";
  absl::StatusOr<PodList> list = ListPage(Cat(version, page));
  for (int pages = 1; list.ok() && !list->next.empty(); ++pages) {
    if (pages >= kMostPages) return absl::ResourceExhaustedError(Cat(Name(), ": the list has no end"));
    absl::StatusOr<PodList> more = ListPage(Cat("&limit=", kPage, "&continue=", EscapeUrl(list->next)));
    if (!more.ok()) return more.status();
    list->next = std::move(more->next);
    list->resource_version = std::move(more->resource_version);
    list->pods.insert(list->pods.end(), more->pods.begin(), more->pods.end());
    list->unreadable.insert(list->unreadable.end(), more->unreadable.begin(), more->unreadable.end());
  }
  if (list.ok() && list->resource_version.empty()) {
    return absl::DataLossError(Cat(Name(), ": the list has no resourceVersion"));
  }
  return list;
}

absl::Status ApiWatch::Relist(PodSink& sink) {
  absl::StatusOr<PodList> list = List(version_);
  if (!list.ok()) {
    // Expired in the midst of the pages, or (504, "Too large resource version") a server that lags behind the one the
    // version is from: the next try takes what is newest.
    if (IsExpired(list.status()) || absl::IsDeadlineExceeded(list.status())) version_ = "";
    return list.status();
  }
  for (const absl::Status& status : list->unreadable) sink.Unreadable(status);
  sink.Up();
  sink.Replace(std::move(list->pods));
  version_ = list->resource_version;
  listed_ = true;
  return absl::OkStatus();
}

absl::Status ApiWatch::TakeLine(std::string_view line, PodSink& sink) {
  absl::StatusOr<WatchEvent> event = ParseWatchEvent(line);
  if (!event.ok()) {
    // A list tells what the lost event would have.
    listed_ = false;
    return absl::DataLossError(Cat(Name(), ": ", ToStd(event.status().message())));
  }
  if (event->type == WatchEvent::Type::kError) return event->error;
  if (!event->resource_version.empty()) version_ = std::move(event->resource_version);
  if (!event->unreadable.ok()) {
    sink.Unreadable(event->unreadable);
  } else if (event->type == WatchEvent::Type::kDeleted) {
    sink.Remove(event->api_uid);
  } else if (event->pod != nullptr) {
    sink.Put(std::move(event->pod));
  }
  return absl::OkStatus();
}

absl::Status ApiWatch::Watch(PodSink& sink) {
  std::minstd_rand random(std::random_device{}());
  const int seconds = std::uniform_int_distribution<int>(kShortestWatchSeconds, kLongestWatchSeconds)(random);
  LineSplitter lines(kLongestLine);
  absl::Status status;
  const auto on_line = [&](std::string_view line) {
    status = TakeLine(line, sink);
    return status.ok();
  };
  const auto on_too_long = [&] {
    sink.Unreadable(absl::ResourceExhaustedError(Cat("an event of more than ", kLongestLine, " bytes")));
  };
  const absl::StatusOr<HttpReply> reply = client_.Stream(
      Cat("/api/v1/pods?fieldSelector=spec.nodeName%3D", EscapeUrl(node_name_),
          "&watch=1&allowWatchBookmarks=true&resourceVersion=", EscapeUrl(version_), "&timeoutSeconds=", seconds),
      absl::Seconds(seconds + kGraceSeconds),
      [&] {
        if (std::exchange(watched_, true)) sink.Reconnected();
        sink.Up();
      },
      [&](std::string_view data) { return lines.Feed(data, {.line = on_line, .too_long = on_too_long}); });
  if (!status.ok()) return status;
  if (!reply.ok()) return reply.status();
  if (reply->code != 200) return ApiError(Cat("watch the pods of node ", node_name_), *reply);
  if (lines.within_line()) return absl::DataLossError(Cat(Name(), ": the watch broke off within an event"));
  return absl::OkStatus();
}

}  // namespace podfence
