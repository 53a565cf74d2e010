// What a runtime, or whoever listens in its place, can send us: frames, calls, messages. The first byte says how the
// others are taken: 0 as the bytes of the socket, 1 to 15 as the payload of one method, so that messages are reached
// without three envelopes around them.
//
// Beside what the sanitizers find: where the stream is cut must not matter, memory must not exceed what came, and a
// value that was read must be one that can be written.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "agent/nri/calls.h"
#include "agent/nri/events.h"
#include "agent/nri/messages.h"
#include "agent/nri/mux.h"
#include "agent/nri/service.h"
#include "agent/nri/ttrpc.h"

namespace podfence {
namespace {

void Require(bool holds) {
  if (!holds) std::abort();
}

// Handlers that give back what they were given.
NriHandlers Echo() {
  NriHandlers handlers;
  const auto pod = [](const NriPod& subject) {
    return subject.uid.empty() ? absl::NotFoundError(subject.name) : absl::OkStatus();
  };
  const auto container = [](const NriPod& subject, const NriContainer&) {
    return subject.uid.empty() ? absl::NotFoundError(subject.name) : absl::OkStatus();
  };
  using Updates = std::vector<NriContainerUpdate>;
  handlers.on_synchronize = [](const std::vector<NriPod>&, const std::vector<NriContainer>& containers) {
    Updates updates;
    for (const NriContainer& subject : containers)
      updates.push_back({.id = subject.id, .resources = subject.resources});
    return updates;
  };
  handlers.run_pod_sandbox = handlers.stop_pod_sandbox = handlers.remove_pod_sandbox = pod;
  handlers.post_update_pod_sandbox = pod;
  handlers.update_pod_sandbox = [](const NriPod&, const auto& overhead, const auto& resources) {
    return overhead == resources ? absl::OkStatus() : absl::AbortedError("differ");
  };
  handlers.create_container = [](const NriPod& subject, const NriContainer& created) {
    return NriCreateReply{.adjustment = {.annotations = subject.annotations,
                                         .resources = created.resources,
                                         .cgroups_path = created.cgroups_path},
                          .updates = {{.id = created.id, .resources = subject.pod_resources.value_or(NriResources{})}}};
  };
  handlers.validate_adjustment = [](const NriValidation& validation) {
    Require(ParseNriUpdates(EncodeNriUpdates(validation.updates)).value() == validation.updates);
    return validation.owners.empty() ? absl::OkStatus() : absl::AbortedError(validation.adjustment.cgroups_path);
  };
  handlers.post_create_container = handlers.start_container = handlers.post_start_container = container;
  handlers.post_update_container = handlers.remove_container = container;
  handlers.update_container = [](const NriPod&, const NriContainer& subject, const NriResources& wanted) {
    return Updates{{.id = subject.id, .resources = wanted}};
  };
  handlers.stop_container = [](const NriPod&, const NriContainer& subject) {
    return Updates{{.id = subject.id, .resources = subject.resources, .ignore_failure = true}};
  };
  return handlers;
}

const NriHandlers& Handlers() {
  static const NriHandlers handlers = Echo();
  return handlers;
}

// What a message is known by, and what we answered.
using Seen = std::vector<std::tuple<uint32_t, uint32_t, int, std::string, size_t>>;

// One connection, its bytes fed in parts of `part`.
struct Connection {
  NriStatistics statistics;
  NriService service{&Handlers(), &statistics, ""};
  TtrpcServer server{"nri.pkg.api.v1alpha1.Plugin", kMuxQueue* kMuxMaxSend,
                     [this](const TtrpcRequest& request) { return service.Answer(request.method, request.payload); }};
  TtrpcClient client{"nri.pkg.api.v1alpha1.Runtime"};
  MuxDecoder mux;
  TtrpcDecoder calls;
  TtrpcDecoder replies;
  Seen seen;

  absl::Status Take(uint32_t stream, TtrpcMessage message) {
    Require(!message.oversize() || message.body.empty());
    size_t answered = 0;
    if (stream == kMuxPluginService) {
      answered = server.Handle(message).size();
    } else {
      client.Handle(message);
    }
    seen.emplace_back(stream, message.stream, message.type, std::move(message.body), answered);
    return absl::OkStatus();
  }

  bool Feed(std::string_view bytes, size_t part) {
    for (int call = 0; call < 4; ++call) {
      const auto done = [](const absl::StatusOr<std::string>& reply) {
        if (reply.ok()) static_cast<void>(ParseNriUpdates(*reply));
      };
      Require(client.Call("UpdateContainers", "", absl::ZeroDuration(), absl::Seconds(1), done).ok());
    }
    for (; !bytes.empty(); bytes.remove_prefix(std::min(part, bytes.size()))) {
      const absl::Status status =
          mux.Feed(bytes.substr(0, part), [this](uint32_t stream, std::string_view piece) -> absl::Status {
            TtrpcDecoder& decoder = stream == kMuxPluginService ? calls : replies;
            if (stream != kMuxPluginService && stream != kMuxRuntimeService) return absl::OkStatus();
            return decoder.Feed(piece, [&](TtrpcMessage message) { return Take(stream, std::move(message)); });
          });
      if (!status.ok()) return false;
    }
    return true;
  }
};

void FuzzWire(std::string_view bytes) {
  Connection whole;
  Connection cut;
  const bool good = whole.Feed(bytes, bytes.size());
  Require(cut.Feed(bytes, 1) == good);
  Require(whole.seen == cut.seen);
  whole.client.Expire(absl::Hours(1));
  cut.client.Fail(absl::UnavailableError("end"));
}

void FuzzMethod(int method, std::string_view payload) {
  NriStatistics statistics;
  NriService service(&Handlers(), &statistics, "");
  if (method <= 14) {
    static_cast<void>(service.Answer(NriMethodOf(static_cast<NriEvent>(method)), payload));
    return;
  }
  for (const char* name : {"Configure", "Synchronize", "StateChange"}) {
    static_cast<void>(service.Answer(name, payload));
  }
  const absl::StatusOr<std::vector<NriContainerUpdate>> updates = ParseNriUpdates(payload);
  if (updates.ok()) Require(ParseNriUpdates(EncodeNriUpdates(*updates)).value() == *updates);
}

}  // namespace
}  // namespace podfence

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  const int way = data[0] % 16;
  if (way == 0) {
    podfence::FuzzWire(rest);
  } else {
    podfence::FuzzMethod(way, rest);
  }
  return 0;
}
