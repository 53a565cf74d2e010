#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "agent/nri/ttrpc.h"

namespace podfence {

// Both ends of ttrpc's calls, without a socket: messages in, messages to send out.

// Answers calls of one service, as they come.
class TtrpcServer {
 public:
  // Answers a method; Unimplemented for one that there is not.
  using Answer = std::function<absl::StatusOr<std::string>(const TtrpcRequest& request)>;
  // last_stream: of the calls that were answered before on this connection.
  TtrpcServer(std::string service, size_t max_reply, Answer answer, uint32_t last_stream = 0);

  // What to send back: the answer, or why there is none, as the reference's server says it (ttrpc server.go run): code
  // 12 for a service or method that there is not, 3 for a message out of order, 8 for one that is too large. Empty for
  // a message of a type that is not known. A reply of more than max_reply bytes is replaced by code 8.
  std::string Handle(const TtrpcMessage& message);
  uint32_t last_stream() const { return last_stream_; }

 private:
  absl::StatusOr<std::string> Reply(const TtrpcMessage& message);

  std::string service_;
  size_t max_reply_;
  Answer answer_;
  uint32_t last_stream_;
};

// Calls a service. Moments are durations since any moment in the past, of a clock that never jumps.
class TtrpcClient {
 public:
  using Done = std::function<void(absl::StatusOr<std::string> payload)>;
  // next_stream: after the calls that were made before on this connection.
  explicit TtrpcClient(std::string service, uint32_t next_stream = 1);

  // The message to send; `done` is called once, from Handle, Expire or Fail. `timeout`: InfiniteDuration for none.
  // ResourceExhausted when it is too large, or would with those that are not answered yet be more frames than the other
  // side queues (kMuxQueue).
  absl::StatusOr<std::string> Call(std::string_view method, std::string payload, absl::Duration now,
                                   absl::Duration timeout, Done done);
  // An answer; one to no call that waits (it came too late) is passed over, as is what is no
  // answer. A broken one ends its call with InvalidArgument.
  void Handle(const TtrpcMessage& message);
  // DeadlineExceeded for the calls whose time is over.
  void Expire(absl::Duration now);
  // Ends all calls with this error.
  void Fail(const absl::Status& reason);
  // When the next call's time is over; InfiniteDuration without any.
  absl::Duration next_deadline() const;
  bool idle() const { return waiting_.empty(); }
  uint32_t next_stream() const { return next_stream_; }

 private:
  struct Waiting {
    std::string method;
    absl::Duration timeout;
    absl::Duration deadline;
    size_t frames = 0;
    Done done;
  };
  Waiting Take(std::map<uint32_t, Waiting>::iterator call);

  std::string service_;
  size_t frames_ = 0;  // not answered yet
  uint32_t next_stream_;
  std::map<uint32_t, Waiting> waiting_;
};

}  // namespace podfence
