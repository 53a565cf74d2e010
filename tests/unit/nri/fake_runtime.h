#pragma once

#include <systemd/sd-event.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "agent/cgroup/unique_fd.h"
#include "agent/nri/calls.h"
#include "agent/nri/mux.h"
#include "agent/nri/ttrpc.h"

namespace podfence {

// The runtime's end of NRI, on a socket in a directory of its own and on the test's loop. It is made of the same codec
// as the plugin: that this is the wire of real runtimes is what tests/nri shows.
class FakeRuntime {
 public:
  explicit FakeRuntime(sd_event* loop);
  ~FakeRuntime();
  FakeRuntime(const FakeRuntime&) = delete;
  FakeRuntime& operator=(const FakeRuntime&) = delete;

  const std::string& socket() const { return socket_; }
  void Listen();
  void StopListening();
  // Takes the plugin's next connection; false when none comes within 5 s.
  bool Accept();
  // Accepts, awaits RegisterPlugin, configures and synchronizes.
  bool AcceptAndRegister(const std::string& configure, const std::string& synchronize = "");
  void Close();
  bool Closed();  // by the plugin

  // Runs the loop until it holds; false after 5 s.
  bool Until(const std::function<bool()>& holds);
  // Calls the plugin and waits for its answer.
  absl::StatusOr<std::string> Call(const std::string& method, const std::string& payload);
  // Writes a call that nobody waits for.
  void Post(const std::string& method, const std::string& payload);
  void Write(std::string_view bytes) const;

  // What the plugin called, "Method payload", and how that is answered.
  std::vector<std::string> calls;
  std::function<absl::StatusOr<std::string>(const TtrpcRequest& request)> answer;

 private:
  void Read();

  sd_event* loop_;
  std::string directory_;
  std::string socket_;
  UniqueFd listener_;
  UniqueFd connection_;
  bool closed_ = false;
  // Of the connection.
  std::unique_ptr<TtrpcServer> server_;
  std::unique_ptr<TtrpcClient> client_;
  MuxDecoder mux_;
  TtrpcDecoder requests_;
  TtrpcDecoder replies_;
};

}  // namespace podfence
