#pragma once

#include <map>
#include <string>
#include <utility>

#include "agent/core/histogram.h"
#include "agent/server/snapshot.h"
#include "agent/verifier/observation.h"

namespace podfence {

// What the kernel counted of one container, in seconds: every other of its ranges, 1 us to 1.07 s and what is longer,
// and quantiles of them all. The kernel's ranges end below their bounds, a Histogram's at them: 1 ns of difference.
RunQueueView RunQueueOf(const WaitHistogram& wait);

// Sums waits by assignment over containers that come and go, so that the sums never fall.
class RunQueueTotals {
 public:
  RunQueueTotals();
  // What there is of a container now, which may have begun anew since the last time.
  void Add(const std::string& uid, const std::string& container, const std::string& assignment, const Histogram& waits);
  // Forgets the readings, not the sums, of pods that are gone.
  template <typename Gone>
  void Forget(Gone gone) {
    std::erase_if(last_, [&](const auto& entry) { return gone(entry.first.first); });
  }
  const std::map<std::string, Histogram>& sums() const { return sums_; }  // by each of kRunQueueAssignments

 private:
  std::map<std::pair<std::string, std::string>, Histogram> last_;  // by UID and container
  std::map<std::string, Histogram> sums_;
};

}  // namespace podfence
