#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/nri/messages.h"
#include "agent/nri/plugin.h"
#include "agent/nri/statistics.h"

namespace podfence {

// "containerd v2.4.2".
std::string NriRuntimeId(const NriConfigureRequest& runtime);

// Our side of one connection: NRI's service Plugin, from a method and its payload to the handlers and back. No socket,
// no time but for the statistics.
class NriService {
 public:
  // All of a runtime's pods and containers; the reference has no limit, a node has a few hundred of a few KB each.
  static constexpr size_t kMaxSynchronize = size_t{64} << 20;

  // Both must outlive the service. `old_runtime` is the NriRuntimeId of one that refused the events of NRI 0.10: it is
  // asked for the older ones alone. Empty: none did.
  NriService(const NriHandlers* handlers, NriStatistics* statistics, std::string old_runtime);

  // The same on a connection that another plugin of ours had: it is synchronized.
  NriService(const NriHandlers* handlers, NriStatistics* statistics, NriConfigureRequest runtime, uint32_t events);

  // The reply's payload, or the error that the runtime's call ends with; Unimplemented for an unknown method.
  absl::StatusOr<std::string> Answer(std::string_view method, std::string_view payload);

  // Who calls us, once it has configured us, and what we subscribed to.
  const std::optional<NriConfigureRequest>& runtime() const { return runtime_; }
  uint32_t events() const { return events_; }
  // The synchronization has begun: the runtime took our subscription.
  bool accepted() const { return accepted_; }
  bool synchronized() const { return synchronized_; }
  // Not OK: this connection cannot be used any more.
  const absl::Status& failure() const { return failure_; }

 private:
  absl::StatusOr<std::string> Configure(std::string_view payload);
  absl::StatusOr<std::string> Synchronize(std::string_view payload);
  absl::StatusOr<std::string> Validate(std::string_view payload);
  absl::StatusOr<std::string> Event(NriEvent event, const NriEventRequest& request);
  absl::Status Tell(NriEvent event, const NriEventRequest& request);

  const NriHandlers* handlers_;
  NriStatistics* statistics_;
  std::string old_runtime_;
  std::optional<NriConfigureRequest> runtime_;
  uint32_t events_ = 0;
  bool accepted_ = false;
  bool synchronized_ = false;
  NriSynchronizeRequest state_;  // what has come of it
  size_t state_size_ = 0;
  bool rejected_ = false;  // the call in progress
  absl::Status failure_;
};

}  // namespace podfence
