#include "agent/cgroup/cgroup_paths.h"

#include <dirent.h>
#include <sys/stat.h>

#include <deque>
#include <memory>
#include <string_view>

#include "agent/core/text.h"

namespace podfence {

std::string CgroupPaths::Find(uint64_t id, absl::Time now) {
  if (id == 0) return "";
  if (const auto known = paths_.find(id); known != paths_.end()) return known->second;
  if (now - scanned_ < kPause) return "";
  scanned_ = now;
  Scan();
  const auto found = paths_.find(id);
  return found == paths_.end() ? "" : found->second;
}

// A directory's inode is the cgroup's id (kernfs), and readdir gives it: nothing but directories is opened.
void CgroupPaths::Scan() {
  paths_.clear();
  struct stat root = {};
  if (stat(root_.c_str(), &root) != 0) return;
  paths_.emplace(root.st_ino, "/");
  std::deque<std::string> open = {""};
  while (!open.empty() && paths_.size() < kMaxCgroups) {
    const std::string path = std::move(open.front());
    open.pop_front();
    const std::unique_ptr<DIR, int (*)(DIR*)> directory(opendir(Cat(root_, "/", path).c_str()), closedir);
    if (directory == nullptr) continue;  // gone meanwhile
    while (const dirent* entry = readdir(directory.get())) {
      const std::string_view name = entry->d_name;
      if (entry->d_type != DT_DIR || name == "." || name == "..") continue;
      std::string child = path.empty() ? std::string(name) : Cat(path, "/", name);
      paths_.emplace(entry->d_ino, child);
      open.push_back(std::move(child));
    }
  }
}

}  // namespace podfence
