#include "agent/kubernetes/retry.h"

#include <algorithm>

namespace podfence {

BackOff::BackOff(const RetryDelays& delays) : delays_(delays), next_(delays.first), random_(std::random_device{}()) {}

absl::Duration BackOff::Next() {
  const absl::Duration delay = next_;
  next_ = std::min(2 * next_, delays_.longest);
  return delay * (1.0 + std::uniform_real_distribution<double>(0, 1)(random_));
}

bool Pause::Wait(absl::Duration time) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, absl::ToChronoNanoseconds(time), [&] { return poked_ || stopped_; });
  poked_ = false;
  return !stopped_;
}

void Pause::Poke() {
  {
    const std::lock_guard lock(mutex_);
    poked_ = true;
  }
  changed_.notify_all();
}

void Pause::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  changed_.notify_all();
}

bool Pause::stopped() const {
  const std::lock_guard lock(mutex_);
  return stopped_;
}

}  // namespace podfence
