#include "agent/kubernetes/node_reporter.h"

#include <atomic>
#include <chrono>
#include <functional>
#include <thread>

#include "agent/core/text.h"
#include "agent/kubernetes/report.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/kubernetes/fake_api.h"

namespace podfence {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::SizeIs;

bool WaitFor(const std::function<bool()>& so) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!so()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

PodObject Pod() {
  PodObject pod;
  pod.uid = "uid-a";
  pod.api_uid = "uid-a";
  pod.ns = "prod";
  pod.name = "a";
  return pod;
}

class NodeReporterTest : public testing::Test {
 protected:
  void Start() {
    absl::StatusOr<std::unique_ptr<NodeReporter>> reporter =
        NodeReporter::Create({.api = {.endpoint = *ParseEndpoint(api_.url()), .token_file = "", .ca_file = ""},
                              .node_name = "n1",
                              .retry = {.first = absl::Milliseconds(20), .longest = absl::Milliseconds(100)}});
    ASSERT_TRUE(reporter.ok()) << reporter.status();
    reporter_ = *std::move(reporter);
  }
  std::vector<FakeApi::Seen> Of(const std::string& method) const {
    std::vector<FakeApi::Seen> found;
    for (const FakeApi::Seen& seen : api_.seen()) {
      if (seen.method == method) found.push_back(seen);
    }
    return found;
  }
  void AnswerWith(int code, const std::string& body = "{}") {
    api_.Answer([=](const FakeApi::Seen&) { return FakeApi::Reply{code, body}; });
  }
  bool Idle() {
    return WaitFor([&] {
      const NodeReporterStatus status = reporter_->status();
      return status.waiting == 0 && status.statuses_set + status.events_sent + status.dropped > 0;
    });
  }

