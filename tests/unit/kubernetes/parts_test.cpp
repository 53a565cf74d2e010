#include <string>
#include <thread>
#include <vector>

#include "agent/kubernetes/api_access.h"
#include "agent/kubernetes/line_splitter.h"
#include "agent/kubernetes/pod_list.h"
#include "agent/kubernetes/retry.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/kubernetes/fake_api.h"

namespace podfence {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

std::vector<std::string> Split(const std::vector<std::string>& pieces, size_t limit, bool* within = nullptr) {
  std::vector<std::string> lines;
  LineSplitter splitter(limit);
  const auto line = [&](std::string_view text) {
    lines.emplace_back(text);
    return text != "stop";
  };
  const auto too_long = [&] { lines.emplace_back("TOO LONG"); };
  for (const std::string& piece : pieces) {
    if (!splitter.Feed(piece, {.line = line, .too_long = too_long})) break;
  }
  if (within != nullptr) *within = splitter.within_line();
  return lines;
}

TEST(LineSplitter, CutsAtLineEndsAlone) {
  bool within = false;
  EXPECT_THAT(Split({"a", "b\nc\n", "\n\n", "d", "e", "\n", "f"}, 10, &within), ElementsAre("ab", "c", "de"));
  EXPECT_TRUE(within);
  EXPECT_THAT(Split({"a\n"}, 10, &within), ElementsAre("a"));
  EXPECT_FALSE(within);
}

TEST(LineSplitter, PassesOverWhatIsTooLong) {
  bool within = false;
  EXPECT_THAT(Split({"12345", "6789\nok\n"}, 8, &within), ElementsAre("TOO LONG", "ok"));
  EXPECT_FALSE(within);
  EXPECT_THAT(Split({"123456789", "x", "y", "z", "\n12345678\n"}, 8), ElementsAre("TOO LONG", "12345678"));
  EXPECT_THAT(Split({"123456789"}, 8, &within), ElementsAre("TOO LONG"));
  EXPECT_TRUE(within);
}

TEST(LineSplitter, StopsWhereTheVisitorHasEnough) {
  EXPECT_THAT(Split({"a\nstop\nb\n", "c\n"}, 8), ElementsAre("a", "stop"));
}

TEST(ParsePodList, ReadsItemsVersionAndPage) {
  const absl::StatusOr<PodList> list =
      ParsePodList(ListJson({PodJson("a", "u", "1"), PodJson("", "u", "1")}, "7", "next"));
  ASSERT_TRUE(list.ok()) << list.status();
  EXPECT_THAT(list->pods, SizeIs(1));
  EXPECT_THAT(list->unreadable, SizeIs(1));
  EXPECT_EQ(list->resource_version, "7");
  EXPECT_EQ(list->next, "next");
}

TEST(ParsePodList, AnEmptyListIsNoFailureButAnythingElseIs) {
  EXPECT_THAT(ParsePodList(R"({"kind":"PodList","apiVersion":"v1","metadata":{},"items":null})")->pods, SizeIs(0));
  for (const char* bad : {"", "{}", "[]", "null", "{\"kind\":\"PodList\",\"items\":5}", "{\"kind\":\"Status\"}",
                          "{\"kind\":\"PodList\",\"items\":[", "\xff\xfe"}) {
    EXPECT_THAT(std::string(ParsePodList(bad).status().message()), HasSubstr("is no v1.PodList")) << bad;
  }
}

TEST(ParseWatchEvent, RefusesWhatIsNone) {
  for (const char* bad :
       {"x", "{}", "{\"type\":\"ADDED\"}", "{\"type\":\"NEW\",\"object\":{}}", "{\"object\":{}}", "5"}) {
    EXPECT_FALSE(ParseWatchEvent(bad).ok()) << bad;
  }
}

TEST(ParseWatchEvent, DepthIsNoDanger) {
  const std::string deep = std::string(200'000, '[') + std::string(200'000, ']');
  for (const char* type : {"ADDED", "ERROR", "DELETED", "BOOKMARK"}) {
    const std::string line = std::string(R"({"type":")") + type +
                             R"(","object":{"metadata":{"uid":"u","name":"n","namespace":"d"},"x":)" + deep + "}}";
    const absl::StatusOr<WatchEvent> event = ParseWatchEvent(line);
    ASSERT_TRUE(event.ok()) << event.status();
    if (event->pod != nullptr) {
      EXPECT_THAT(std::string(event->pod->error.message()), HasSubstr("nested"));
    }
  }
}

