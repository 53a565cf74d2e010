#include "agent/cgroup/write_watch.h"

#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <set>
#include <string_view>

#include "agent/cgroup/control.h"
#include "agent/core/text.h"

namespace podfence {
namespace {

constexpr uint32_t kMask = IN_MODIFY | IN_CREATE | IN_DELETE | IN_MOVE | IN_ONLYDIR;

// The kernel tells of cgroup.events and the like in the same way, whenever a container starts or ends.
bool Fences(const inotify_event& event) {
  if ((event.mask & IN_Q_OVERFLOW) != 0) return true;  // anything may have happened
  if ((event.mask & IN_ISDIR) != 0) return event.len > 0;
  static constexpr std::array kFiles = {kCpusetCpus, kCpusetCpusExclusive, kCpusetCpusPartition, kCpusetMems,
                                        kCpuMax,     kCpuWeight,           kMemoryMax,           kSubtreeControl};
  return event.len > 0 && std::ranges::find(kFiles, std::string_view(event.name)) != kFiles.end();
}

}  // namespace

absl::StatusOr<WriteWatch> WriteWatch::Create() {
  UniqueFd fd(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  if (fd) return WriteWatch(std::move(fd));
  if (errno != EMFILE) return absl::ErrnoToStatus(errno, "watch cgroups: inotify_init1");
  return absl::ResourceExhaustedError("watch cgroups: no inotify instance left; raise fs.inotify.max_user_instances");
}

absl::Status WriteWatch::Follow(const std::vector<std::string>& directories) {
  const std::set<std::string> wanted(directories.begin(), directories.end());
  for (auto watch = watches_.begin(); watch != watches_.end();) {
    if (wanted.contains(watch->first)) {
      ++watch;
      continue;
    }
    inotify_rm_watch(fd_.get(), watch->second);
    watch = watches_.erase(watch);
  }
  for (const std::string& directory : wanted) {
    if (watches_.contains(directory)) continue;
    const int watch = inotify_add_watch(fd_.get(), directory.c_str(), kMask);
    if (watch >= 0) {
      watches_[directory] = watch;
    } else if (errno == ENOSPC) {
      return absl::ResourceExhaustedError(
          Cat("watch ", directory, ": no inotify watch left; raise fs.inotify.max_user_watches"));
    } else if (errno != ENOENT) {
      return absl::ErrnoToStatus(errno, Cat("watch ", directory));
    }
  }
  return absl::OkStatus();
}

bool WriteWatch::Drain() {
  bool happened = false;
  alignas(inotify_event) std::array<char, 16384> buffer;
  for (;;) {
    const ssize_t count = read(fd_.get(), buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return happened;
    for (ssize_t at = 0; at < count;) {
      const auto& event = *reinterpret_cast<const inotify_event*>(buffer.data() + at);
      at += static_cast<ssize_t>(sizeof(inotify_event) + event.len);
      happened |= Fences(event);
      if ((event.mask & IN_IGNORED) == 0) continue;
      // The directory is gone: one of the same name is another.
      std::erase_if(watches_, [&](const auto& watch) { return watch.second == event.wd; });
    }
  }
}

}  // namespace podfence
