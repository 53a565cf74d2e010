#pragma once

#include <systemd/sd-event.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/cgroup/unique_fd.h"
#include "agent/runtime/event_source.h"

namespace podfence {

// A connected stream socket on the loop: bytes in by a callback, bytes out through a bounded queue. Never waits.
class NriLink {
 public:
  // The runtime reads all the time; what it left unread beyond this tells that it does not any more.
  static constexpr size_t kMaxQueued = size_t{8} << 20;

  // What has come; not OK ends the link with that.
  using OnData = std::function<absl::Status(std::string_view bytes)>;
  // Once, from the loop, as the link's last call: it may be destroyed there.
  using OnEnd = std::function<void(const absl::Status& reason)>;

  // Errors: Unavailable, with what can be done about it, where nothing listens at the path.
  static absl::StatusOr<std::unique_ptr<NriLink>> Connect(sd_event* loop, const std::string& path, OnData on_data,
                                                          OnEnd on_end);

  // The same over a socket that is connected already.
  static absl::StatusOr<std::unique_ptr<NriLink>> Adopt(sd_event* loop, UniqueFd fd, OnData on_data, OnEnd on_end);

  // Queues the bytes; they go out from the loop.
  void Send(std::string_view bytes);
  // Whether bytes wait to go out.
  bool queued() const { return !queue_.empty(); }
  // The end without an end of the connection: the socket goes on, on_end is not called.
  UniqueFd Release();

 private:
  NriLink(UniqueFd fd, OnData on_data, OnEnd on_end);
  void OnReady(uint32_t events);
  absl::Status Read();
  absl::Status Write();
  void Watch();

  UniqueFd fd_;
  OnData on_data_;
  OnEnd on_end_;
  std::string queue_;
  bool writable_watched_ = false;
  EventSource source_;
};

}  // namespace podfence
