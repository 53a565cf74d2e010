#include "agent/mailbox.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <utility>

namespace podfence {
namespace {

// A scrape must not hang on a busy loop, but an old snapshot is worth less than a late one: well below Prometheus'
// default scrape_timeout of 10 s. The last snapshot, given after that, carries its own time.
constexpr std::chrono::seconds kPatience{3};

}  // namespace

absl::StatusOr<std::unique_ptr<SnapshotMailbox>> SnapshotMailbox::Create() {
  const int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (fd < 0) return absl::ErrnoToStatus(errno, "make an eventfd");
  return std::unique_ptr<SnapshotMailbox>(new SnapshotMailbox(fd));
}

SnapshotMailbox::~SnapshotMailbox() { close(fd_); }

std::shared_ptr<const Snapshot> SnapshotMailbox::Request() {
  std::unique_lock lock(mutex_);
  const uint64_t ticket = ++asked_;
  const uint64_t one = 1;
  if (write(fd_, &one, sizeof one) == sizeof one) {
    published_.wait_for(lock, kPatience, [&] { return answered_ >= ticket; });
  }
  return latest_;
}

void SnapshotMailbox::Answer(const std::function<std::shared_ptr<const Snapshot>()>& take) {
  uint64_t up_to = 0;
  {
    const std::lock_guard lock(mutex_);
    up_to = asked_;
    uint64_t writes = 0;
    // EAGAIN: nobody had asked, the loop publishes by itself.
    if (read(fd_, &writes, sizeof writes) < 0) writes = 0;
  }
  std::shared_ptr<const Snapshot> snapshot = take();
  {
    const std::lock_guard lock(mutex_);
    latest_ = std::move(snapshot);
    answered_ = up_to;
  }
  published_.notify_all();
}

}  // namespace podfence