TEST(ParseWatchEvent, AnErrorSaysItsCodeAndMessage) {
  const absl::StatusOr<WatchEvent> event =
      ParseWatchEvent(R"({"type":"ERROR","object":{"kind":"Status","code":500,"message":"etcd is away"}})");
  ASSERT_TRUE(event.ok());
  EXPECT_EQ(event->error.message(), "watch the pods: 500: etcd is away");
}

TEST(ParseWatchEvent, ADeletedPodNeedsOnlyItsUid) {
  const absl::StatusOr<WatchEvent> event =
      ParseWatchEvent(R"({"type":"DELETED","object":{"metadata":{"uid":"u","resourceVersion":"8"}}})");
  ASSERT_TRUE(event.ok());
  EXPECT_EQ(event->api_uid, "u");
  EXPECT_EQ(event->resource_version, "8");
  EXPECT_FALSE(ParseWatchEvent(R"({"type":"DELETED","object":{"metadata":{}}})")->unreadable.ok());
}

TEST(BackOff, GrowsToItsBoundAndStartsAgain) {
  BackOff back_off({.first = absl::Seconds(1), .longest = absl::Seconds(5)});
  for (const int seconds : {1, 2, 4, 5, 5}) {
    const absl::Duration delay = back_off.Next();
    EXPECT_GE(delay, absl::Seconds(seconds));
    EXPECT_LE(delay, absl::Seconds(2 * seconds));
  }
  back_off.Reset();
  EXPECT_LE(back_off.Next(), absl::Seconds(2));
}

TEST(BackOff, IsNotTheSameForAll) {
  BackOff one({.first = absl::Seconds(1), .longest = absl::Seconds(5)});
  BackOff other({.first = absl::Seconds(1), .longest = absl::Seconds(5)});
  EXPECT_NE(one.Next(), other.Next());
}

TEST(Pause, IsEndedByAPokeAlsoAnEarlierOne) {
  Pause pause;
  pause.Poke();
  EXPECT_TRUE(pause.Wait(absl::Hours(1)));
  EXPECT_TRUE(pause.Wait(absl::Milliseconds(1)));
  std::thread poke([&] { pause.Poke(); });
  EXPECT_TRUE(pause.Wait(absl::Hours(1)));
  poke.join();
  pause.Stop();
  EXPECT_FALSE(pause.Wait(absl::Hours(1)));
  EXPECT_TRUE(pause.stopped());
}

TEST(FindApiServer, TakesTheUrlOrTheEnvironment) {
  unsetenv("KUBERNETES_SERVICE_HOST");
  EXPECT_TRUE(absl::IsNotFound(FindApiServer("", "/t", "/c").status()));
  setenv("KUBERNETES_SERVICE_HOST", "fd00::1", 1);
  setenv("KUBERNETES_SERVICE_PORT", "6443", 1);
  EXPECT_EQ(FindApiServer("", "/t", "/c")->endpoint.Origin(), "https://[fd00::1]:6443");
  EXPECT_EQ(FindApiServer("https://api:1", "/t", "/c")->endpoint.Origin(), "https://api:1");
  setenv("KUBERNETES_SERVICE_PORT", "x", 1);
  EXPECT_THAT(std::string(FindApiServer("", "/t", "/c").status().message()),
              HasSubstr("KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT: "));
  unsetenv("KUBERNETES_SERVICE_HOST");
  unsetenv("KUBERNETES_SERVICE_PORT");
}

}  // namespace
}  // namespace podfence
