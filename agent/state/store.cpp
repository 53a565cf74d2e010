#include "agent/state/store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "agent/core/text.h"
#include "agent/state/state_json.h"

namespace podfence {
namespace {

constexpr char kFile[] = "state.json";
constexpr char kTemporary[] = "state.json.new";
constexpr char kMagic[] = "podfence-state";
constexpr int kVersion = 1;

absl::Status SystemError(std::string_view operation, const std::string& path) {
  const int error = errno;
  return absl::ErrnoToStatus(error, Cat(operation, " ", path));
}

uint32_t Checksum(std::string_view body) {
  return static_cast<uint32_t>(
      crc32_z(crc32_z(0, nullptr, 0), reinterpret_cast<const Bytef*>(body.data()), body.size()));
}

// "podfence-state 1 <crc32> <bytes>\n", then the JSON: the header guards every byte of it.
std::string Encode(const NodeState& state) {
  // Whatever a pod's texts hold, a decision can be kept.
  const std::string body = StateToJson(state).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return Cat(kMagic, " ", kVersion, " ", absl::Hex(Checksum(body), absl::kZeroPad8), " ", body.size(), "\n", body);
}

absl::StatusOr<NodeState> Decode(const std::string& text) {
  const size_t line_end = text.find('\n');
  std::istringstream header(text.substr(0, line_end));
  std::string magic;
  int version = 0;
  uint32_t checksum = 0;
  size_t length = 0;
  header >> magic >> version >> std::hex >> checksum >> std::dec >> length;
  if (line_end == std::string::npos || !header || magic != kMagic) {
    return absl::DataLossError("is not a podfence checkpoint (line 1)");
  }
  if (version != kVersion) {
    return absl::DataLossError(Cat("has version ", version, ", this agent reads ", kVersion));
  }
  const std::string_view body = std::string_view(text).substr(line_end + 1);
  if (body.size() != length) return absl::DataLossError(Cat("holds ", body.size(), " bytes instead of ", length));
  if (Checksum(body) != checksum) return absl::DataLossError("does not match its checksum");
  const nlohmann::json json = nlohmann::json::parse(body, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return absl::DataLossError("is not JSON");
  return StateFromJson(json);
}

absl::StatusOr<std::string> ReadFile(int directory_fd, const char* name, const std::string& path) {
  const int fd = openat(directory_fd, name, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return SystemError("open", path);
  std::string text;
  char buffer[65536];
  ssize_t count = 0;
  while ((count = read(fd, buffer, sizeof buffer)) > 0) text.append(buffer, static_cast<size_t>(count));
  absl::Status status = count < 0 ? SystemError("read", path) : absl::OkStatus();
  close(fd);
  if (!status.ok()) return status;
  return text;
}

absl::Status WriteAndSync(int fd, std::string_view text, const std::string& path) {
  while (!text.empty()) {
    const ssize_t count = write(fd, text.data(), text.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return SystemError("write", path);
    text.remove_prefix(static_cast<size_t>(count));
  }
  if (fsync(fd) != 0) return SystemError("fsync", path);
  return absl::OkStatus();
}

// By the file's time; where a clock that was wrong tells otherwise, nothing is known of the boot.
bool IsOfAnEarlierBoot(int directory_fd) {
  struct stat file = {};
  timespec up = {};
  if (fstatat(directory_fd, kFile, &file, 0) != 0 || clock_gettime(CLOCK_BOOTTIME, &up) != 0) return false;
  return absl::TimeFromTimespec(file.st_mtim) < absl::Now() - absl::DurationFromTimespec(up);
}

}  // namespace

StateStore::StateStore(std::string directory, int directory_fd, int lock_fd)
    : directory_(std::move(directory)), directory_fd_(directory_fd), lock_fd_(lock_fd) {}

StateStore::StateStore(StateStore&& other) noexcept
    : directory_(std::move(other.directory_)),
      directory_fd_(std::exchange(other.directory_fd_, -1)),
      lock_fd_(std::exchange(other.lock_fd_, -1)) {}

StateStore& StateStore::operator=(StateStore&& other) noexcept {
  std::swap(directory_, other.directory_);
  std::swap(directory_fd_, other.directory_fd_);
  std::swap(lock_fd_, other.lock_fd_);
  return *this;
}

StateStore::~StateStore() {
  if (lock_fd_ >= 0) close(lock_fd_);
  if (directory_fd_ >= 0) close(directory_fd_);
}

absl::StatusOr<StateStore> StateStore::Open(std::string directory, int lock_fd) {
  const int directory_fd = open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  StateStore store(std::move(directory), directory_fd, lock_fd);
  if (directory_fd < 0) return SystemError("open the state directory", store.directory_);
  if (absl::Status status = store.NameHolder(); !status.ok()) return status;
  return store;
}

absl::Status StateStore::NameHolder() {
  const std::string path = directory_ + "/lock";
  if (ftruncate(lock_fd_, 0) != 0) return SystemError("truncate", path);
  if (lseek(lock_fd_, 0, SEEK_SET) != 0) return SystemError("seek in", path);
  return WriteAndSync(lock_fd_, std::to_string(getpid()), path);
}

absl::StatusOr<StateStore> StateStore::Open(std::string directory) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) return absl::ErrnoToStatus(error.value(), Cat("make the state directory ", directory));
  const int directory_fd = open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory_fd < 0) return SystemError("open the state directory", directory);
  StateStore store(std::move(directory), directory_fd, -1);
  const std::string lock_path = store.directory_ + "/lock";
  store.lock_fd_ = openat(directory_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (store.lock_fd_ < 0) return SystemError("open", lock_path);
  if (flock(store.lock_fd_, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return SystemError("lock", lock_path);
    const absl::StatusOr<std::string> holder = ReadFile(directory_fd, "lock", lock_path);
    return absl::FailedPreconditionError(
        Cat("another agent", holder.ok() && !holder->empty() ? Cat(" (process ", *holder, ")") : std::string(),
            " holds ", lock_path, ": one agent a node; stop it first"));
  }
  if (absl::Status status = store.NameHolder(); !status.ok()) return status;
  return store;
}

absl::StatusOr<LoadedState> StateStore::Load() {
  LoadedState loaded;
  const std::string path = CheckpointPath(directory_);
  absl::StatusOr<std::string> text = ReadFile(directory_fd_, kFile, path);
  if (absl::IsNotFound(text.status())) return loaded;
  if (!text.ok()) return text.status();
  absl::StatusOr<NodeState> state = Decode(*text);
  if (state.ok()) {
    loaded.state = *std::move(state);
    loaded.found = true;
    loaded.rebooted = IsOfAnEarlierBoot(directory_fd_);
    return loaded;
  }
  loaded.damage = Cat(path, " ", ToStd(state.status().message()));
  for (int n = 1;; ++n) {
    const std::string name = Cat("state.damaged-", n);
    if (renameat2(directory_fd_, kFile, directory_fd_, name.c_str(), RENAME_NOREPLACE) == 0) {
      loaded.set_aside = directory_ + "/" + name;
      return loaded;
    }
    if (errno != EEXIST) return SystemError(Cat("set aside the damaged checkpoint as ", name, ":"), path);
  }
}

absl::Status StateStore::Commit(const NodeState& state) {
  const std::string path = directory_ + "/" + kTemporary;
  const int fd = openat(directory_fd_, kTemporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return SystemError("create", path);
  absl::Status status = WriteAndSync(fd, Encode(state), path);
  close(fd);
  if (!status.ok()) return status;
  if (renameat(directory_fd_, kTemporary, directory_fd_, kFile) != 0) return SystemError("rename", path);
  if (fsync(directory_fd_) != 0) return SystemError("fsync", directory_);
  return absl::OkStatus();
}

std::string CheckpointPath(const std::string& directory) { return Cat(directory, "/", kFile); }

absl::StatusOr<NodeState> ReadCheckpoint(const std::string& path) {
  absl::StatusOr<std::string> text = ReadFile(AT_FDCWD, path.c_str(), path);
  if (!text.ok()) return text.status();
  absl::StatusOr<NodeState> state = Decode(*text);
  if (!state.ok()) return absl::InvalidArgumentError(Cat(path, ": ", ToStd(state.status().message())));
  return state;
}

}  // namespace podfence
