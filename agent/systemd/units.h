#pragma once

#include <systemd/sd-event.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "agent/systemd/unit.h"

namespace podfence {

// Where the system bus is: $DBUS_SYSTEM_BUS_ADDRESS, else the socket that systemd listens on for it.
std::string SystemBusAddress();

struct SystemdOptions {
  std::string address = SystemBusAddress();
  absl::Duration gather = absl::Milliseconds(100);  // what changes within it is told together
  absl::Duration timeout = absl::Seconds(10);       // of one call
  // After a failure, doubled each time.
  absl::Duration retry_first = absl::Seconds(1);
  absl::Duration retry_longest = absl::Minutes(1);
};

// Tells systemd what its units are held to (Manager.SetUnitProperties, until the next boot), after the cgroups were
// written. On the loop's thread; nothing waits but Settle. Connects when there is something to tell, and again with
// back-off after a failure: until then what systemd writes is drift, and repaired as such.
class SystemdUnits {
 public:
  // Called when telling fails, or is refused, and with Ok once all is told again.
  using OnStatus = std::function<void(const absl::Status&)>;

  static absl::StatusOr<std::unique_ptr<SystemdUnits>> Create(sd_event* loop, SystemdOptions options,
                                                              OnStatus on_status);
  ~SystemdUnits();

  // After each pass: its cgroups, and those (by path) in which someone had changed what is written again: systemd's
  // notes of these say what they may, and are told as a whole. What is under way for a unit that is wanted otherwise by
  // now is followed at once by what is wanted, so that systemd does not write the older for longer than it must.
  void Follow(const std::vector<LiveFence>& live, const std::vector<std::string>& changed);

  // Waits until all is told, at most that long: at the end, when the loop does not run any more; nothing is told after
  // it. An error says what is not.
  absl::Status Settle(absl::Duration patience);

 private:
  struct Impl;
  explicit SystemdUnits(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace podfence
