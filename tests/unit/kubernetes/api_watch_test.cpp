#include <atomic>
#include <cstdlib>
#include <fstream>
#include <set>

#include "agent/core/text.h"
#include "agent/kubernetes/pod_source.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/kubernetes/fake_api.h"
#include "tests/unit/kubernetes/loop.h"

namespace podfence {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

class ApiWatchTest : public testing::Test {
 protected:
  PodSourceOptions Options() const {
    PodSourceOptions options;
    options.source = "apiserver";
    options.node_name = "n1";
    options.api_server = api_.url();
    options.retry = {.first = absl::Milliseconds(20), .longest = absl::Milliseconds(100)};
    return options;
  }

  void Start(const PodSourceOptions& options) {
    absl::StatusOr<std::unique_ptr<PodSource>> source =
        PodSource::Create(loop_.get(), options,
                          {.on_changed =
                               [this](const std::vector<PodChange>& changes) {
                                 for (const PodChange& change : changes) {
                                   const char* kind = change.kind == PodChange::Kind::kAdded      ? "+"
                                                      : change.kind == PodChange::Kind::kModified ? "~"
                                                                                                  : "-";
                                   told_.push_back(Cat(kind, change.record().name));
                                 }
                               },
                           .on_synced = [this] { ++synced_; }});
    ASSERT_TRUE(source.ok()) << source.status();
    source_ = *std::move(source);
  }
  void Start() { Start(Options()); }

  void AnswerList(const std::vector<nlohmann::json>& pods, const std::string& version) {
    api_.Answer([body = ListJson(pods, version)](const FakeApi::Seen&) { return FakeApi::Reply{200, body}; });
  }
  // A watch is open, and what it begins with was sent.
  bool Watched(size_t watches) {
    return loop_.RunUntil([&] { return api_.watches() >= watches && source_->status().up; });
  }
  std::vector<FakeApi::Seen> Requests(bool watch) const {
    std::vector<FakeApi::Seen> requests;
    for (const FakeApi::Seen& seen : api_.seen()) {
      if ((seen.Query("watch") == "1") == watch) requests.push_back(seen);
    }
    return requests;
  }
  bool Told(size_t count) {
    return loop_.RunUntil([&] { return told_.size() >= count; });
  }

