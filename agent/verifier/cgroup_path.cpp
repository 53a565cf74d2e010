#include "agent/verifier/cgroup_path.h"

#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

#include <cstring>
#include <vector>

#include "agent/cgroup/unique_fd.h"
#include "agent/core/text.h"

namespace podfence {
namespace {

constexpr int kFileIdKernfs = 0xfe;  // FILEID_KERNFS of include/linux/exportfs.h: the handle is the node's id

}  // namespace

std::string CgroupPath(const Cgroup& root, uint64_t id) {
  std::vector<char> memory(sizeof(file_handle) + sizeof(id));
  auto* handle = reinterpret_cast<file_handle*>(memory.data());
  handle->handle_bytes = sizeof(id);
  handle->handle_type = kFileIdKernfs;
  std::memcpy(handle->f_handle, &id, sizeof(id));
  const UniqueFd fd(open_by_handle_at(root.fd(), handle, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return "";
  char path[PATH_MAX];
  const ssize_t length = readlink(Cat("/proc/self/fd/", fd.get()).c_str(), path, sizeof(path));
  if (length <= 0) return "";
  const std::string_view full(path, static_cast<size_t>(length));
  const std::string prefix = Cat(root.path(), "/");
  return full.starts_with(prefix) ? std::string(full.substr(prefix.size())) : std::string(full);
}

}  // namespace podfence
