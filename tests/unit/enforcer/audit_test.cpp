#include "agent/enforcer/audit.h"

#include <gmock/gmock.h>

#include <algorithm>

#include "tests/unit/enforcer/fake_node.h"
#include "tests/unit/enforcer/looks.h"
#include "tests/unit/enforcer/pods.h"

namespace podfence {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::Field;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::IsSupersetOf;
using testing::UnorderedElementsAre;

constexpr char kTraining[] = "kubepods/podml/aaa";
constexpr char kSidecar[] = "kubepods/podml/bbb";
constexpr char kBurstable[] = "kubepods/burstable/podbu/ccc";

PodAllocation Burstable() {
  Pod pod = NewPod("bu", {}, {App("app", "300m", "64Mi")});
  pod.qos = QosClass::kBurstable;
  return Decide(std::move(pod), {NodeShared("app")});
}

// A node whose kubelet has set everything as it does, with ml-workload of pods.h and a burstable pod.
class AuditTest : public testing::Test {
 protected:
  AuditTest() {
    const auto set = [this](const std::string& cgroup, const std::string& cpus, const std::string& quota,
                            const std::string& memory) {
      tree_.Set(cgroup + "/cpuset.cpus", cpus);
      tree_.Set(cgroup + "/cpu.max", quota);
      tree_.Set(cgroup + "/memory.max", memory);
    };
    set(kTraining, "1-3", "max 100000", "6442450944");
    tree_.Set(std::string(kTraining) + "/cpuset.mems", "0");
    tree_.Set(std::string(kTraining) + "/memory.numa_stat", "anon N0=4096 N1=0\nfile N0=0 N1=0");
    set(kSidecar, "0,4-23", "400000 100000", "8589934592");
    set("kubepods/podml", "", "400000 100000", "8589934592");
    set("kubepods/burstable/podbu", "", "30000 100000", "67108864");
    set(kBurstable, "0,4-23", "30000 100000", "67108864");
    options_.cgroup_root = tree_.path();
    options_.sys_root = tree_.path() + "/sys";
    places_.top = "kubepods";
    places_.classes = {"burstable", "besteffort"};
    places_.pods["ml"] = {.path = "podml",
                          .pause = "",
                          .containers = {{"ml-training", "podml/aaa"}, {"service-mesh-sidecar", "podml/bbb"}},
                          .guests = {}};
    places_.pods["bu"] = {
        .path = "burstable/podbu", .pause = "", .containers = {{"app", "burstable/podbu/ccc"}}, .guests = {}};
  }

  Inspection Look() {
    return LookWithoutTouching(tree_, [this] { return Audit(state_, places_, options_); });
  }
  // The pod's quota is a finding by itself: without it.
  void LiftQuota() { tree_.Set("kubepods/podml/cpu.max", "max 100000"); }

