#include "agent/nri/calls.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <utility>
#include <vector>

#include "agent/core/text.h"
#include "agent/nri/mux.h"

namespace podfence {

TtrpcServer::TtrpcServer(std::string service, size_t max_reply, Answer answer, uint32_t last_stream)
    : service_(std::move(service)), max_reply_(max_reply), answer_(std::move(answer)), last_stream_(last_stream) {}

absl::StatusOr<std::string> TtrpcServer::Reply(const TtrpcMessage& message) {
  if (message.oversize()) {
    return absl::ResourceExhaustedError(
        Cat("message length ", message.length, " exceeds the maximum of ", kTtrpcMaxMessage));
  }
  if (message.stream % 2 != 1) return absl::InvalidArgumentError("the stream of a call must be odd");
  if (message.type == static_cast<uint8_t>(TtrpcType::kData)) {
    return absl::InvalidArgumentError("there are no streaming calls here");
  }
  if (message.stream <= last_stream_) {
    return absl::InvalidArgumentError(Cat("stream ", message.stream, " after ", last_stream_, ": they must grow"));
  }
  last_stream_ = message.stream;
  const absl::StatusOr<TtrpcRequest> request = ParseTtrpcRequest(message.body);
  if (!request.ok()) return request.status();
  if (request->service != service_) return absl::UnimplementedError(Cat("service ", request->service));
  return answer_(*request);
}

std::string TtrpcServer::Handle(const TtrpcMessage& message) {
  const bool known = message.type == static_cast<uint8_t>(TtrpcType::kRequest) ||
                     message.type == static_cast<uint8_t>(TtrpcType::kData);
  if (!known) return {};
  absl::StatusOr<std::string> reply = EncodeTtrpcResponse(message.stream, Reply(message));
  if (reply.ok() && reply->size() <= max_reply_) return *std::move(reply);
  // Such an error is small.
  return EncodeTtrpcResponse(message.stream,
                             absl::ResourceExhaustedError(Cat("the reply is larger than ", max_reply_, " bytes")))
      .value();
}

TtrpcClient::TtrpcClient(std::string service, uint32_t next_stream)
    : service_(std::move(service)), next_stream_(next_stream) {}

absl::StatusOr<std::string> TtrpcClient::Call(std::string_view method, std::string payload, absl::Duration now,
                                              absl::Duration timeout, Done done) {
  if (next_stream_ > std::numeric_limits<uint32_t>::max() - 2) {
    return absl::ResourceExhaustedError(Cat("call ", method, ": no stream number is left on this connection"));
  }
  const TtrpcRequest request{
      .service = service_,
      .method = std::string(method),
      .payload = std::move(payload),
      .timeout = timeout == absl::InfiniteDuration() ? absl::ZeroDuration() : timeout,
  };
  absl::StatusOr<std::string> message = EncodeTtrpcRequest(next_stream_, request);
  if (!message.ok()) return message.status();
  const size_t frames = MuxFrames(message->size());
  if (frames_ + frames > kMuxQueue) {
    return absl::ResourceExhaustedError(
        Cat("call ", method, " of ", message->size(), " bytes while ", waiting_.size(),
            " calls are not answered: more than the runtime queues; send less at once"));
  }
  frames_ += frames;
  waiting_.emplace(next_stream_, Waiting{.method = request.method,
                                         .timeout = timeout,
                                         .deadline = now + timeout,
                                         .frames = frames,
                                         .done = std::move(done)});
  next_stream_ += 2;
  return message;
}

TtrpcClient::Waiting TtrpcClient::Take(std::map<uint32_t, Waiting>::iterator call) {
  Waiting taken = std::move(call->second);
  waiting_.erase(call);
  frames_ -= taken.frames;
  return taken;
}

void TtrpcClient::Handle(const TtrpcMessage& message) {
  if (message.type != static_cast<uint8_t>(TtrpcType::kResponse)) return;
  const auto call = waiting_.find(message.stream);
  if (call == waiting_.end()) return;
  // `done` may call again: nothing here is touched after it.
  const Waiting waiting = Take(call);
  if (message.oversize()) {
    waiting.done(absl::ResourceExhaustedError(Cat("the reply to ", waiting.method, " has ", message.length,
                                                  " bytes; ttrpc takes at most ", kTtrpcMaxMessage)));
    return;
  }
  waiting.done(ParseTtrpcResponse(message.body));
}

void TtrpcClient::Expire(absl::Duration now) {
  std::vector<Waiting> expired;
  for (auto call = waiting_.begin(); call != waiting_.end();) {
    const auto next = std::next(call);
    if (call->second.deadline <= now) expired.push_back(Take(call));
    call = next;
  }
  for (const Waiting& call : expired) {
    call.done(
        absl::DeadlineExceededError(Cat("the runtime did not answer ", call.method, " within ",
                                        absl::FormatDuration(call.timeout), "; whether it was done is not known")));
  }
}

void TtrpcClient::Fail(const absl::Status& reason) {
  const std::map<uint32_t, Waiting> ended = std::exchange(waiting_, {});
  frames_ = 0;
  for (const auto& [stream, call] : ended) call.done(reason);
}

absl::Duration TtrpcClient::next_deadline() const {
  absl::Duration next = absl::InfiniteDuration();
  for (const auto& [stream, call] : waiting_) next = std::min(next, call.deadline);
  return next;
}

}  // namespace podfence
