#include "agent/runtime_book.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

namespace podfence {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

NriPod Sandbox(const std::string& uid, const std::string& id, const std::string& parent) {
  NriPod pod;
  pod.id = id;
  pod.uid = uid;
  pod.name = uid;
  pod.ns = "default";
  pod.cgroup_parent = parent;
  pod.cgroups_path = parent + "/" + id;
  return pod;
}
NriContainer Made(const NriPod& pod, const std::string& name, const std::string& id) {
  NriContainer container;
  container.id = id;
  container.pod_id = pod.id;
  container.name = name;
  container.state = NriContainerState::kCreated;
  container.cgroups_path = pod.cgroup_parent + "/" + id;
  return container;
}

bool NoGuests(const std::string& /*uid*/, const std::string& /*container*/) { return false; }

class RuntimeBookTest : public testing::Test {
 protected:
  void Put(const NriContainer& container, const std::string& path = "") {
    EXPECT_EQ(book_.PutContainer(pod_, container, path), absl::OkStatus());
  }
  RuntimeBook book_;
  NriPod pod_ = Sandbox("a", "s1", "/kubepods/poda");
};

TEST_F(RuntimeBookTest, TellsWhereEverythingIs) {
  ASSERT_EQ(book_.PutSandbox(pod_), absl::OkStatus());
  ASSERT_EQ(book_.PutSandbox(Sandbox("b", "s2", "/kubepods/burstable/podb")), absl::OkStatus());
  Put(Made(pod_, "app", "c1"));
  Put(Made(pod_, "side", "c2"), "/kubepods/poda/containers.quota-shared/c2");
  Put(Made(pod_, "debugger", "e1"));
  const Places places =
      book_.GetPlaces([](const std::string& uid, const std::string& name) { return uid == "a" && name == "debugger"; });
  EXPECT_EQ(places.top, "kubepods");
  EXPECT_THAT(places.classes, ElementsAre("burstable", "besteffort"));
  ASSERT_THAT(places.pods, ElementsAre(Pair("a", testing::_))) << "burstable pods are fenced with their class";
  const PodPlace& place = places.pods.at("a");
  EXPECT_EQ(place.path, "poda");
  EXPECT_EQ(place.pause, "poda/s1");
  EXPECT_THAT(place.containers, ElementsAre(Pair("app", "poda/c1"), Pair("side", "poda/containers.quota-shared/c2")));
  EXPECT_THAT(place.guests, ElementsAre(Pair("debugger", "poda/e1")));
}

class ReplaceTest : public RuntimeBookTest {
 protected:
  void Replace(const std::vector<NriPod>& pods, const std::vector<NriContainer>& containers) {
    book_.Replace(
        pods, containers, [this](const std::string& path) { return populated_.contains(path); },
        [](const NriPod& pod, const std::string& what, const absl::Status& status) {
          EXPECT_EQ(status, absl::OkStatus()) << what << " of " << pod.name;
        });
  }
  std::set<std::string> populated_ = {"kubepods/poda/s1"};
  NriPod ended_ = Sandbox("a", "s0", "/kubepods/poda");
};

TEST_F(ReplaceTest, ASandboxThatHasEndedDoesNotRun) {
  Replace({pod_, Sandbox("b", "s2", "/kubepods/podb")}, {});
  EXPECT_TRUE(book_.Find("a")->sandbox);
  EXPECT_FALSE(book_.Find("b")->sandbox) << "nothing lives in it";
  EXPECT_FALSE(book_.Find("b")->lives());
  const NriPod bare = Sandbox("c", "s3", "/kubepods/podc");  // as CRI-O's, which have no process
  Replace({bare}, {Made(bare, "app", "c1")});
  EXPECT_TRUE(book_.Find("c")->sandbox) << "a container of it lives";
  EXPECT_EQ(book_.Find("a"), nullptr);
}

TEST_F(ReplaceTest, OfTwoSandboxesOfAPodTheOneThatRunsCounts) {
  NriContainer old = Made(ended_, "app", "c0");
  old.state = NriContainerState::kStopped;
  const NriContainer app = Made(pod_, "app", "c1");
  for (const std::vector<NriPod>& pods : {std::vector{ended_, pod_}, std::vector{pod_, ended_}}) {
    for (const auto& containers : {std::vector{old, app}, std::vector{app, old}}) {
      Replace(pods, containers);
      EXPECT_EQ(book_.Find("a")->nri.id, "s1");
      EXPECT_EQ(book_.Find("a")->pause_path, "poda/s1");
      EXPECT_EQ(book_.Find("a", "app")->nri.id, "c1");
    }
  }
}

TEST_F(ReplaceTest, ARunThatHasEndedDoesNotHideTheOneThatLives) {
  NriContainer old = Made(pod_, "app", "c0");
  old.state = NriContainerState::kStopped;
  Replace({pod_}, {Made(pod_, "app", "c1"), old});
  EXPECT_EQ(book_.Find("a", "app")->nri.id, "c1");
}

TEST_F(RuntimeBookTest, LateEventsOfAnEarlierIncarnationChangeNothing) {
  ASSERT_EQ(book_.PutSandbox(pod_), absl::OkStatus());
  const NriContainer first = Made(pod_, "app", "c1");
  const NriContainer second = Made(pod_, "app", "c2");
  Put(first);
  book_.Started(pod_, first);
  Put(second);
  EXPECT_FALSE(book_.Stopped(pod_, first));
  book_.RemoveContainer(pod_, first);
  book_.Started(pod_, second);
  const std::vector<ContainerRun> runs = book_.Containers();
  ASSERT_EQ(runs.size(), 1u);
  EXPECT_EQ(runs[0].phase, ContainerPhase::kRunning);
  EXPECT_EQ(runs[0].restarts, 1);
  EXPECT_EQ(book_.Find("a", "app")->nri.id, "c2");
  EXPECT_TRUE(book_.Stopped(pod_, second));
  EXPECT_THAT(book_.GetPlaces(NoGuests).pods.at("a").containers, IsEmpty()) << "nothing of it runs";
}

TEST_F(RuntimeBookTest, APodLivesUntilItsSandboxAndContainersAreGone) {
  ASSERT_EQ(book_.PutSandbox(pod_), absl::OkStatus());
  Put(Made(pod_, "app", "c1"));
  // The sandbox died and the kubelet made another one for the same pod: the old one's removal comes late.
  const NriPod again = Sandbox("a", "s9", "/kubepods/poda");
  ASSERT_EQ(book_.PutSandbox(again), absl::OkStatus());
  book_.RemoveSandbox(pod_);
  ASSERT_NE(book_.Find("a"), nullptr);
  EXPECT_TRUE(book_.Find("a")->lives());
  EXPECT_EQ(book_.Find("a")->pause_path, "poda/s9");
  book_.RemoveSandbox(again);
  ASSERT_NE(book_.Find("a"), nullptr) << "a container of the old sandbox is still known";
  book_.RemoveContainer(pod_, Made(pod_, "app", "c1"));
  EXPECT_EQ(book_.Find("a"), nullptr);
}

TEST_F(RuntimeBookTest, AStoppedSandboxLivesNoMore) {
  ASSERT_EQ(book_.PutSandbox(pod_), absl::OkStatus());
  const NriContainer app = Made(pod_, "app", "c1");
  Put(app);
  book_.StopSandbox(pod_);
  EXPECT_TRUE(book_.Find("a")->lives()) << "its container does";
  EXPECT_TRUE(book_.Stopped(pod_, app));
  EXPECT_FALSE(book_.Find("a")->lives()) << "though nothing was removed yet";
}

TEST_F(RuntimeBookTest, RefusesWhatItCannotPlace) {
  EXPECT_TRUE(absl::IsInvalidArgument(book_.PutSandbox(Sandbox("x", "s", "/machine/podx"))));
  EXPECT_EQ(book_.Find("x"), nullptr);
  EXPECT_TRUE(absl::IsNotFound(book_.PutContainer(pod_, Made(pod_, "app", "c1"), "")));
  ASSERT_EQ(book_.PutSandbox(pod_), absl::OkStatus());
  EXPECT_TRUE(absl::IsInvalidArgument(book_.PutContainer(pod_, Made(pod_, "app", "c1"), "/kubepods/podb/c1")))
      << "another pod's";
}

}  // namespace
}  // namespace podfence