  FakeApi api_;
  std::unique_ptr<NodeReporter> reporter_;
};

TEST_F(NodeReporterTest, RefusesAPodAsTheKubeletWould) {
  AnswerWith(200);
  Start();
  reporter_->Reject(Pod(), "TopologyAffinityError", "Resources cannot be allocated with Topology locality",
                    "NUMA node 0 has 3 of 4 CPUs");
  ASSERT_TRUE(WaitFor([&] { return reporter_->status().events_sent == 1 && reporter_->status().statuses_set == 1; }));
  ASSERT_THAT(Of("PATCH"), SizeIs(1));
  const FakeApi::Seen patch = Of("PATCH")[0];
  EXPECT_EQ(patch.path, "/api/v1/namespaces/prod/pods/a/status");
  EXPECT_EQ(patch.content_type, "application/strategic-merge-patch+json");
  EXPECT_EQ(json::parse(patch.body),
            (json{{"metadata", {{"uid", "uid-a"}}},
                  {"status",
                   {{"phase", "Failed"},
                    {"reason", "TopologyAffinityError"},
                    {"message", "Pod was rejected: Resources cannot be allocated with Topology locality"}}}}));
  ASSERT_THAT(Of("POST"), SizeIs(1));
  EXPECT_EQ(Of("POST")[0].path, "/api/v1/namespaces/prod/events");
  const json event = json::parse(Of("POST")[0].body);
  EXPECT_EQ(event["type"], "Warning");
  EXPECT_EQ(event["reason"], "TopologyAffinityError");
  EXPECT_EQ(event["message"], "NUMA node 0 has 3 of 4 CPUs");
  EXPECT_EQ(event["involvedObject"]["uid"], "uid-a");
  EXPECT_EQ(event["source"], (json{{"component", "podfence"}, {"host", "n1"}}));
  EXPECT_EQ(event["count"], 1);
}

TEST_F(NodeReporterTest, AStaticPodGetsAnEventAlone) {
  AnswerWith(200);
  Start();
  PodObject pod = Pod();
  pod.source = "file";
  pod.is_mirror = true;
  pod.uid = "hash";
  reporter_->Reject(pod, "TopologyAffinityError", "m", "e");
  ASSERT_TRUE(Idle());
  EXPECT_EQ(json::parse(Of("POST")[0].body)["involvedObject"]["uid"], "hash");
  EXPECT_THAT(Of("PATCH"), SizeIs(0));
}

TEST_F(NodeReporterTest, APodThatEndedKeepsItsPhase) {
  AnswerWith(200);
  Start();
  PodObject pod = Pod();
  pod.phase = PodPhase::kSucceeded;
  reporter_->Reject(pod, "TopologyAffinityError", "m", "e");
  ASSERT_TRUE(Idle());
  EXPECT_THAT(Of("PATCH"), SizeIs(0));
}

TEST_F(NodeReporterTest, TriesAgainUntilTheServerIsBackAndMakesOneEvent) {
  std::atomic<int> asked = 0;
  api_.Answer([&](const FakeApi::Seen& seen) {
    // Of the event the first answer is lost, though the event was made.
    if (seen.method == "POST")
      return FakeApi::Reply{++asked == 1 ? 500 : 409, StatusJson(409, "AlreadyExists", "is there")};
    return FakeApi::Reply{200, "{}"};
  });
  Start();
  reporter_->Event(Pod(), NodeReporter::EventType::kNormal, "Fenced", "on CPUs 2-3");
  ASSERT_TRUE(WaitFor([&] { return reporter_->status().events_sent == 1; }));
  ASSERT_THAT(Of("POST"), SizeIs(2));
  EXPECT_EQ(Of("POST")[0].body, Of("POST")[1].body);
  EXPECT_EQ(reporter_->status().failures, 1u);
  EXPECT_EQ(reporter_->status().dropped, 0u);
}

TEST_F(NodeReporterTest, AStatusDoesNotWaitForEventsThatFail) {
  api_.Answer([](const FakeApi::Seen& seen) { return FakeApi::Reply{seen.method == "POST" ? 500 : 200, ""}; });
  Start();
  for (int i = 0; i < 5; ++i) reporter_->Reject(Pod(), "TopologyAffinityError", "m", Cat("e", i));
  ASSERT_TRUE(WaitFor([&] { return reporter_->status().statuses_set >= 1; }));
  EXPECT_EQ(reporter_->status().events_sent, 0u);
}

TEST_F(NodeReporterTest, GivesUpWhatIsRefusedForGood) {
  for (const int code : {404, 409, 422}) {
    AnswerWith(code, StatusJson(code, "X", "no"));
    Start();
    PodObject pod = Pod();
    reporter_->Reject(pod, "TopologyAffinityError", "m", "e");
    ASSERT_TRUE(WaitFor([&] {
      const NodeReporterStatus status = reporter_->status();
      return status.dropped + status.events_sent == 2;
    })) << code;
    EXPECT_EQ(reporter_->status().statuses_set, 0u);
    EXPECT_FALSE(reporter_->status().forbidden_status);
  }
}

TEST_F(NodeReporterTest, AMissingRuleIsKnownUntilItIsThere) {
  AnswerWith(403, StatusJson(403, "Forbidden", "cannot patch resource \"pods/status\""));
  Start();
  reporter_->Reject(Pod(), "TopologyAffinityError", "m", "e");
  ASSERT_TRUE(WaitFor([&] { return reporter_->status().dropped == 2; }));
  EXPECT_TRUE(reporter_->status().forbidden_status);
  EXPECT_TRUE(reporter_->status().forbidden_events);
  EXPECT_THAT(std::string(reporter_->status().last_error.message()), HasSubstr("403"));
  AnswerWith(201);
  reporter_->Reject(Pod(), "TopologyAffinityError", "m", "e");
  ASSERT_TRUE(WaitFor([&] { return reporter_->status().events_sent == 1 && reporter_->status().statuses_set == 1; }));
  EXPECT_FALSE(reporter_->status().forbidden_status);
  EXPECT_FALSE(reporter_->status().forbidden_events);
}

TEST_F(NodeReporterTest, ANamespaceThatEndsIsNoMissingRule) {
  AnswerWith(403, StatusJson(403, "Forbidden",
                             "unable to create new content in namespace prod because it is being terminated"));
  Start();
  reporter_->Event(Pod(), NodeReporter::EventType::kNormal, "Fenced", "x");
  ASSERT_TRUE(WaitFor([&] { return reporter_->status().dropped == 1; }));
  EXPECT_FALSE(reporter_->status().forbidden_events);
}

TEST_F(NodeReporterTest, WhatWaitsIsBoundedAndNothingBlocks) {
  AnswerWith(500);
  Start();
  reporter_->Reject(Pod(), "TopologyAffinityError", "m", "e");
  const absl::Time begin = absl::Now();
  for (int i = 0; i < 1000; ++i) reporter_->Event(Pod(), NodeReporter::EventType::kNormal, "Fenced", Cat("e", i));
  EXPECT_LT(absl::Now() - begin, absl::Seconds(1));
  EXPECT_LE(reporter_->status().waiting, 257u);
  EXPECT_GE(reporter_->status().dropped, 740u);
  // The status was not among what was dropped.
  AnswerWith(200);
  ASSERT_TRUE(WaitFor([&] { return reporter_->status().statuses_set == 1; }));
}

TEST_F(NodeReporterTest, EndsAtOnceWhileTheServerIsSilent) {
  api_.Answer([](const FakeApi::Seen&) {
    std::this_thread::sleep_for(std::chrono::seconds(3));
    return FakeApi::Reply{200, ""};
  });
  Start();
  reporter_->Event(Pod(), NodeReporter::EventType::kNormal, "Fenced", "x");
  ASSERT_TRUE(WaitFor([&] { return !api_.seen().empty(); }));
  const absl::Time begin = absl::Now();
  reporter_.reset();
  EXPECT_LT(absl::Now() - begin, absl::Seconds(2));
}

TEST_F(NodeReporterTest, NeedsToKnowItsNode) {
  EXPECT_FALSE(NodeReporter::Create({.api = {}, .node_name = "", .retry = {}}).ok());
}

EventContent Content(const std::string& note = "n") {
  return {.pod = {.ns = "prod", .name = "a", .uid = "u"}, .warning = true, .reason = "R", .note = note};
}

TEST(EventBook, CountsTheSameUp) {
  EventBook book({.same = absl::Minutes(10), .quiet = absl::Seconds(20)});
  const absl::Time start = absl::FromUnixSeconds(1000);
  const std::optional<EventBook::Step> first = book.Next(Content(), start);
  ASSERT_TRUE(first && first->make);
  EXPECT_EQ(book.Next(Content(), start + absl::Seconds(5)), std::nullopt);
  const std::optional<EventBook::Step> third = book.Next(Content(), start + absl::Seconds(30));
  ASSERT_TRUE(third && !third->make);
  EXPECT_EQ(third->count.name, first->count.name);
  EXPECT_EQ(third->count.count, 3);
  EXPECT_EQ(third->count.first, start);
  EXPECT_EQ(third->count.last, start + absl::Seconds(30));
  const std::optional<EventBook::Step> late = book.Next(Content(), start + absl::Minutes(11));
  ASSERT_TRUE(late && late->make);
  EXPECT_NE(late->count.name, first->count.name);
  EXPECT_TRUE(book.Next(Content("other"), start + absl::Minutes(11))->make);
  book.Forget(Content());
  EXPECT_TRUE(book.Next(Content(), start + absl::Minutes(11))->make);
}

TEST(EventBook, RemembersSoManyOnly) {
  EventBook book;
  const absl::Time now = absl::FromUnixSeconds(1000);
  for (size_t i = 0; i <= EventBook::kKept; ++i) EXPECT_TRUE(book.Next(Content(Cat(i)), now)->make);
  EXPECT_EQ(book.Next(Content(Cat(EventBook::kKept)), now), std::nullopt);
  EXPECT_TRUE(book.Next(Content("0"), now)->make);
}

TEST(CutText, CutsBetweenCharacters) {
  EXPECT_EQ(CutText("short", 5), "short");
  EXPECT_EQ(CutText("longer text", 8), "longe…");
  EXPECT_EQ(CutText("ééééé", 8), "éé…");
  EXPECT_LE(CutText(std::string(2000, 'x'), kLongestNote).size(), kLongestNote);
}

TEST(EventBody, IsJsonWhateverTheNote) {
  const EventCount count{
      .name = "a.1", .count = 2, .first = absl::FromUnixSeconds(0), .last = absl::FromUnixSeconds(60)};
  const json body = json::parse(EventBody(Content(std::string(3000, 'x') + "\xff"), count, "n1"));
  EXPECT_LE(body["message"].get<std::string>().size(), 1024u);
  EXPECT_EQ(body["firstTimestamp"], "1970-01-01T00:00:00Z");
  EXPECT_EQ(body["lastTimestamp"], "1970-01-01T00:01:00Z");
  EXPECT_NO_THROW(std::ignore = json::parse(EventBody(Content("\xff\xfe"), count, "n1")));
  EXPECT_EQ(json::parse(EventCountPatch(count)), (json{{"count", 2}, {"lastTimestamp", "1970-01-01T00:01:00Z"}}));
}

}  // namespace
}  // namespace podfence
