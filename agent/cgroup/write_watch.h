#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/cgroup/unique_fd.h"

namespace podfence {

// Tells that someone, we too, wrote a control file that fences, or made or removed a cgroup: inotify sees every
// write(2) to a cgroup file, on every kernel. What the kernel changes by itself (a CPU that goes offline) it does not
// see.
class WriteWatch {
 public:
  // ResourceExhausted where the user has no inotify instance left (fs.inotify.max_user_instances).
  static absl::StatusOr<WriteWatch> Create();

  // Watches these directories from now on, and no others. A directory that is not there is left out; one that was made
  // again under its old name is watched anew. ResourceExhausted: no inotify watch left (fs.inotify.max_user_watches).
  absl::Status Follow(const std::vector<std::string>& directories);
  // Whether any of that happened since the last call. Never waits.
  bool Drain();
  // Readable (EPOLLIN) when Drain has something to say, and now and then when it has not.
  int fd() const { return fd_.get(); }

 private:
  explicit WriteWatch(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
  std::map<std::string, int> watches_;  // directory to watch descriptor
};

}  // namespace podfence