  FakeApi api_;
  Loop loop_;
  std::vector<std::string> told_;
  int synced_ = 0;
  std::unique_ptr<PodSource> source_;
};

TEST_F(ApiWatchTest, ListsThenWatchesFromThere) {
  AnswerList({PodJson("a", "uid-a", "5"), PodJson("b", "uid-b", "7")}, "10");
  Start();
  ASSERT_TRUE(Watched(1));
  ASSERT_TRUE(Told(2));
  EXPECT_EQ(synced_, 1);
  EXPECT_TRUE(source_->synced());
  EXPECT_EQ(source_->cache().Find("uid-b")->name, "b");
  api_.Send(EventLine("ADDED", PodJson("c", "uid-c", "11")));
  api_.Send(EventLine("MODIFIED", PodJson("a", "uid-a", "12", {{"status", {{"phase", "Succeeded"}}}})));
  api_.Send(EventLine("DELETED", PodJson("b", "uid-b", "13")));
  ASSERT_TRUE(Told(5));
  EXPECT_THAT(std::set<std::string>(told_.begin() + 2, told_.end()), ElementsAre("+c", "-b", "~a"));
  EXPECT_TRUE(source_->cache().Find("uid-a")->is_terminal());
  EXPECT_EQ(source_->cache().Find("uid-b"), nullptr);
  EXPECT_EQ(source_->cache().size(), 2u);
  const std::vector<FakeApi::Seen> lists = Requests(false);
  ASSERT_THAT(lists, SizeIs(1));
  EXPECT_EQ(lists[0].path, "/api/v1/pods");
  EXPECT_EQ(lists[0].Query("fieldSelector"), "spec.nodeName=n1");
  EXPECT_EQ(lists[0].Query("resourceVersion"), "0");
  const FakeApi::Seen watch = Requests(true).front();
  EXPECT_EQ(watch.Query("resourceVersion"), "10");
  EXPECT_EQ(watch.Query("allowWatchBookmarks"), "true");
  EXPECT_EQ(watch.Query("fieldSelector"), "spec.nodeName=n1");
  const int seconds = std::atoi(watch.Query("timeoutSeconds").c_str());
  EXPECT_GE(seconds, 300);
  EXPECT_LE(seconds, 600);
  EXPECT_EQ(source_->status().kind, "apiserver");
  EXPECT_EQ(source_->status().lists, 1u);
  EXPECT_TRUE(source_->status().last_error.ok());
}

TEST_F(ApiWatchTest, AnEmptyNodeIsSyncedToo) {
  AnswerList({}, "1");
  Start();
  ASSERT_TRUE(loop_.RunUntil([&] { return synced_ == 1; }));
  EXPECT_THAT(told_, SizeIs(0));
}

TEST_F(ApiWatchTest, GoesOnBehindTheLastBookmark) {
  AnswerList({}, "10");
  api_.AddWatch({.pieces = {EventLine("ADDED", PodJson("a", "uid-a", "11")),
                            EventLine("BOOKMARK", {{"metadata", {{"resourceVersion", "99"}}}})},
                 .end = FakeApi::Watch::End::kClose});
  Start();
  ASSERT_TRUE(Watched(2));
  EXPECT_EQ(Requests(true)[1].Query("resourceVersion"), "99");
  EXPECT_THAT(Requests(false), SizeIs(1));
  // The server counts a watch before its answer is here.
  EXPECT_TRUE(loop_.RunUntil([&] { return source_->status().reconnects == 1; }));
  EXPECT_EQ(source_->status().failures, 0u);
}

TEST_F(ApiWatchTest, GoneMeansANewListOfTheNewest) {
  AnswerList({PodJson("a", "uid-a", "5"), PodJson("b", "uid-b", "5")}, "10");
  Start();
  ASSERT_TRUE(Watched(1));
  ASSERT_TRUE(Told(2));
  // b went while nobody watched.
  AnswerList({PodJson("a", "uid-a", "5")}, "500");
  api_.Send(EventLine("ERROR", nlohmann::json::parse(StatusJson(410, "Expired", "too old resource version"))));
  ASSERT_TRUE(Told(3));
  EXPECT_EQ(told_.back(), "-b");
  ASSERT_TRUE(Watched(2));
  EXPECT_EQ(Requests(true)[1].Query("resourceVersion"), "500");
  EXPECT_EQ(Requests(false)[1].Query("resourceVersion"), "");
  EXPECT_EQ(Requests(false)[1].Query("limit"), "500");
  EXPECT_EQ(source_->status().relists, 1u);
}

TEST_F(ApiWatchTest, GoneAsTheAnswerToTheWatchIsTheSame) {
  AnswerList({}, "10");
  api_.AddWatch({.code = 410, .pieces = {StatusJson(410, "Expired", "too old")}});
  Start();
  ASSERT_TRUE(Watched(2));
  EXPECT_THAT(Requests(false), SizeIs(2));
}

TEST_F(ApiWatchTest, PagesAreReadToTheEnd) {
  api_.Answer([](const FakeApi::Seen& seen) {
    if (seen.Query("resourceVersion") == "0") return FakeApi::Reply{410, StatusJson(410, "Expired", "too old")};
    if (seen.Query("continue").empty()) return FakeApi::Reply{200, ListJson({PodJson("a", "uid-a", "1")}, "9", "t/1=")};
    if (seen.Query("continue") == "t/1=") {
      return FakeApi::Reply{200, ListJson({PodJson("b", "uid-b", "1")}, "9", "t2")};
    }
    return FakeApi::Reply{200, ListJson({PodJson("c", "uid-c", "1")}, "9")};
  });
  Start();
  ASSERT_TRUE(Watched(1));
  ASSERT_TRUE(Told(3));
  EXPECT_THAT(Requests(false), SizeIs(4));
  EXPECT_EQ(source_->status().lists, 1u);
  EXPECT_EQ(Requests(true)[0].Query("resourceVersion"), "9");
}

TEST_F(ApiWatchTest, AListWithoutEndIsRefused) {
  api_.Answer([](const FakeApi::Seen& seen) {
    if (seen.Query("resourceVersion") == "0") return FakeApi::Reply{410, StatusJson(410, "Expired", "too old")};
    return FakeApi::Reply{200, ListJson({}, "9", "again")};
  });
  Start();
  ASSERT_TRUE(loop_.RunUntil([&] { return source_->status().failures >= 2; }));
  EXPECT_THAT(std::string(source_->status().last_error.message()), HasSubstr("has no end"));
  EXPECT_FALSE(source_->synced());
}

TEST_F(ApiWatchTest, AnEventInManyPiecesIsOneEvent) {
  AnswerList({}, "10");
  const std::string line =
      EventLine("ADDED", PodJson("a", "uid-a", "11")) + EventLine("ADDED", PodJson("b", "uid-b", "12"));
  std::vector<std::string> pieces;
  for (size_t at = 0; at < line.size(); at += 7) pieces.push_back(line.substr(at, 7));
  api_.AddWatch({.pieces = pieces});
  Start();
  ASSERT_TRUE(Told(2));
  EXPECT_THAT(told_, ElementsAre("+a", "+b"));
}

TEST_F(ApiWatchTest, CutWithinAnEventGoesOnFromTheLastWholeOne) {
  AnswerList({}, "10");
  const std::string second = EventLine("ADDED", PodJson("b", "uid-b", "12"));
  api_.AddWatch({.pieces = {EventLine("ADDED", PodJson("a", "uid-a", "11")), second.substr(0, second.size() / 2)},
                 .end = FakeApi::Watch::End::kCut});
  api_.AddWatch({.pieces = {second}});
  Start();
  ASSERT_TRUE(Told(2));
  EXPECT_THAT(told_, ElementsAre("+a", "+b"));
  EXPECT_EQ(Requests(true)[1].Query("resourceVersion"), "11");
  EXPECT_GE(source_->status().failures, 1u);
  EXPECT_THAT(Requests(false), SizeIs(1));
}

TEST_F(ApiWatchTest, EndedWithinAnEventIsNoOrderlyEnd) {
  AnswerList({}, "10");
  api_.AddWatch({.pieces = {R"({"type":"ADDED","object":{)"}, .end = FakeApi::Watch::End::kClose});
  Start();
  ASSERT_TRUE(Watched(2));
  EXPECT_EQ(source_->status().failures, 1u);
}

TEST_F(ApiWatchTest, GarbageMeansANewList) {
  AnswerList({}, "10");
  api_.AddWatch({.pieces = {"<html>not an event</html>\n"}});
  Start();
  ASSERT_TRUE(Watched(2));
  EXPECT_THAT(Requests(false), SizeIs(2));
  // Not older than what was seen.
  EXPECT_EQ(Requests(false)[1].Query("resourceVersion"), "10");
  EXPECT_EQ(source_->status().failures, 1u);
}

TEST_F(ApiWatchTest, AHugeEventIsPassedOverAndCounted) {
  AnswerList({}, "10");
  api_.AddWatch({.pieces = {R"({"type":"ADDED","object":{"x":")", std::string(size_t{17} << 20, 'x'), "\"}}\n",
                            EventLine("ADDED", PodJson("b", "uid-b", "12"))}});
  Start();
  ASSERT_TRUE(Told(1));
  EXPECT_THAT(told_, ElementsAre("+b"));
  EXPECT_EQ(source_->status().unreadable, 1u);
  EXPECT_EQ(api_.watches(), 1u);
}

