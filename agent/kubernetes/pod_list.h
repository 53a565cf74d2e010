#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/kubernetes/pod_cache.h"

namespace podfence {

// A v1.PodList, or a page of one.
struct PodList {
  std::vector<PodRecordPtr> pods;
  std::vector<absl::Status> unreadable;  // items that say not even which pod they are
  std::string resource_version;
  std::string next;  // the token of the next page; empty: there is none
};
// InvalidArgument: it is no PodList.
absl::StatusOr<PodList> ParsePodList(std::string_view text);

// A line of a watch (metav1.WatchEvent).
struct WatchEvent {
  enum class Type { kAdded, kModified, kDeleted, kBookmark, kError };
  Type type = Type::kBookmark;
  std::string resource_version;  // the watch goes on behind it
  PodRecordPtr pod;              // of kAdded and kModified
  std::string api_uid;           // of kDeleted
  absl::Status error;            // of kError: OutOfRange where the resource version is too old (410)
  absl::Status unreadable;       // the pod says not even which it is
};
// InvalidArgument: it is no event, so that nothing after it can be trusted either.
absl::StatusOr<WatchEvent> ParseWatchEvent(std::string_view line);

}  // namespace podfence
