#pragma once

// state/ keeps what was decided: one file, committed whole before anything is enforced (design: State). It may use
// core/ and pods/ (a pod's JSON); it decides nothing.

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "agent/core/node_state.h"

namespace podfence {

// What was found in the state directory.
struct LoadedState {
  NodeState state;
  bool found = false;     // false: there is no usable checkpoint, state is empty
  bool rebooted = false;  // it was committed before the machine's last boot
  std::string set_aside;  // where a damaged checkpoint was moved to; empty: none was damaged
  std::string damage;     // what was wrong with it
};

// The checkpoint of one node. Holds the state directory's lock as long as it lives: one agent a node.
class StateStore {
 public:
  // Makes the directory if it is not there and takes its lock. FailedPrecondition names the process that holds it;
  // other errors name the directory and the system's reason.
  static absl::StatusOr<StateStore> Open(std::string directory);
  // With the lock that another agent has handed over: a descriptor of its file, which this takes.
  static absl::StatusOr<StateStore> Open(std::string directory, int lock_fd);
  StateStore(StateStore&& other) noexcept;
  StateStore& operator=(StateStore&& other) noexcept;
  ~StateStore();

  // Reads the checkpoint. A damaged one (length, checksum, JSON, contents) is moved to
  // state.damaged-<n> and reported, never refused. Errors: only what prevents reading or moving at all.
  absl::StatusOr<LoadedState> Load();

  // Writes state to a temporary, fsyncs, renames, fsyncs the directory: after OK it survives a power cut, after an
  // error the former checkpoint still stands.
  absl::Status Commit(const NodeState& state);

  const std::string& directory() const { return directory_; }
  // The lock is held as long as any copy of this descriptor is open.
  int lock_fd() const { return lock_fd_; }

 private:
  StateStore(std::string directory, int directory_fd, int lock_fd);
  absl::Status NameHolder();
  std::string directory_;
  int directory_fd_ = -1;
  int lock_fd_ = -1;
};

// Where the checkpoint of a state directory is.
std::string CheckpointPath(const std::string& directory);

// Reads a checkpoint file without a lock, for `podfence plan --state` and `podfence verify`. InvalidArgument says what
// is wrong with it.
absl::StatusOr<NodeState> ReadCheckpoint(const std::string& path);

}  // namespace podfence
