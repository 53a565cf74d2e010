#pragma once

#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/verifier/libbpf.h"
#include "agent/verifier/sched_probe.h"
#include "bpf/podfence_bpf.h"

struct podfence_moves;
void DestroyMoves(podfence_moves* object);

namespace podfence {

// The ways to see that a task was moved out of its fence's cgroup, the best first.
enum class MoveMeans {
  kCall,        // every move, by whom
  kTracepoint,  // by whom, of processes that the last sweep found in a fence
  kSweep,       // of those, not by whom, and not of what came back meanwhile
};

// bpf/moves.bpf.c, loaded and attached in one of these ways, on the tables of a SchedProbe that outlives it.
class MoveProbe {
 public:
  // Errors carry the kernel's words.
  static absl::StatusOr<std::unique_ptr<MoveProbe>> Start(MoveMeans means, const SchedProbe& tables);
  // Remembers which process is in which fence and gives a record for each that has left one since the sweep before,
  // and that nothing was told of; none where every move is seen.
  absl::StatusOr<std::vector<podfence_event>> Sweep() const;
  void ReadStatistics(Probe& probe) const;

 private:
  MoveProbe() = default;
  std::unique_ptr<podfence_moves, FreeWith<DestroyMoves>> object_;
  std::vector<const bpf_program*> programs_;
  std::vector<LinkPtr> links_;
  const bpf_link* sweep_ = nullptr;
};

}  // namespace podfence
