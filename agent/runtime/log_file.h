#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/cgroup/unique_fd.h"

namespace podfence {

// The log of one container. Its process writes into the open file by itself, so that nothing of the agent stands
// between them; the file is bounded by copying it to "<path>.1" and cutting it, as logrotate's copytruncate does: what
// is written in between is lost.
class LogFile {
 public:
  LogFile(std::string path, uint64_t max_bytes) : path_(std::move(path)), max_bytes_(max_bytes) {}
  // Opens it for appending, for a process that is about to start.
  absl::StatusOr<UniqueFd> Open() const;
  // Cuts it where it is larger than max_bytes. Ok where there is none.
  absl::Status Bound() const;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  uint64_t max_bytes_;
};

}  // namespace podfence
