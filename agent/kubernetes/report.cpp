#include "agent/kubernetes/report.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/strings/str_format.h"
#include "agent/core/text.h"

namespace podfence {
namespace {

using nlohmann::json;

std::string Stamp(absl::Time time) { return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", time, absl::UTCTimeZone()); }

// Explanations cite names of tasks and files, which are any bytes; JSON is UTF-8.
std::string Dump(const json& body) {
  return body.dump(-1, ' ', /*ensure_ascii=*/false, json::error_handler_t::replace);
}

}  // namespace

std::string CutText(std::string_view text, size_t bytes) {
  constexpr std::string_view kMark = "…";
  if (text.size() <= bytes) return std::string(text);
  size_t end = bytes - std::min(bytes, kMark.size());
  // Not within a character: the bytes after its first are 10xxxxxx.
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  return Cat(text.substr(0, end), kMark);
}

std::string RejectionPatch(std::string_view api_uid, std::string_view reason, std::string_view message) {
  constexpr size_t kLongestMessage = 8192;
  return Dump({{"metadata", {{"uid", api_uid}}},
               {"status",
                {{"phase", "Failed"},
                 {"reason", reason},
                 {"message", CutText(Cat("Pod was rejected: ", message), kLongestMessage)}}}});
}

std::string EventBody(const EventContent& event, const EventCount& count, std::string_view node) {
  return Dump({{"apiVersion", "v1"},
               {"kind", "Event"},
               {"metadata", {{"name", count.name}, {"namespace", event.pod.ns}}},
               {"involvedObject",
                {{"apiVersion", "v1"},
                 {"kind", "Pod"},
                 {"namespace", event.pod.ns},
                 {"name", event.pod.name},
                 {"uid", event.pod.uid}}},
               {"type", event.warning ? "Warning" : "Normal"},
               {"reason", event.reason},
               {"message", CutText(event.note, kLongestNote)},
               {"source", {{"component", "podfence"}, {"host", node}}},
               {"reportingComponent", "podfence"},
               {"reportingInstance", node},
               {"firstTimestamp", Stamp(count.first)},
               {"lastTimestamp", Stamp(count.last)},
               {"count", count.count}});
}

std::string EventCountPatch(const EventCount& count) {
  return Dump({{"count", count.count}, {"lastTimestamp", Stamp(count.last)}});
}

std::string EventBook::Key(const EventContent& event) {
  std::string key;
  for (const std::string* part : {&event.pod.uid, &event.pod.ns, &event.pod.name, &event.reason, &event.note}) {
    absl::StrAppend(&key, part->size(), ":", *part);
  }
  return key + (event.warning ? "w" : "n");
}

std::optional<EventBook::Step> EventBook::Next(const EventContent& event, absl::Time now) {
  const std::string key = Key(event);
  const auto found = entries_.find(key);
  if (found != entries_.end() && now - found->second.count.last < delays_.same) {
    Entry& entry = found->second;
    ++entry.count.count;
    entry.count.last = now;
    if (now - entry.sent < delays_.quiet) return std::nullopt;
    entry.sent = now;
    return Step{.make = false, .count = entry.count};
  }
  Forget(event);
  if (order_.size() >= kKept) {
    entries_.erase(order_.front());
    order_.pop_front();
  }
  // As client-go names them: the object's name and a time, here with a number, since two may fall into one moment. A
  // name has at most 253 characters, and no part of it ends in '-'.
  constexpr size_t kLongestPodName = 200;
  std::string name = event.pod.name.substr(0, kLongestPodName);
  while (!name.empty() && (name.back() == '-' || name.back() == '.')) name.pop_back();
  const EventCount count{
      .name = absl::StrFormat("%s.%x-%x", name, static_cast<uint64_t>(absl::ToUnixNanos(now)), ++made_),
      .count = 1,
      .first = now,
      .last = now};
  entries_[key] = Entry{.count = count, .sent = now};
  order_.push_back(key);
  return Step{.make = true, .count = count};
}

void EventBook::Forget(const EventContent& event) {
  const std::string key = Key(event);
  if (entries_.erase(key) > 0) order_.erase(std::find(order_.begin(), order_.end(), key));
}

}  // namespace podfence