TEST_F(ApiWatchTest, APodWithoutUidIsCountedAndABadOneIsThereWithItsError) {
  AnswerList({PodJson("", "", "5"), PodJson("bad", "uid-x", "5", {{"spec", {{"containers", "none"}}}})}, "10");
  Start();
  ASSERT_TRUE(Told(1));
  EXPECT_EQ(source_->status().unreadable, 1u);
  const PodRecordPtr bad = source_->cache().Find("uid-x");
  ASSERT_NE(bad, nullptr);
  EXPECT_EQ(bad->pod, nullptr);
  EXPECT_THAT(std::string(bad->error.message()), HasSubstr("pod default/bad (UID uid-x): spec.containers"));
}

TEST_F(ApiWatchTest, ForbiddenNamesTheRule) {
  api_.Answer([](const FakeApi::Seen&) {
    return FakeApi::Reply{403, StatusJson(403, "Forbidden", "pods is forbidden: User \"x\" cannot list")};
  });
  Start();
  ASSERT_TRUE(loop_.RunUntil([&] { return source_->status().failures > 0; }));
  const std::string error(source_->status().last_error.message());
  EXPECT_THAT(error, HasSubstr("cannot list"));
  EXPECT_THAT(error, HasSubstr("a ClusterRole needs list and watch on pods"));
  EXPECT_THAT(error, HasSubstr(api_.url()));
  AnswerList({}, "3");
  ASSERT_TRUE(loop_.RunUntil([&] { return source_->synced(); }));
}

