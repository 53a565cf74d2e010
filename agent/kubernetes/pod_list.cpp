#include "agent/kubernetes/pod_list.h"

#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/escaping.h"
#include "agent/core/text.h"
#include "agent/kubernetes/http_client.h"

namespace podfence {
namespace {

using nlohmann::json;

std::string Text(const json& object, const char* key) {
  if (!object.is_object()) return "";
  const auto found = object.find(key);
  return found == object.end() || !found->is_string() ? "" : found->get<std::string>();
}

const json& At(const json& object, const char* key) {
  static const json none;
  if (!object.is_object()) return none;
  const auto found = object.find(key);
  return found == object.end() ? none : *found;
}

absl::Status NotThat(std::string_view what, std::string_view text) {
  constexpr size_t kShown = 120;
  return absl::InvalidArgumentError(Cat("is no ", what, ": \"", absl::Utf8SafeCEscape(ToAbsl(text.substr(0, kShown))),
                                        text.size() > kShown ? "…" : "", "\""));
}

}  // namespace

absl::StatusOr<PodList> ParsePodList(std::string_view text) {
  json list = json::parse(text, nullptr, /*allow_exceptions=*/false);
  // The kubelet and the API server write an empty list as [] or null.
  if (!list.is_object() || Text(list, "kind") != "PodList" ||
      (!At(list, "items").is_array() && !At(list, "items").is_null())) {
    return NotThat("v1.PodList", text);
  }
  PodList pods;
  pods.resource_version = Text(At(list, "metadata"), "resourceVersion");
  pods.next = Text(At(list, "metadata"), "continue");
  if (!At(list, "items").is_array()) return pods;
  for (json& item : list["items"]) {
    absl::StatusOr<PodObject> object = ParsePodObject(std::move(item));
    if (object.ok()) {
      pods.pods.push_back(std::make_shared<const PodObject>(*std::move(object)));
    } else {
      pods.unreadable.push_back(object.status());
    }
  }
  return pods;
}

absl::StatusOr<WatchEvent> ParseWatchEvent(std::string_view line) {
  json event = json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!At(event, "object").is_object()) return NotThat("watch event", line);
  const std::string type = Text(event, "type");
  json& object = event["object"];
  WatchEvent read;
  read.resource_version = Text(At(object, "metadata"), "resourceVersion");
  if (type == "BOOKMARK") {
    read.type = WatchEvent::Type::kBookmark;
  } else if (type == "ERROR") {
    read.type = WatchEvent::Type::kError;
    const json& code = At(object, "code");
    read.error = ApiError("watch the pods", code.is_number_integer() ? code.get<int>() : 0, Text(object, "message"));
  } else if (type == "DELETED") {
    read.type = WatchEvent::Type::kDeleted;
    read.api_uid = Text(At(object, "metadata"), "uid");
    if (read.api_uid.empty()) read.unreadable = absl::InvalidArgumentError("a deleted pod without UID");
  } else if (type == "ADDED" || type == "MODIFIED") {
    read.type = type == "ADDED" ? WatchEvent::Type::kAdded : WatchEvent::Type::kModified;
    absl::StatusOr<PodObject> pod = ParsePodObject(std::move(object));
    if (pod.ok()) {
      read.pod = std::make_shared<const PodObject>(*std::move(pod));
    } else {
      read.unreadable = pod.status();
    }
  } else {
    return NotThat("watch event", line);
  }
  return read;
}

}  // namespace podfence
