#pragma once

#include "absl/container/inlined_vector.h"
#include "agent/allocator/merge_exclusion.h"

namespace podfence {

// Nodes that are left out, each by an excluder that can still spare it. A value: searches copy it and go back to it.
class Packing {
 public:
  explicit Packing(const Excluders& excluders);

  // Leaves a node out, moving others between the excluders where needed; false: they cannot leave out all of them.
  bool LeaveOut(int node);
  PositionMask left_out() const { return left_out_; }
  // Whether, by amounts and numbers alone, count of the nodes could still be left out beside those that are.
  bool MaySpare(PositionMask nodes, int count) const;

 private:
  using Spare = absl::InlinedVector<uint64_t, 12>;  // of each excluder: nodes, then its amounts

  bool Fits(size_t excluder, int node, const Spare& spare) const;
  void Take(size_t excluder, int node, Spare& spare) const;
  bool Repack();

  const Excluders& excluders_;
  absl::InlinedVector<size_t, 4> offset_;
  Spare all_;    // before anything is left out
  Spare spare_;  // what the present assignment leaves
  PositionMask left_out_ = 0;
};

}  // namespace podfence
