#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "agent/cgroup/cgroup.h"

namespace podfence {

// Names cgroups by their ids, for messages: the kernel's programs know ids alone. The whole hierarchy is read when an
// id is not known yet, but at most once in kPause, so that ids of cgroups that are gone cost nothing.
class CgroupPaths {
 public:
  static constexpr absl::Duration kPause = absl::Seconds(5);
  static constexpr size_t kMaxCgroups = 16384;  // beyond it the hierarchy is not read further

  // root: the hierarchy's, absolute.
  explicit CgroupPaths(std::string root) : root_(std::move(root)) {}

  // The path below the root, "/" for the root itself; empty where no cgroup has the id (any more), or it was made since
  // the hierarchy was read. now: on any clock that never goes back.
  std::string Find(uint64_t id, absl::Time now);

 private:
  void Scan();

  std::string root_;
  std::unordered_map<uint64_t, std::string> paths_;
  absl::Time scanned_ = absl::InfinitePast();
};

}  // namespace podfence
