#pragma once

#include <condition_variable>
#include <mutex>
#include <random>

#include "absl/time/time.h"
#include "agent/kubernetes/pod_feed.h"

namespace podfence {

// The growing, jittered delays of one thing that is tried again and again.
class BackOff {
 public:
  explicit BackOff(const RetryDelays& delays);
  absl::Duration Next();
  void Reset() { next_ = delays_.first; }

 private:
  const RetryDelays delays_;
  absl::Duration next_;
  std::minstd_rand random_;
};

// Where a thread waits until it is poked or stopped.
class Pause {
 public:
  // False: stopped. A poke since the last wait ends this one at once.
  bool Wait(absl::Duration time);
  void Poke();
  void Stop();
  bool stopped() const;

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool poked_ = false;
  bool stopped_ = false;
};

}  // namespace podfence
