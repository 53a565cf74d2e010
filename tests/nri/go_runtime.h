#pragma once

#include <sys/types.h>
#include <systemd/sd-event.h>

#include <functional>
#include <string>
#include <vector>

#include "agent/cgroup/unique_fd.h"
#include "nlohmann/json.hpp"

namespace podfence {

// The program of tests/nri/runtime: containerd's and CRI-O's own NRI code behind a socket.
class GoRuntime {
 public:
  struct Program {
    std::string missing;  // why it cannot be had on this machine; empty: it can
    std::string errors;   // the compiler's
  };
  // Builds it at the first call.
  static const Program& Build();

  explicit GoRuntime(sd_event* loop);
  ~GoRuntime();
  GoRuntime(const GoRuntime&) = delete;
  GoRuntime& operator=(const GoRuntime&) = delete;

  const std::string& socket() const { return socket_; }
  // Starts it, and waits until it listens.
  void Start(const std::vector<std::string>& arguments = {});
  void Stop();  // at once, as a crash
  // Relays an event to the plugins: its line {"reply"} or {"error"}.
  nlohmann::json Relay(const std::string& event, const nlohmann::json& request);
  // The next line with this key; null when none comes within 20 s. Runs the loop meanwhile.
  nlohmann::json Await(const std::string& key);
  bool Until(const std::function<bool()>& holds);

 private:
  void Read();

  sd_event* loop_;
  std::string directory_;
  std::string socket_;
  pid_t pid_ = -1;
  UniqueFd in_;
  UniqueFd out_;
  std::string text_;
  std::vector<nlohmann::json> lines_;
};

}  // namespace podfence