  CgroupTree tree_{FakeRoot(
      {FakeCgroup("kubepods", "0-23",
                  {FakeCgroup("podml", "", {FakeCgroup("aaa", ""), FakeCgroup("bbb", ""), FakeCgroup("pause", "")}),
                   FakeCgroup("burstable", "", {FakeCgroup("podbu", "", {FakeCgroup("ccc", "")})}),
                   FakeCgroup("besteffort", "")})})};
  NodeState state_ = StateOf("0,4-23", {MlWorkload(), Burstable()});
  Places places_;
  AuditOptions options_;
};

TEST_F(AuditTest, ThePodsQuotaThrottlesItsExclusiveContainers) {
  EXPECT_THAT(Look().findings,
              ElementsAre(AllOf(IsFinding(FindingKind::kQuotaAbove, "", "cpu.max", "max 100000", "400000 100000"),
                                Field(&Finding::pod, "ml"), Field(&Finding::path, tree_.path() + "/kubepods/podml"),
                                Field(&Finding::message, HasSubstr("throttles its exclusive containers")))));
}

TEST_F(AuditTest, WhatTheKubeletDecidedIsClean) {
  LiftQuota();
  const Inspection inspection = Look();
  EXPECT_THAT(inspection.findings, IsEmpty());
  EXPECT_THAT(inspection.unseen, IsEmpty());
  EXPECT_THAT(inspection.idle, IsEmpty());
  std::vector<std::string> live;
  for (const LiveFence& fence : inspection.live) live.push_back(fence.fence.path);
  EXPECT_THAT(live, UnorderedElementsAre("", "burstable", "besteffort", "podml", "podml/aaa", "podml/bbb"))
      << "what runs in a class holds nothing of its own";
}

TEST_F(AuditTest, EveryControlFileIsHeldAgainstTheDecision) {
  LiftQuota();
  constexpr auto kDrift = FindingKind::kDrift;
  tree_.Set("kubepods/podml/aaa/cpuset.cpus", "1-2");
  tree_.Set("kubepods/podml/aaa/cpuset.mems", "0-1");
  tree_.Set("kubepods/podml/aaa/cpuset.cpus.partition", "root");
  tree_.Set("kubepods/podml/bbb/cpuset.cpus", "0-23");
  tree_.Set("kubepods/podml/bbb/cpu.max", "100000 100000");
  tree_.Set("kubepods/podml/memory.max", "max");
  tree_.Set("kubepods/podml/cpuset.cpus", "0-11");
  tree_.Set("kubepods/burstable/podbu/ccc/cpuset.cpus", "");
  tree_.Set("kubepods/burstable/cpu.max", "100000 100000");
  tree_.Set("kubepods/podml/bbb/cpu.weight", "7");  // the kubelet's own business
  tree_.Set("kubepods/podml/pause/cpuset.cpus", "7");
  EXPECT_THAT(
      Look().findings,
      UnorderedElementsAre(IsFinding(kDrift, "ml-training", "cpuset.cpus", "1-3", "1-2"),
                           IsFinding(kDrift, "ml-training", "cpuset.mems", "0", "0-1"),
                           IsFinding(kDrift, "ml-training", "cpuset.cpus.partition", "member", "root"),
                           IsFinding(kDrift, "service-mesh-sidecar", "cpuset.cpus", "0,4-23", "0-23"),
                           IsFinding(kDrift, "service-mesh-sidecar", "cpu.max", "400000 100000", "100000 100000"),
                           IsFinding(kDrift, "", "memory.max", "8589934592", "max"),
                           IsFinding(kDrift, "", "cpuset.cpus", "", "0-11"),
                           IsFinding(kDrift, "app", "cpuset.cpus", "0,4-23", ""),
                           IsFinding(kDrift, "", "cpu.max", "max 100000", "100000 100000")));
}

TEST_F(AuditTest, AnExclusiveContainersOwnQuotaCanThrottleIt) {
  LiftQuota();
  tree_.Set("kubepods/podml/aaa/cpu.max", "300000 100000");
  EXPECT_THAT(Look().findings, ElementsAre(IsFinding(FindingKind::kQuotaAbove, "ml-training", "cpu.max", "max 100000",
                                                     "300000 100000")));
}

TEST_F(AuditTest, WithoutQuotasNoneIsExpected) {
  options_.cpu_quota = false;
  LiftQuota();
  for (const char* cgroup : {"podml/bbb", "burstable/podbu", "burstable/podbu/ccc"}) {
    tree_.Set(std::string("kubepods/") + cgroup + "/cpu.max", "max 100000");
  }
  EXPECT_THAT(Look().findings, IsEmpty());
}

TEST_F(AuditTest, QuotasAreInTheKubeletsPeriods) {
  options_.quota_period_us = 5000;
  LiftQuota();
  tree_.Set("kubepods/podml/bbb/cpu.max", "20000 5000");
  for (const char* cgroup : {"burstable/podbu", "burstable/podbu/ccc"}) {
    tree_.Set(std::string("kubepods/") + cgroup + "/cpu.max", "1500 5000");
  }
  EXPECT_THAT(Look().findings, IsEmpty());
  tree_.Set("kubepods/podml/bbb/cpu.max", "400000 100000");
  EXPECT_THAT(Look().findings, ElementsAre(IsFinding(FindingKind::kDrift, "service-mesh-sidecar", "cpu.max",
                                                     "20000 5000", "400000 100000")));
}

TEST_F(AuditTest, APodThatIsResizedIsNotHeldToItsLimits) {
  options_.resizing = {"ml", "bu"};
  tree_.Set("kubepods/podml/bbb/cpu.max", "500000 100000");
  tree_.Set("kubepods/podml/bbb/memory.max", "4096");
  tree_.Set("kubepods/burstable/podbu/ccc/cpu.max", "40000 100000");
  EXPECT_THAT(Look().findings, ElementsAre(Field(&Finding::kind, FindingKind::kQuotaAbove)));
}

TEST_F(AuditTest, ASharedContainerMayStillHaveTheEarlierPool) {
  LiftQuota();
  tree_.Set("kubepods/podml/bbb/cpuset.cpus", "0-23");
  tree_.Set("kubepods/burstable/podbu/ccc/cpuset.cpus", "0-22");
  options_.earlier_pools = {*CpuSet::Parse("0-23")};
  const Inspection inspection = Look();
  EXPECT_THAT(inspection.findings, ElementsAre(Field(&Finding::container, "app"))) << "0-22 never was the pool";
  const auto sidecar = std::ranges::find(inspection.live, "podml/bbb", [](const LiveFence& l) { return l.fence.path; });
  ASSERT_NE(sidecar, inspection.live.end());
  EXPECT_EQ(sidecar->fence.cpus.ToString(), "0-23") << "its tasks may be anywhere in both";
  // An exclusive container never lags: its CPUs are set when it is made.
  tree_.Set("kubepods/podml/aaa/cpuset.cpus", "0-23");
  EXPECT_EQ(Look().findings.size(), 2u);
}

TEST_F(AuditTest, WhatHasEndedIsNotHeldToAnything) {
  tree_.Set("kubepods/podml/aaa/cgroup.events", "populated 0");
  tree_.Set("kubepods/podml/aaa/cpuset.cpus", "7");
  tree_.Set("kubepods/burstable/podbu/cgroup.events", "populated 0");
  tree_.Set("kubepods/burstable/podbu/ccc/cgroup.events", "populated 0");
  tree_.Set("kubepods/burstable/podbu/cpu.max", "max 100000");
  tree_.Set("kubepods/burstable/podbu/ccc/cpu.max", "max 100000");
  const Inspection inspection = Look();
  EXPECT_THAT(inspection.findings, ElementsAre(Field(&Finding::kind, FindingKind::kQuotaAbove)));
  EXPECT_THAT(inspection.idle,
              UnorderedElementsAre(Field(&Fence::container, "ml-training"), Field(&Fence::container, "app")));
}

TEST_F(AuditTest, ThePodSharedPoolIsWhereItsContainersRun) {
  state_ = StateOf("0-11,20-23", {Database()});
  places_.pods = {{"db",
                   {.path = "podml",
                    .pause = "",
                    .containers = {{"database", "podml/aaa"}, {"backup-agent", "podml/bbb"}},
                    .guests = {}}}};
  tree_.Set("kubepods/podml/aaa/cpuset.cpus", "12-17");
  tree_.Set("kubepods/podml/bbb/cpuset.cpus", "18-20");
  std::vector<Finding> findings = Look().findings;
  std::erase_if(findings, [](const Finding& finding) { return finding.file != "cpuset.cpus"; });
  EXPECT_THAT(findings, ElementsAre(IsFinding(FindingKind::kDrift, "backup-agent", "cpuset.cpus", "18-19", "18-20")));
}

TEST_F(AuditTest, AnEmptyPoolLeavesSharedContainersOnExclusiveCpus) {
  state_.shared_cpus.Clear();
  LiftQuota();
  tree_.Set("kubepods/podml/bbb/cpuset.cpus", "");
  tree_.Set("kubepods/burstable/podbu/ccc/cpuset.cpus", "");
  EXPECT_THAT(Look().findings, ElementsAre(Field(&Finding::kind, FindingKind::kEmptyNodePool)));
}

TEST_F(AuditTest, MemoryAndCpusThatAreNotThereAreNamed) {
  LiftQuota();
  tree_.Set("kubepods/podml/aaa/memory.numa_stat", "anon N0=0 N1=8192\nfile N0=0 N1=0");
  tree_.Set("sys/devices/system/cpu/online", "0-2,4-23");
  EXPECT_THAT(Look().findings, IsSupersetOf({Field(&Finding::kind, FindingKind::kMemoryOutside),
                                             Field(&Finding::kind, FindingKind::kCpuOffline)}));
}

TEST_F(AuditTest, ControllersThatDoNotReachAPodAreNamed) {
  LiftQuota();
  tree_.Set("kubepods/besteffort/cgroup.subtree_control", "");  // nothing is in it
  tree_.Set("kubepods/burstable/cgroup.subtree_control", "cpu memory");
  EXPECT_THAT(Look().findings,
              ElementsAre(AllOf(Field(&Finding::file, "cgroup.subtree_control"), Field(&Finding::found, "no cpuset"))));
}

TEST_F(AuditTest, ANodeWithoutTheKubeletsCgroupIsNotClean) {
  places_.top = "kubepods.slice";
  EXPECT_EQ(Audit(state_, places_, options_).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace podfence
