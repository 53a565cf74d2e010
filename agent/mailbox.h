#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>

#include "absl/status/statusor.h"
#include "agent/server/snapshot.h"

namespace podfence {

// The one place where the server's threads and the agent's loop meet: a thread asks for a snapshot, the loop is woken
// through a descriptor, takes one and publishes it. An idle agent so measures nothing that nobody asks for.
class SnapshotMailbox {
 public:
  static absl::StatusOr<std::unique_ptr<SnapshotMailbox>> Create();
  ~SnapshotMailbox();

  // On any thread: a snapshot made after this call, or the last one where the loop does not answer in time; null
  // before the first was published.
  std::shared_ptr<const Snapshot> Request();

  // On the loop: the descriptor that becomes readable when someone asks, and the answer to all who asked by now.
  int fd() const { return fd_; }
  void Answer(const std::function<std::shared_ptr<const Snapshot>()>& take);

 private:
  explicit SnapshotMailbox(int fd) : fd_(fd) {}
  const int fd_;
  std::mutex mutex_;
  std::condition_variable published_;
  std::shared_ptr<const Snapshot> latest_;
  uint64_t asked_ = 0;
  uint64_t answered_ = 0;
};

}  // namespace podfence
