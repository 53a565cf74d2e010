#include "agent/cgroup/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>

#include "agent/cgroup/unique_fd.h"
#include "agent/core/text.h"

namespace podfence {
namespace {

constexpr size_t kMaxBytes = 1 << 20;

absl::Status WriteAll(int fd, std::string_view text, const std::string& path) {
  while (!text.empty()) {
    const ssize_t count = write(fd, text.data(), text.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return absl::ErrnoToStatus(errno, Cat("write ", path));
    text.remove_prefix(static_cast<size_t>(count));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> ReadSmallFile(const std::string& path) {
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return absl::ErrnoToStatus(errno, Cat("open ", path));
  std::string text;
  std::array<char, 4096> buffer;
  for (;;) {
    const ssize_t count = read(fd.get(), buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return absl::ErrnoToStatus(errno, Cat("read ", path));
    if (count == 0) return text;
    text.append(buffer.data(), static_cast<size_t>(count));
    if (text.size() > kMaxBytes) {
      return absl::ResourceExhaustedError(Cat("read ", path, ": larger than ", kMaxBytes, " bytes"));
    }
  }
}

absl::Status WriteExistingFile(const std::string& path, std::string_view value) {
  UniqueFd fd(open(path.c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC));
  if (!fd) return absl::ErrnoToStatus(errno, Cat("write ", value, ": open ", path));
  const ssize_t count = write(fd.get(), value.data(), value.size());
  if (count != static_cast<ssize_t>(value.size())) {
    return absl::ErrnoToStatus(count < 0 ? errno : EIO, Cat("write ", value, ": ", path));
  }
  return absl::OkStatus();
}

absl::Status ReplaceFile(const std::string& path, std::string_view text) {
  const std::string temporary = Cat(path, ".new");
  {
    UniqueFd fd(open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    if (!fd) return absl::ErrnoToStatus(errno, Cat("make ", temporary));
    if (absl::Status status = WriteAll(fd.get(), text, temporary); !status.ok()) return status;
  }
  if (rename(temporary.c_str(), path.c_str()) != 0) {
    return absl::ErrnoToStatus(errno, Cat("rename ", temporary, " to ", path));
  }
  return absl::OkStatus();
}

absl::Status MakeDirectories(const std::string& path) {
  for (size_t slash = path.find('/', 1);; slash = path.find('/', slash + 1)) {
    const std::string part = path.substr(0, slash);
    if (mkdir(part.c_str(), 0755) != 0 && errno != EEXIST) return absl::ErrnoToStatus(errno, Cat("make ", part));
    if (slash == std::string::npos) return absl::OkStatus();
  }
}

}  // namespace podfence
