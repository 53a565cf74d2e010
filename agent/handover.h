#pragma once

#include <sys/types.h>
#include <systemd/sd-event.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "agent/cgroup/unique_fd.h"
#include "agent/nri/plugin.h"
#include "agent/runtime/event_source.h"
#include "agent/runtime_book.h"

namespace podfence {

// How an agent of mode manage passes its node on to a successor that is started beside it (an upgrade, a changed
// configuration), so that the runtime never is without one: the state directory's lock, the runtime's connection, and
// what the runtime has told. The decisions are in the checkpoint. Over the socket "handover.sock" of the state
// directory, in one message.
struct Handover {
  UniqueFd lock;
  std::optional<NriSession> nri;  // none: the runtime has not registered the agent
  RuntimeBook book;
};

// The present agent's side, on its loop.
class HandoverServer {
 public:
  struct Handlers {
    // From here on this agent answers and writes nothing. Unavailable: not at this moment; the successor asks again.
    std::function<absl::StatusOr<Handover>()> give;
    // The successor (its process) has it all.
    std::function<void(pid_t successor)> given;
    // It could not be sent: this agent goes on.
    std::function<void(Handover)> take_back;
  };
  static absl::StatusOr<std::unique_ptr<HandoverServer>> Listen(sd_event* loop, const std::string& state_directory,
                                                                Handlers handlers);
  ~HandoverServer();

 private:
  explicit HandoverServer(UniqueFd listener, std::string path, Handlers handlers);
  void OnConnection();

  UniqueFd listener_;
  std::string path_;
  Handlers handlers_;
  EventSource source_;
};

// The successor's side: waits at most so long. NotFound where no agent listens; else the reason of the other side, or
// of the wire. Everything slow is done before: the runtime waits for an answer from here on.
absl::StatusOr<Handover> AskForHandover(const std::string& state_directory, absl::Duration patience);

}  // namespace podfence
