#pragma once

#include <systemd/sd-event.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "agent/kubelet_state/kubelet_state.h"
#include "agent/runtime/event_source.h"

namespace podfence {

// Tells when the kubelet has put another checkpoint in its root directory: it writes a temporary file and renames it
// (pkg/kubelet/util/store/filestore.go). Of the loop's thread.
class StateWatch {
 public:
  // on_changed: on the loop, once for each file that was replaced or removed. NotFound where there is no such
  // directory.
  static absl::StatusOr<std::unique_ptr<StateWatch>> Create(sd_event* loop, const std::string& directory,
                                                            std::function<void()> on_changed);

 private:
  explicit StateWatch(std::function<void()> on_changed) : on_changed_(std::move(on_changed)) {}
  static int OnEvent(sd_event_source* source, const inotify_event* event, void* self);

  std::function<void()> on_changed_;
  EventSource source_;
};

}  // namespace podfence
