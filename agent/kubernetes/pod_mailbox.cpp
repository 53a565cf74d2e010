#include "agent/kubernetes/pod_mailbox.h"

#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "agent/core/text.h"

namespace podfence {

absl::StatusOr<std::unique_ptr<PodMailbox>> PodMailbox::Create(std::string kind, std::string description) {
  const int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (fd < 0) return absl::ErrnoToStatus(errno, "make an eventfd for the pods");
  return std::unique_ptr<PodMailbox>(new PodMailbox(fd, std::move(kind), std::move(description)));
}

PodMailbox::PodMailbox(int fd, std::string kind, std::string description) : fd_(fd) {
  status_.kind = std::move(kind);
  status_.description = std::move(description);
}

PodMailbox::~PodMailbox() { close(fd_); }

void PodMailbox::Wake() {
  const uint64_t one = 1;
  // Only a full counter makes it fail, and then the loop is woken already.
  if (write(fd_, &one, sizeof one) < 0 && errno != EAGAIN) spdlog::error("wake the loop for pods: {}", errno);
}

void PodMailbox::Replace(std::vector<PodRecordPtr> all) {
  {
    const std::lock_guard lock(mutex_);
    waiting_.all = std::move(all);
    waiting_.changed.clear();
    if (++status_.lists > 1) ++status_.relists;
    status_.last_sync = absl::Now();
  }
  Wake();
}

void PodMailbox::Confirm() {
  const std::lock_guard lock(mutex_);
  status_.last_sync = absl::Now();
}

void PodMailbox::Put(PodRecordPtr record) {
  {
    const std::lock_guard lock(mutex_);
    waiting_.changed[record->api_uid] = std::move(record);
  }
  Wake();
}

void PodMailbox::Remove(const std::string& api_uid) {
  {
    const std::lock_guard lock(mutex_);
    waiting_.changed[api_uid] = nullptr;
  }
  Wake();
}

void PodMailbox::Up() {
  bool news = false;
  {
    const std::lock_guard lock(mutex_);
    news = !status_.up;
    status_.up = true;
    status_.last_error = absl::OkStatus();
  }
  if (news) spdlog::info("pods come from {}", status_.description);
}

void PodMailbox::Down(const absl::Status& why) {
  bool news = false;
  {
    const std::lock_guard lock(mutex_);
    news = status_.up || status_.last_error != why;
    status_.up = false;
    status_.last_error = why;
    ++status_.failures;
  }
  if (news) spdlog::warn("pods cannot be learnt, it is tried again: {}", ToStd(why.message()));
}

void PodMailbox::Reconnected() {
  const std::lock_guard lock(mutex_);
  ++status_.reconnects;
}

void PodMailbox::Unreadable(const absl::Status& why) {
  {
    const std::lock_guard lock(mutex_);
    ++status_.unreadable;
  }
  spdlog::error("{}: {}", status_.description, ToStd(why.message()));
}

PodSourceStatus PodMailbox::status() const {
  const std::lock_guard lock(mutex_);
  return status_;
}

PodUpdates PodMailbox::Take() {
  const std::lock_guard lock(mutex_);
  uint64_t wakes = 0;
  if (read(fd_, &wakes, sizeof wakes) < 0 && errno != EAGAIN) spdlog::error("read the pods' eventfd: {}", errno);
  if (waiting_.all) status_.synced = true;
  return std::exchange(waiting_, PodUpdates());
}

}  // namespace podfence
