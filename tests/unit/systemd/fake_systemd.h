#pragma once

#include <sys/types.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include <functional>
#include <set>
#include <string>
#include <vector>

namespace podfence {

// A system bus of its own (dbus-daemon) and on it, on the test's loop, what systemd offers of its manager.
class FakeSystemd {
 public:
  explicit FakeSystemd(sd_event* loop);
  ~FakeSystemd();
  FakeSystemd(const FakeSystemd&) = delete;
  FakeSystemd& operator=(const FakeSystemd&) = delete;

  static bool IsPossible();  // whether there is a dbus-daemon
  const std::string& address() const { return address_; }
  void Start();  // the bus, and systemd on it
  void Stop();
  // Runs the loop until it holds; false after 10 s.
  bool Until(const std::function<bool()>& holds);
  // Runs the loop for a while in which nothing is to happen.
  void Pass(int milliseconds);
  void AnswerHeld();

  // What was asked, "UNIT NAME=VALUE …" with sets as lists, and "revert UNIT".
  std::vector<std::string> asked;
  std::set<std::string> refused;  // units of which nothing may be set
  std::set<std::string> unknown;  // units that are not there
  bool hold = false;              // answers nothing until AnswerHeld

 private:
  static int OnSetUnitProperties(sd_bus_message* message, void* self, sd_bus_error* error);
  static int OnRevertUnitFiles(sd_bus_message* message, void* self, sd_bus_error* error);

  sd_event* loop_;
  std::string directory_;
  std::string address_;
  pid_t daemon_ = -1;
  sd_bus* bus_ = nullptr;
  std::vector<sd_bus_message*> held_;
};

}  // namespace podfence
