#include "agent/nri/ttrpc.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace podfence {
namespace {

using testing::HasSubstr;
using testing::SizeIs;

TtrpcDecoder::Sink Into(std::vector<TtrpcMessage>& messages) {
  return [&messages](TtrpcMessage message) {
    messages.push_back(std::move(message));
    return absl::OkStatus();
  };
}

TEST(TtrpcTest, HeaderIsLengthStreamTypeFlags) {
  const absl::StatusOr<std::string> wire = EncodeTtrpcResponse(0x01020304, std::string("ab"));
  ASSERT_TRUE(wire.ok());
  // Payload is field 2 of the response.
  EXPECT_EQ(*wire, std::string("\0\0\0\4\1\2\3\4\2\0\x12\2ab", 14));
}

TEST(TtrpcTest, RequestsSplitAtEveryByteBoundary) {
  const TtrpcRequest request{.service = "a.Service", .method = "Do", .payload = "xyz", .timeout = absl::Seconds(2)};
  std::string wire = EncodeTtrpcRequest(1, request).value();
  wire += EncodeTtrpcResponse(3, std::string()).value();  // a body of no bytes
  wire += EncodeTtrpcRequest(5, request).value();
  for (size_t cut = 0; cut <= wire.size(); ++cut) {
    TtrpcDecoder decoder;
    std::vector<TtrpcMessage> messages;
    ASSERT_TRUE(decoder.Feed(std::string_view(wire).substr(0, cut), Into(messages)).ok());
    ASSERT_TRUE(decoder.Feed(std::string_view(wire).substr(cut), Into(messages)).ok());
    ASSERT_THAT(messages, SizeIs(3)) << "cut at " << cut;
    EXPECT_EQ(messages[1].stream, 3U);
    EXPECT_EQ(messages[1].body, "");
    const absl::StatusOr<TtrpcRequest> read = ParseTtrpcRequest(messages[2].body);
    ASSERT_TRUE(read.ok());
    EXPECT_EQ(read->service, "a.Service");
    EXPECT_EQ(read->method, "Do");
    EXPECT_EQ(read->payload, "xyz");
    EXPECT_EQ(read->timeout, absl::Seconds(2));
  }
}

TEST(TtrpcTest, ResponseCarriesPayloadOrStatus) {
  TtrpcDecoder decoder;
  std::vector<TtrpcMessage> messages;
  const std::string wire = EncodeTtrpcResponse(1, absl::NotFoundError("no such pod")).value();
  ASSERT_TRUE(decoder.Feed(wire, Into(messages)).ok());
  const absl::StatusOr<std::string> reply = ParseTtrpcResponse(messages.at(0).body);
  EXPECT_EQ(reply.status(), absl::NotFoundError("no such pod"));
  EXPECT_EQ(ParseTtrpcResponse("\x12\2ab").value(), "ab");
  EXPECT_EQ(ParseTtrpcResponse("").value(), "");
}

TEST(TtrpcTest, BodiesThatAreNoMessages) {
  EXPECT_EQ(ParseTtrpcRequest("\xff\xff").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ParseTtrpcResponse("\x0a\x7f").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(TtrpcTest, OversizeBodyIsThrownAwayAndTheNextMessageIsRead) {
  const size_t length = kTtrpcMaxMessage + 1;
  std::string wire("\0\x40\0\1\0\0\0\7\1\0", 10);
  wire.append(length, 'x');
  wire += EncodeTtrpcRequest(9, {}).value();
  TtrpcDecoder decoder;
  std::vector<TtrpcMessage> messages;
  for (size_t at = 0; at < wire.size(); at += 100'000) {
    ASSERT_TRUE(decoder.Feed(std::string_view(wire).substr(at, 100'000), Into(messages)).ok());
  }
  ASSERT_THAT(messages, SizeIs(2));
  EXPECT_TRUE(messages[0].oversize());
  EXPECT_EQ(messages[0].length, length);
  EXPECT_EQ(messages[0].stream, 7U);
  EXPECT_TRUE(messages[0].body.empty());
  EXPECT_FALSE(messages[1].oversize());
  EXPECT_EQ(messages[1].stream, 9U);
}

TEST(TtrpcTest, LargestMessageIsSentAndOneMoreByteIsNot) {
  // Tag and length of the payload are 1 and 4 bytes.
  const std::string largest(kTtrpcMaxMessage - 5, 'x');
  EXPECT_TRUE(EncodeTtrpcResponse(1, largest).ok());
  const absl::Status status = EncodeTtrpcResponse(1, largest + "x").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("at most 4194304 bytes"));
}

}  // namespace
}  // namespace podfence
