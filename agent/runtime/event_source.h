#pragma once

#include <systemd/sd-event.h>

#include <utility>

namespace podfence {

// Owns one source of an sd-event loop. Moved, not copied; the source ends with it.
class EventSource {
 public:
  EventSource() = default;
  explicit EventSource(sd_event_source* source) : source_(source) {}
  EventSource(EventSource&& other) noexcept : source_(std::exchange(other.source_, nullptr)) {}
  EventSource& operator=(EventSource&& other) noexcept {
    std::swap(source_, other.source_);
    return *this;
  }
  ~EventSource() { reset(); }

  sd_event_source* get() const { return source_; }
  explicit operator bool() const { return source_ != nullptr; }
  void reset() { source_ = sd_event_source_disable_unref(source_); }

 private:
  sd_event_source* source_ = nullptr;
};

}  // namespace podfence
