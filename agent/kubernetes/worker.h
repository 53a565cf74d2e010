#pragma once

#include <functional>
#include <future>
#include <thread>

namespace podfence {

// A thread beside the agent's loop. Signals are the loop's: they are blocked here.
class Worker {
 public:
  // name: at most 15 characters, as top shows it.
  Worker(const char* name, std::function<void()> run);
  // Interrupts until the thread ends: an interruption that came between two of its blocking calls was missed.
  void Join(const std::function<void()>& interrupt);

 private:
  std::promise<void> ended_;
  std::thread thread_;
};

}  // namespace podfence
