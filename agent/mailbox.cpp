#include "agent/mailbox.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <utility>

namespace podfence {
namespace {

// A scrape must not hang on a busy loop; the last snapshot carries its own time.
constexpr std::chrono::milliseconds kPatience{500};

}  // namespace

absl::StatusOr<std::unique_ptr<SnapshotMailbox>> SnapshotMailbox::Create() {
  const int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (fd < 0) return absl::ErrnoToStatus(errno, "make an eventfd");
  return std::unique_ptr<SnapshotMailbox>(new SnapshotMailbox(fd));
}

SnapshotMailbox::~SnapshotMailbox() { close(fd_); }

std::shared_ptr<const Snapshot> SnapshotMailbox::Request() {
  std::unique_lock lock(mutex_);
  const uint64_t before = generation_;
  const uint64_t one = 1;
  if (write(fd_, &one, sizeof one) == sizeof one) {
    published_.wait_for(lock, kPatience, [&] { return generation_ != before; });
  }
  return latest_;
}

void SnapshotMailbox::Publish(std::shared_ptr<const Snapshot> snapshot) {
  uint64_t requests = 0;
  // Emptied before the waiters wake: a request that comes later asks again. EAGAIN: nobody had asked.
  if (read(fd_, &requests, sizeof requests) < 0) requests = 0;
  {
    const std::lock_guard lock(mutex_);
    latest_ = std::move(snapshot);
    ++generation_;
  }
  published_.notify_all();
}

}  // namespace podfence
