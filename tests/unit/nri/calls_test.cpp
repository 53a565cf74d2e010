#include "agent/nri/calls.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "agent/nri/mux.h"

namespace podfence {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TtrpcMessage Decoded(const std::string& wire) {
  TtrpcDecoder decoder;
  std::optional<TtrpcMessage> decoded;
  const absl::Status status = decoder.Feed(wire, [&](TtrpcMessage message) {
    decoded = std::move(message);
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok());
  return decoded.value_or(TtrpcMessage{});
}

TtrpcMessage Request(uint32_t stream, const std::string& service, const std::string& method) {
  return Decoded(EncodeTtrpcRequest(stream, {.service = service, .method = method, .payload = {}}).value());
}

class ServerTest : public testing::Test {
 protected:
  absl::StatusOr<std::string> Ask(const TtrpcMessage& message) {
    const TtrpcMessage reply = Decoded(server_.Handle(message));
    EXPECT_EQ(reply.stream, message.stream);
    EXPECT_EQ(reply.type, 2);
    return ParseTtrpcResponse(reply.body);
  }

  std::vector<std::string> asked_;
  TtrpcServer server_{"S", 1000, [this](const TtrpcRequest& request) -> absl::StatusOr<std::string> {
                        asked_.push_back(request.method);
                        if (request.method == "Large") return std::string(2000, 'x');
                        if (request.method == "None") return absl::UnimplementedError("method None");
                        return "did " + request.method;
                      }};
};

TEST_F(ServerTest, AnswersOnTheCallsStream) {
  EXPECT_EQ(Ask(Request(1, "S", "Do")).value(), "did Do");
  EXPECT_EQ(Ask(Request(7, "S", "More")).value(), "did More");
}

TEST_F(ServerTest, UnknownServiceAndMethodHaveCode12) {
  EXPECT_EQ(Ask(Request(1, "S", "None")).status().raw_code(), 12);
  EXPECT_EQ(Ask(Request(3, "T", "Do")).status().raw_code(), 12);
  EXPECT_THAT(asked_, ElementsAre("None"));
}

TEST_F(ServerTest, StreamsAreOddAndGrow) {
  EXPECT_EQ(Ask(Request(3, "S", "Do")).value(), "did Do");
  EXPECT_EQ(Ask(Request(3, "S", "Do")).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Ask(Request(1, "S", "Do")).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Ask(Request(6, "S", "Do")).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Ask(Request(5, "S", "Do")).value(), "did Do");
}

TEST_F(ServerTest, BrokenOversizeAndStreamingCallsFailAlone) {
  EXPECT_EQ(Ask({.stream = 1, .type = 1, .length = 2, .body = "\xff\xff"}).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Ask({.stream = 3, .type = 1, .length = kTtrpcMaxMessage + 1, .body = {}}).status().code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(Ask({.stream = 5, .type = 3, .body = {}}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(server_.Handle({.stream = 7, .type = 9, .body = {}}), "");
  EXPECT_EQ(Ask(Request(9, "S", "Do")).value(), "did Do");
}

TEST_F(ServerTest, ReplyThatTheRuntimeCannotQueueBecomesAnError) {
  const absl::Status status = Ask(Request(1, "S", "Large")).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("1000 bytes"));
}

class ClientTest : public testing::Test {
 protected:
  // Of the call, its stream.
  uint32_t Call(std::string payload, absl::Duration timeout = absl::InfiniteDuration()) {
    const absl::StatusOr<std::string> wire =
        client_.Call("Do", std::move(payload), now_, timeout,
                     [this](absl::StatusOr<std::string> reply) { replies_.push_back(std::move(reply)); });
    EXPECT_TRUE(wire.ok()) << wire.status();
    return wire.ok() ? Decoded(*wire).stream : 0;
  }
  void Answer(uint32_t stream, const absl::StatusOr<std::string>& payload) {
    client_.Handle(Decoded(EncodeTtrpcResponse(stream, payload).value()));
  }

  absl::Duration now_ = absl::Hours(1);
  TtrpcClient client_{"S"};
  std::vector<absl::StatusOr<std::string>> replies_;
};

TEST_F(ClientTest, AnswersFindTheirCalls) {
  const uint32_t first = Call("a");
  const uint32_t second = Call("b");
  EXPECT_EQ(first, 1U);
  EXPECT_EQ(second, 3U);
  Answer(second, std::string("to b"));
  Answer(first, absl::NotFoundError("a"));
  Answer(first, std::string("again"));  // nobody waits
  Answer(99, std::string("what"));
  ASSERT_EQ(replies_.size(), 2U);
  EXPECT_EQ(replies_[0].value(), "to b");
  EXPECT_EQ(replies_[1].status(), absl::NotFoundError("a"));
}

TEST_F(ClientTest, CallsExpireAtTheirDeadlinesAndLateAnswersArePassedOver) {
  EXPECT_EQ(client_.next_deadline(), absl::InfiniteDuration());
  const uint32_t slow = Call("a", absl::Seconds(3));
  Call("b", absl::Seconds(2));
  Call("c");
  EXPECT_EQ(client_.next_deadline(), now_ + absl::Seconds(2));
  client_.Expire(now_ + absl::Seconds(2) - absl::Nanoseconds(1));
  EXPECT_TRUE(replies_.empty());
  client_.Expire(now_ + absl::Seconds(2));
  ASSERT_EQ(replies_.size(), 1U);
  EXPECT_EQ(replies_[0].status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(replies_[0].status().message()), HasSubstr("did not answer Do within 2s"));
  client_.Expire(now_ + absl::Hours(1));
  EXPECT_EQ(replies_.size(), 2U);
  Answer(slow, std::string("late"));
  EXPECT_EQ(replies_.size(), 2U);
}

TEST_F(ClientTest, FailEndsAllOnce) {
  Call("a");
  Call("b", absl::Seconds(1));
  client_.Fail(absl::UnavailableError("gone"));
  client_.Fail(absl::UnavailableError("gone"));
  ASSERT_EQ(replies_.size(), 2U);
  EXPECT_EQ(replies_[1].status(), absl::UnavailableError("gone"));
}

TEST_F(ClientTest, NoMoreIsUnderWayThanTheRuntimeQueues) {
  std::vector<uint32_t> calls;
  for (size_t i = 0; i < kMuxQueue; ++i) calls.push_back(Call("x"));
  const auto ignore = [](const absl::StatusOr<std::string>&) {};
  EXPECT_EQ(client_.Call("Do", "x", now_, absl::Seconds(1), ignore).status().code(),
            absl::StatusCode::kResourceExhausted);
  Answer(calls[0], std::string());
  EXPECT_TRUE(client_.Call("Do", "x", now_, absl::Seconds(1), ignore).ok());
  client_.Fail(absl::UnavailableError("gone"));
  EXPECT_EQ(
      client_.Call("Do", std::string(kMuxQueue * kMuxMaxSend, 'x'), now_, absl::Seconds(1), ignore).status().code(),
      absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(client_.Call("Do", std::string((kMuxQueue - 1) * kMuxMaxSend, 'x'), now_, absl::Seconds(1), ignore).ok());
}

TEST_F(ClientTest, BrokenAndOversizeAnswersFailTheirCall) {
  const uint32_t first = Call("a");
  client_.Handle({.stream = first, .type = 2, .length = 2, .body = "\xff\xff"});
  const uint32_t second = Call("b");
  client_.Handle({.stream = second, .type = 1, .body = {}});  // no answer
  client_.Handle({.stream = second, .type = 2, .length = kTtrpcMaxMessage + 1, .body = {}});
  ASSERT_EQ(replies_.size(), 2U);
  EXPECT_EQ(replies_[0].status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(replies_[1].status().code(), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace podfence
