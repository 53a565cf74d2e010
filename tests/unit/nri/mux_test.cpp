#include "agent/nri/mux.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>

namespace podfence {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

absl::Status Collect(MuxDecoder& decoder, std::string_view bytes, std::map<uint32_t, std::string>& streams) {
  return decoder.Feed(bytes, [&](uint32_t stream, std::string_view part) {
    streams[stream].append(part);
    return absl::OkStatus();
  });
}

TEST(MuxTest, FrameIsBigEndianStreamLengthAndBytes) {
  std::string out;
  AppendMuxFrames(2, "hello", out);
  EXPECT_EQ(out, std::string("\0\0\0\2\0\0\0\5hello", 13));
}

TEST(MuxTest, LongMessagesAreCutToWhatTheRuntimeReadsAtOnce) {
  const std::string message(2 * kMuxMaxSend + 1, 'x');
  std::string out;
  AppendMuxFrames(1, message, out);
  EXPECT_EQ(MuxFrames(message.size()), 3);
  EXPECT_EQ(out.size(), message.size() + 3 * kMuxHeader);
  EXPECT_EQ(out.substr(0, 8), std::string("\0\0\0\1\0\0\x10\0", 8));
  EXPECT_EQ(out.substr(2 * (kMuxMaxSend + kMuxHeader)), std::string("\0\0\0\1\0\0\0\1x", 9));
}

TEST(MuxTest, SplitAtEveryByteBoundary) {
  std::string wire;
  AppendMuxFrames(1, "first", wire);
  AppendMuxFrames(2, "other", wire);
  AppendMuxFrames(1, " and second", wire);
  for (size_t cut = 0; cut <= wire.size(); ++cut) {
    MuxDecoder decoder;
    std::map<uint32_t, std::string> streams;
    ASSERT_TRUE(Collect(decoder, std::string_view(wire).substr(0, cut), streams).ok());
    ASSERT_TRUE(Collect(decoder, std::string_view(wire).substr(cut), streams).ok());
    EXPECT_THAT(streams, ElementsAre(Pair(1, "first and second"), Pair(2, "other"))) << "cut at " << cut;
  }
}

TEST(MuxTest, EmptyFrameIsNothing) {
  MuxDecoder decoder;
  std::map<uint32_t, std::string> streams;
  ASSERT_TRUE(Collect(decoder, std::string(8, '\0'), streams).ok());
  std::string wire;
  AppendMuxFrames(1, "x", wire);
  ASSERT_TRUE(Collect(decoder, wire, streams).ok());
  EXPECT_THAT(streams, ElementsAre(Pair(1, "x")));
}

TEST(MuxTest, FrameTooLargeIsAnError) {
  MuxDecoder decoder;
  std::map<uint32_t, std::string> streams;
  const absl::Status status = Collect(decoder, std::string("\0\0\0\1\x7f\0\0\0", 8), streams);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("stream 1: 2130706432 bytes"));
  EXPECT_TRUE(streams.empty());
}

TEST(MuxTest, SinkEndsTheFeeding) {
  std::string wire;
  AppendMuxFrames(1, "a", wire);
  AppendMuxFrames(1, "b", wire);
  MuxDecoder decoder;
  int calls = 0;
  const absl::Status status = decoder.Feed(wire, [&](uint32_t, std::string_view) {
    ++calls;
    return absl::AbortedError("enough");
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kAborted);
  EXPECT_EQ(calls, 1);
}

}  // namespace
}  // namespace podfence
