#include "agent/server/bounded_pool.h"

#include <utility>

namespace podfence {

BoundedPool::BoundedPool() {
  for (std::thread& thread : threads_) thread = std::thread([this] { Work(); });
}

void BoundedPool::enqueue(std::function<void()> job) {
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return jobs_.size() < kMostWaiting; });
    jobs_.push_back(std::move(job));
  }
  changed_.notify_all();
}

void BoundedPool::shutdown() {
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void BoundedPool::Work() {
  for (;;) {
    std::function<void()> job;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return !jobs_.empty() || ended_; });
      if (jobs_.empty()) return;
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    changed_.notify_all();
    job();
  }
}

}  // namespace podfence