TEST_F(ApiWatchTest, AServerThatLagsBehindIsAskedForItsNewest) {
  AnswerList({}, "1000");
  api_.AddWatch({.pieces = {"garbage\n"}});
  Start();
  ASSERT_TRUE(Watched(1));
  api_.Answer([](const FakeApi::Seen& seen) {
    if (!seen.Query("resourceVersion").empty()) {
      return FakeApi::Reply{504, StatusJson(504, "Timeout", "Too large resource version: 1000, current: 7")};
    }
    return FakeApi::Reply{200, ListJson({}, "7")};
  });
  ASSERT_TRUE(Watched(2));
  ASSERT_TRUE(loop_.RunUntil([&] { return source_->status().up; }));
}

TEST_F(ApiWatchTest, FailuresAreTriedAgainAfterGrowingDelays) {
  std::atomic<int> asked = 0;
  api_.Answer([&](const FakeApi::Seen&) {
    ++asked;
    return FakeApi::Reply{500, "boom"};
  });
  PodSourceOptions options = Options();
  options.retry = {.first = absl::Milliseconds(100), .longest = absl::Seconds(10)};
  Start(options);
  const absl::Time end = absl::Now() + absl::Milliseconds(900);
  loop_.RunUntil([&] { return absl::Now() > end; });
  // At least 100, 200, 400 ms between them.
  EXPECT_GE(asked, 2);
  EXPECT_LE(asked, 4);
  EXPECT_THAT(std::string(source_->status().last_error.message()), HasSubstr("500: boom"));
}

TEST_F(ApiWatchTest, RefreshEndsADelay) {
  std::atomic<bool> broken = true;
  api_.Answer([&](const FakeApi::Seen&) {
    return broken ? FakeApi::Reply{500, ""} : FakeApi::Reply{200, ListJson({}, "1")};
  });
  PodSourceOptions options = Options();
  options.retry = {.first = absl::Seconds(100), .longest = absl::Seconds(100)};
  Start(options);
  ASSERT_TRUE(loop_.RunUntil([&] { return source_->status().failures == 1; }));
  broken = false;
  ASSERT_TRUE(loop_.RunUntil([&] {
    source_->Refresh();
    return source_->synced();
  }));
}

TEST_F(ApiWatchTest, AWatchThatEndsAtOnceIsNoFlood) {
  AnswerList({}, "10");
  for (int i = 0; i < 200; ++i) api_.AddWatch({.pieces = {}, .end = FakeApi::Watch::End::kClose});
  PodSourceOptions options = Options();
  options.retry = {.first = absl::Milliseconds(100), .longest = absl::Seconds(10)};
  Start(options);
  const absl::Time end = absl::Now() + absl::Milliseconds(900);
  loop_.RunUntil([&] { return absl::Now() > end; });
  EXPECT_LE(api_.watches(), 5u);
}

TEST_F(ApiWatchTest, EndsAtOnceWhileAWatchIsOpen) {
  AnswerList({}, "10");
  Start();
  ASSERT_TRUE(Watched(1));
  const absl::Time begin = absl::Now();
  source_.reset();
  EXPECT_LT(absl::Now() - begin, absl::Seconds(2));
}

TEST_F(ApiWatchTest, ALostPodStaysKnownWhileTheServerIsDown) {
  AnswerList({PodJson("a", "uid-a", "5")}, "10");
  api_.AddWatch({.pieces = {}, .end = FakeApi::Watch::End::kCut});
  for (int i = 0; i < 100; ++i) api_.AddWatch({.code = 503, .pieces = {"down"}});
  Start();
  ASSERT_TRUE(loop_.RunUntil([&] { return source_->status().failures >= 3; }));
  EXPECT_FALSE(source_->status().up);
  EXPECT_TRUE(source_->synced());
  EXPECT_NE(source_->cache().Find("uid-a"), nullptr);
  EXPECT_THAT(std::string(source_->status().last_error.message()), HasSubstr("503: down"));
}

}  // namespace
}  // namespace podfence
