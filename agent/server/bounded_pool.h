#pragma once

#include <httplib.h>

#include <array>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace podfence {

// The threads that answer requests. httplib's own pool queues without a bound, and each connection in the queue holds a
// descriptor of the agent's, which needs them for cgroups: here only kMostWaiting wait, the others in the kernel's
// backlog.
class BoundedPool final : public httplib::TaskQueue {
 public:
  static constexpr size_t kMostWaiting = 8;

  BoundedPool();
  // Waits while kMostWaiting jobs wait.
  void enqueue(std::function<void()> job) override;
  // Ends what is queued, and waits for it.
  void shutdown() override;

 private:
  void Work();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> jobs_;
  bool ended_ = false;
  // A scrape, the probes and a person; and whoever sends nothing.
  std::array<std::thread, 4> threads_;
};

}  // namespace podfence
