#include "agent/cgroup/cgroup.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>

#include "absl/time/clock.h"
#include "agent/cgroup/control.h"
#include "agent/core/text.h"

namespace podfence {
namespace {

absl::Status ErrnoError(int error, const std::string& what) { return absl::ErrnoToStatus(error, what); }

absl::Status CheckName(std::string_view name) {
  if (name.empty() || name == "." || name == ".." || name.find('/') != std::string_view::npos) {
    return absl::InvalidArgumentError(Cat("\"", name, "\" is no name of a cgroup: one path component is"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Cgroup> Cgroup::FromDescriptor(UniqueFd fd, std::string path) {
  struct stat info {};
  if (fstat(fd.get(), &info) != 0) return ErrnoError(errno, Cat("stat ", path));
  return Cgroup(std::move(fd), info.st_ino, std::move(path));
}

absl::StatusOr<Cgroup> Cgroup::Open(const std::string& path) {
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return ErrnoError(errno, Cat("open cgroup ", path));
  return FromDescriptor(std::move(fd), path);
}

absl::StatusOr<Cgroup> Cgroup::OpenChild(std::string_view name) const {
  if (absl::Status status = CheckName(name); !status.ok()) return status;
  std::string path = Cat(path_, "/", name);
  UniqueFd fd(openat(fd_.get(), std::string(name).c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) return ErrnoError(errno, Cat("open cgroup ", path));
  return FromDescriptor(std::move(fd), std::move(path));
}

absl::StatusOr<Cgroup> Cgroup::CreateChild(std::string_view name) const {
  if (absl::Status status = CheckName(name); !status.ok()) return status;
  if (mkdirat(fd_.get(), std::string(name).c_str(), 0755) != 0 && errno != EEXIST) {
    return ErrnoError(errno, Cat("make cgroup ", path_, "/", name));
  }
  return OpenChild(name);
}

absl::StatusOr<Cgroup> Cgroup::Duplicate() const {
  UniqueFd fd(fcntl(fd_.get(), F_DUPFD_CLOEXEC, 0));
  if (!fd) return ErrnoError(errno, Cat("duplicate handle of ", path_));
  return Cgroup(std::move(fd), id_, path_);
}

absl::StatusOr<std::vector<std::string>> Cgroup::Children() const {
  // A descriptor of its own: readdir moves the position that duplicates would share.
  UniqueFd fd(openat(fd_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return ErrnoError(errno, Cat("list cgroup ", path_));
  std::unique_ptr<DIR, int (*)(DIR*)> directory(fdopendir(fd.get()), closedir);
  if (directory == nullptr) return ErrnoError(errno, Cat("list cgroup ", path_));
  fd.Release();  // now the DIR's
  std::vector<std::string> names;
  for (;;) {
    errno = 0;
    const dirent* entry = readdir(directory.get());
    if (entry == nullptr) {
      if (errno != 0) return ErrnoError(errno, Cat("list cgroup ", path_));
      break;
    }
    const std::string_view name = entry->d_name;
    if (entry->d_type == DT_DIR && name != "." && name != "..") names.emplace_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

absl::Status Cgroup::Kill() const { return Write("cgroup.kill", "1"); }

namespace {

// A partition returns its CPUs before it goes: once it is removed the kernel does it later, when others may have been
// promised them already, and for one that became invalid it may never do (cpuset.c cpuset_css_offline).
absl::Status GiveBackCpus(const Cgroup& cgroup) {
  const absl::StatusOr<std::string> partition = cgroup.Read(kCpusetCpusPartition);
  if (absl::IsNotFound(partition.status()) || (partition.ok() && *partition == "member")) return absl::OkStatus();
  if (!partition.ok()) return partition.status();
  const absl::StatusOr<bool> populated = IsPopulated(cgroup);
  if (!populated.ok() || *populated) return populated.status();  // it is not going to be removed
  return cgroup.Write(kCpusetCpusPartition, "member");
}

}  // namespace

absl::Status Cgroup::RemoveChild(std::string_view name) const {
  {
    absl::StatusOr<Cgroup> child = OpenChild(name);
    if (absl::IsNotFound(child.status())) return absl::OkStatus();
    if (!child.ok()) return child.status();
    absl::StatusOr<std::vector<std::string>> grandchildren = child->Children();
    if (!grandchildren.ok()) return grandchildren.status();
    for (const std::string& grandchild : *grandchildren) {
      if (absl::Status status = child->RemoveChild(grandchild); !status.ok()) return status;
    }
    if (absl::Status status = GiveBackCpus(*child); !status.ok()) return status;
  }
  if (unlinkat(fd_.get(), std::string(name).c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT) return absl::OkStatus();
  if (errno == EBUSY) {
    return absl::FailedPreconditionError(
        Cat("remove cgroup ", path_, "/", name, ": processes still live in it (see its cgroup.procs)"));
  }
  return ErrnoError(errno, Cat("remove cgroup ", path_, "/", name));
}

absl::Status Cgroup::KillAndRemoveChild(std::string_view name, absl::Duration patience) const {
  absl::StatusOr<Cgroup> child = OpenChild(name);
  if (absl::IsNotFound(child.status())) return absl::OkStatus();
  if (!child.ok()) return child.status();
  if (absl::Status status = child->Kill(); !status.ok()) return status;
  const absl::Time deadline = absl::Now() + patience;
  for (;;) {
    const absl::StatusOr<bool> populated = IsPopulated(*child);
    if (!populated.ok()) return populated.status();
    if (!*populated) return RemoveChild(name);
    if (absl::Now() >= deadline) {
      return absl::DeadlineExceededError(
          Cat("remove cgroup ", child->path(), ": killed, but processes still live in it after ",
              absl::FormatDuration(patience), " (uninterruptible? see its cgroup.procs)"));
    }
    absl::SleepFor(absl::Milliseconds(2));
  }
}

absl::StatusOr<UniqueFd> Cgroup::OpenFile(std::string_view file) const {
  UniqueFd fd(openat(fd_.get(), std::string(file).c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return ErrnoError(errno, Cat("open ", path_, "/", file));
  return fd;
}

absl::StatusOr<std::string> Cgroup::Read(std::string_view file) const {
  absl::StatusOr<UniqueFd> fd = OpenFile(file);
  if (!fd.ok()) return fd.status();
  std::string text;
  std::array<char, 4096> buffer;
  for (;;) {
    const ssize_t count = read(fd->get(), buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return ErrnoError(errno, Cat("read ", path_, "/", file));
    text.append(buffer.data(), static_cast<size_t>(count));
    // A seq_file gives all it has, unless the next record does not fit into its page: a sweep reads thousands of files,
    // and need not ask each for its end.
    if (static_cast<size_t>(count) < buffer.size() / 2) break;
  }
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

absl::Status Cgroup::Write(std::string_view file, std::string_view value) const {
  const auto failed = [&](int error) {
    return ErrnoError(error, Cat("write ", file, "=", value, ": ", path_, "/", file));
  };
  UniqueFd fd(openat(fd_.get(), std::string(file).c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC));
  if (!fd) return failed(errno);
  // The line end is what makes an empty value a write at all.
  const std::string line = Cat(value, "\n");
  ssize_t count;
  do {
    count = write(fd.get(), line.data(), line.size());
  } while (count < 0 && errno == EINTR);
  if (count < 0) return failed(errno);
  if (static_cast<size_t>(count) != line.size()) return failed(EIO);
  return absl::OkStatus();
}

bool Cgroup::Has(std::string_view file) const { return faccessat(fd_.get(), std::string(file).c_str(), F_OK, 0) == 0; }

}  // namespace podfence
