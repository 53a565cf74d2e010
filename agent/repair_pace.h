#pragma once

#include <algorithm>

#include "absl/time/time.h"

namespace podfence {

// How soon to look after a fence was written: at once as long as the look before found nothing to write, later and
// later against a writer that fights back. Pure.
class RepairPace {
 public:
  // slowest: of the regular sweep, which is never waited for longer.
  explicit RepairPace(absl::Duration slowest) : slowest_(slowest) {}

  // A look ended that wrote so many files, and repaired so many of them.
  void Looked(int writes, int repaired) {
    writing_ = writes > 0 ? writing_ + 1 : 0;
    repairing_ = repaired > 0 ? repairing_ + 1 : 0;
  }
  absl::Duration Wait() const {
    if (writing_ == 0) return absl::ZeroDuration();
    return std::min(slowest_, absl::Milliseconds(20) * (1 << std::min(writing_ - 1, 20)));
  }
  // Someone undoes what is repaired, again and again.
  bool Fought() const { return repairing_ >= 6; }

 private:
  absl::Duration slowest_;
  int writing_ = 0;  // looks in a row that had something to write
  int repairing_ = 0;
};

}  // namespace podfence
