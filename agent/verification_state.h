#pragma once

// What counts as clean, and what makes that unknown: one answer for the running agent and for `podfence verify`.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "agent/enforcer/finding.h"
#include "agent/verifier/observation.h"

namespace podfence {

// clean, findings or unknown: a finding is one whatever else is not known; what is not known is never clean.
std::string_view VerificationWord(bool findings, bool unknown);

// Where something may have happened that nobody was told of, since counting began. Monotonic.
struct Losses {
  uint64_t findings = 0;    // found, but with no room to tell of them: ring buffer, queue
  uint64_t dropped = 0;     // told of, but with no room to keep them
  uint64_t helpers = 0;     // times a probe could not read or remember what it needs
  uint64_t runs = 0;        // runs of probes that the kernel skipped
  uint64_t switches = 0;    // runs of tasks that were not wholly accounted
  uint64_t mismatches = 0;  // accounts of throttling that contradict each other
  friend bool operator==(const Losses&, const Losses&) = default;
};
Losses LossesOf(const Observation& seen);
// What was lost from one count to the next; empty: nothing.
std::vector<Unseen> LossesBetween(const Losses& before, const Losses& now);
// The probes that are wanted, do not run, and without which nothing finds the same.
std::vector<Unseen> ProbesMissing(const ProbeReport& report);

// Remembers losses until nothing of them matters any more: until a whole sweep, begun after the loss was seen, lost
// nothing, and for kHold at least, so that whoever scrapes once a minute sees it.
class LossWatch {
 public:
  static constexpr absl::Duration kHold = absl::Minutes(2);

  // The counts as they are now; they may begin anew only with the agent.
  void Count(const Losses& losses, absl::Time now);
  // A whole sweep is over. began: when it began; counts read at its end are in already.
  void Swept(absl::Time began);
  // What was lost and still matters at `now`, summed since the first of it.
  std::vector<Unseen> Held(absl::Time now) const;

 private:
  Losses counted_;
  Losses since_;                            // counts before the first loss that is held
  absl::Time lost_ = absl::InfinitePast();  // the last one
  bool held_ = false;                       // no clean sweep since lost_
};

}  // namespace podfence
