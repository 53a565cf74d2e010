#pragma once

#include <systemd/sd-event.h>

#include <chrono>
#include <functional>

namespace podfence {

// An agent's loop, turned until something is so.
class Loop {
 public:
  Loop() { sd_event_new(&event_); }
  ~Loop() { sd_event_unref(event_); }
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  sd_event* get() const { return event_; }
  bool RunUntil(const std::function<bool()>& so, std::chrono::seconds patience = std::chrono::seconds(20)) {
    const auto end = std::chrono::steady_clock::now() + patience;
    while (!so()) {
      if (std::chrono::steady_clock::now() > end) return false;
      sd_event_run(event_, 10'000);
    }
    return true;
  }

 private:
  sd_event* event_ = nullptr;
};

}  // namespace podfence
