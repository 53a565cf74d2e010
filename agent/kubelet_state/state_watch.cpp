#include "agent/kubelet_state/state_watch.h"

#include <sys/inotify.h>

#include <string_view>
#include <utility>

#include "agent/core/text.h"

namespace podfence {
namespace {

constexpr uint32_t kMask = IN_MOVED_TO | IN_MOVED_FROM | IN_CLOSE_WRITE | IN_DELETE | IN_DELETE_SELF | IN_ONLYDIR;

}  // namespace

int StateWatch::OnEvent(sd_event_source* /*source*/, const inotify_event* event, void* self) {
  // Without a name: events were lost, or the directory itself is gone.
  const std::string_view name = event->len > 0 ? event->name : "";
  if (name.empty() || name == kCpuManagerState || name == kMemoryManagerState) {
    static_cast<StateWatch*>(self)->on_changed_();
  }
  return 0;
}

absl::StatusOr<std::unique_ptr<StateWatch>> StateWatch::Create(sd_event* loop, const std::string& directory,
                                                               std::function<void()> on_changed) {
  std::unique_ptr<StateWatch> watch(new StateWatch(std::move(on_changed)));
  sd_event_source* source = nullptr;
  const int result = sd_event_add_inotify(loop, &source, directory.c_str(), kMask, OnEvent, watch.get());
  if (result < 0) {
    return absl::ErrnoToStatus(
        -result, Cat("watch the kubelet's root directory ", directory, "; kubeletStateDirectory says where it is"));
  }
  watch->source_ = EventSource(source);
  return watch;
}

}  // namespace podfence
