#include "agent/runtime/log_file.h"

#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "agent/core/text.h"

namespace podfence {

absl::StatusOr<UniqueFd> LogFile::Open() const {
  UniqueFd fd(open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0640));
  if (!fd) return absl::ErrnoToStatus(errno, Cat("open log ", path_));
  return fd;
}

absl::Status LogFile::Bound() const {
  const auto failed = [&] { return absl::ErrnoToStatus(errno, Cat("bound log ", path_)); };
  struct stat info {};
  if (lstat(path_.c_str(), &info) != 0) return errno == ENOENT ? absl::OkStatus() : failed();
  if (static_cast<uint64_t>(info.st_size) <= max_bytes_) return absl::OkStatus();  // as nearly always
  UniqueFd from(open(path_.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  if (!from || fstat(from.get(), &info) != 0) return failed();
  const uint64_t size = static_cast<uint64_t>(info.st_size);
  const std::string before = Cat(path_, ".1");
  UniqueFd to(open(before.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640));
  if (!to) return failed();
  // The newest part alone: a process may have written far more than the bound since the last look.
  off_t offset = static_cast<off_t>(size - max_bytes_);
  for (uint64_t left = max_bytes_; left > 0;) {
    const ssize_t count = sendfile(to.get(), from.get(), &offset, left);
    if (count < 0) return failed();
    if (count == 0) break;
    left -= static_cast<uint64_t>(count);
  }
  return ftruncate(from.get(), 0) == 0 ? absl::OkStatus() : failed();
}

}  // namespace podfence
