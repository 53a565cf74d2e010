#pragma once

#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "agent/runtime/runtime.h"
#include "agent/server/snapshot.h"

namespace podfence {

class Agent;

// What differs between the agent's modes: where pods come from, who runs their containers, and what is done with a pod
// that is refused. On the loop's thread alone.
class Mode {
 public:
  virtual ~Mode() = default;

  virtual std::string_view name() const = 0;
  // Takes up the pods of the checkpoint, and adds its event sources to the agent's loop. The agent's ledger and witness
  // stand, nothing listens yet.
  virtual absl::Status Start() = 0;
  // What lives, for the snapshots.
  virtual const Runtime& runtime() const = 0;
  // At each sweep: what failed before may be tried again.
  virtual void Retry() = 0;
  // At each sweep: those of its own findings that still hold.
  virtual std::vector<FindingView> Standing() const { return {}; }
  // Adds what only the mode knows.
  virtual void Complete(Snapshot& snapshot) const = 0;
};

}  // namespace podfence
