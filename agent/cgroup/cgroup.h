#pragma once

// The cgroup room: cgroup v2 by directory handles. It opens, makes and removes cgroups and reads and writes their
// control files, and knows their formats (control.h). It may use core/ alone; what should stand in the files is
// decided elsewhere (enforcer/). Roots are injected, paths appear only in messages.

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "agent/cgroup/unique_fd.h"

namespace podfence {

// One cgroup: an open directory. Everything is done relative to the handle (openat), so a directory that was removed
// and made again under the same name is another cgroup, and operations on the old handle fail with NotFound.
// Moved, not copied; the handle closes with it. Errors name the operation, the file and what the kernel said.
class Cgroup {
 public:
  // Opens the directory at an absolute path. NotFound where there is none.
  static absl::StatusOr<Cgroup> Open(const std::string& path);
  // Opens a direct child. NotFound where there is none; InvalidArgument where name is not one path component.
  absl::StatusOr<Cgroup> OpenChild(std::string_view name) const;
  // Opens a direct child and makes it first where it is missing.
  absl::StatusOr<Cgroup> CreateChild(std::string_view name) const;
  // The names of the direct children, ascending.
  absl::StatusOr<std::vector<std::string>> Children() const;
  // Another handle of the same cgroup.
  absl::StatusOr<Cgroup> Duplicate() const;

  // Kills every process of the subtree (cgroup.kill, Linux 5.14). Returns at once; the processes end a little later.
  absl::Status Kill() const;
  // Removes the child and all cgroups below it. Fails with FailedPrecondition where processes still live in it, naming
  // the cgroup. A child that is not there is removed already: Ok.
  absl::Status RemoveChild(std::string_view name) const;
  // Kills what lives in the child, waits for it at most `patience`, then removes it. DeadlineExceeded where processes
  // outlive that (uninterruptible sleep).
  absl::Status KillAndRemoveChild(std::string_view name, absl::Duration patience) const;

  // The whole text of a control file, trailing white space cut. NotFound: no such file (controller not enabled here).
  absl::StatusOr<std::string> Read(std::string_view file) const;
  // Writes value in one write(2), as control files demand.
  absl::Status Write(std::string_view file, std::string_view value) const;
  bool Has(std::string_view file) const;
  // An own descriptor of a control file, for poll (cgroup.events raises EPOLLPRI).
  absl::StatusOr<UniqueFd> OpenFile(std::string_view file) const;

  // The cgroup id: the directory's inode, as bpf_get_current_cgroup_id gives it.
  uint64_t id() const { return id_; }
  // Where it was opened, for messages.
  const std::string& path() const { return path_; }
  // Valid as long as this object; for clone3's CLONE_INTO_CGROUP.
  int fd() const { return fd_.get(); }

 private:
  Cgroup(UniqueFd fd, uint64_t id, std::string path) : fd_(std::move(fd)), id_(id), path_(std::move(path)) {}
  static absl::StatusOr<Cgroup> FromDescriptor(UniqueFd fd, std::string path);
  UniqueFd fd_;
  uint64_t id_;
  std::string path_;
};

// Opens the root of the cgroup v2 hierarchy (normally /sys/fs/cgroup) and checks that it can fence: it is cgroup v2 and
// has the controllers cpuset, cpu and memory. FailedPrecondition says what is missing and how to get it.
absl::StatusOr<Cgroup> OpenHierarchy(const std::string& root);

// Which of cpuset, cpu and memory the children of cgroup do not have (cgroup.subtree_control).
absl::StatusOr<std::vector<std::string>> MissingControllers(const Cgroup& cgroup);
// Enables cpuset, cpu and memory for the children of cgroup (cgroup.subtree_control); what is enabled already stays.
// FailedPrecondition where a controller is not available here, or where processes live in the cgroup itself.
absl::Status EnableControllers(const Cgroup& cgroup);

}  // namespace podfence
