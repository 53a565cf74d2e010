#include "agent/kubernetes/worker.h"

#include <pthread.h>

#include <chrono>
#include <csignal>
#include <utility>

namespace podfence {

Worker::Worker(const char* name, std::function<void()> run) {
  // Blocked in here and inherited, so that no signal finds the new thread before it has blocked them itself.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this, run = std::move(run)] {
    run();
    ended_.set_value();
  });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_setname_np(thread_.native_handle(), name);
}

void Worker::Join(const std::function<void()>& interrupt) {
  constexpr std::chrono::milliseconds kAgain{50};
  const std::future<void> ended = ended_.get_future();
  do {
    interrupt();
  } while (ended.wait_for(kAgain) != std::future_status::ready);
  thread_.join();
}

}  // namespace podfence
