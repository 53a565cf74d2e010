// Pods whose cgroups the kubelet and a container runtime make.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/enforcer/enforcer.h"
#include "agent/enforcer/inspect.h"
#include "tests/unit/enforcer/fake_node.h"
#include "tests/unit/enforcer/looks.h"
#include "tests/unit/enforcer/pods.h"

namespace podfence {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

Plan PlanOf(const NodeState& state, const Places& places) {
  return MakePlan(state, {CpuSet::Range(0, 23), CpuSet{0}, true, true, &places});
}

Places MlPlaces() {
  Places places;
  places.classes = {"burstable", "besteffort"};
  places.pods["ml"] = {.path = "podml",
                       .pause = "podml/p0",
                       .containers = {{"ml-training", "podml/c1"}, {"service-mesh-sidecar", "podml/c2"}},
                       .guests = {{"debugger", "podml/e1"}}};
  return places;
}

TEST(RuntimeCgroupsPlanTest, HoldsWhatKeepsThePromisesAndNothingElse) {
  const Plan plan = PlanOf(StateOf("0,4-23", {MlWorkload()}), MlPlaces());
  EXPECT_EQ(CpusOf(plan, "burstable"), "0,4-23");
  EXPECT_EQ(CpusOf(plan, "besteffort"), "0,4-23");
  EXPECT_EQ(CpusOf(plan, "podml"), "0-23");
  EXPECT_EQ(CpusOf(plan, "podml/c1"), "1-3");
  EXPECT_EQ(CpusOf(plan, "podml/c2"), "0,4-23");
  EXPECT_EQ(CpusOf(plan, "podml/p0"), "0,4-23") << "a sandbox runs beside no owner";
  EXPECT_EQ(CpusOf(plan, "podml/e1"), "0,4-23");
  EXPECT_EQ(plan.Find("podml")->cpu_max.ToString(), "max 100000");
  EXPECT_EQ(plan.Find("podml/c1")->cpu_max.ToString(), "max 100000");
  EXPECT_EQ(plan.Find("podml/c2")->cpu_max.ToString(), "100000 100000");
  EXPECT_EQ(plan.Find("podml/c1")->partition, "root");
  const HeldFiles only_top{.cpus = false, .mems = false, .cpu_weight = false, .memory_max = false};
  EXPECT_EQ(plan.Find("")->held, only_top) << "the kubelet widens its cpuset at each start";
  for (const char* path : {"podml", "podml/c1", "podml/c2"}) {
    EXPECT_FALSE(plan.Find(path)->held.memory_max) << path;
    EXPECT_FALSE(plan.Find(path)->held.cpu_weight) << path;
    EXPECT_TRUE(plan.Find(path)->held.cpu_max) << path;
  }
  EXPECT_TRUE(plan.Find("podml/c1")->held.mems) << "its memory was assigned";
  EXPECT_FALSE(plan.Find("podml/c2")->held.mems);
}

TEST(RuntimeCgroupsPlanTest, ABubbleHoldsItsPod) {
  Places places;
  places.pods["db"] = {.path = "poddb", .pause = "poddb/p", .containers = {{"database", "poddb/d"}}, .guests = {}};
  const Plan plan = PlanOf(StateOf("0,4-11,20-23", {Database()}), places);
  EXPECT_EQ(CpusOf(plan, "poddb"), "12-19");
  EXPECT_EQ(CpusOf(plan, "poddb/p"), "18-19") << "the pod shared pool";
  EXPECT_EQ(plan.FindContainer("db", "backup-agent"), nullptr) << "not made yet";
  EXPECT_FALSE(plan.Find("poddb/d")->held.cpu_weight);
}

TEST(RuntimeCgroupsPlanTest, ABubbleWithoutARestKeepsItsSandboxInTheNodePool) {
  const PodAllocation whole =
      Decide(NewPod("w", "2", "1Gi", {}, {App("app", "2", "1Gi")}), {Exclusive("app", "4-5")}, "4-5");
  Places places;
  places.pods["w"] = {.path = "podw", .pause = "podw/p", .containers = {{"app", "podw/a"}}, .guests = {}};
  const Plan plan = PlanOf(StateOf("0-3,6-23", {whole}), places);
  EXPECT_EQ(CpusOf(plan, "podw/p"), "0-3,6-23");
  EXPECT_EQ(CpusOf(plan, "podw"), "0-23") << "the sandbox is below it";
}

TEST(RuntimeCgroupsPlanTest, APodWithoutExclusiveContainersKeepsItsQuotas) {
  Places places;
  places.pods["g"] = {.path = "podg", .pause = "podg/p", .containers = {{"app", "podg/a"}}, .guests = {}};
  const PodAllocation shared = Decide(NewPod("g", {}, {App("app", "1500m", "1Gi")}), {NodeShared("app")});
  const Plan plan = PlanOf(StateOf("0-23", {shared}), places);
  EXPECT_EQ(CpusOf(plan, "podg/a"), "0-23");
  EXPECT_FALSE(plan.Find("podg")->held.cpu_max);
  EXPECT_FALSE(plan.Find("podg/a")->held.cpu_max);
}

TEST(RuntimeCgroupsPlanTest, SharedContainersBesideTheirGroupGetTheirPart) {
  const PodAllocation pod = Decide(NewPod("p", "4", "1Gi", {}, {App("app", "2", "1Gi"), App("a"), App("b")}),
                                   {Exclusive("app", "1-2"), NodeShared("a"), NodeShared("b")});
  Places places;
  PodPlace& place = places.pods["p"];
  place = {
      .path = "podp", .pause = "", .containers = {{"app", "podp/1"}, {"a", "podp/2"}, {"b", "podp/3"}}, .guests = {}};
  const NodeState state = StateOf("0,3-23", {pod});
  Plan plan = PlanOf(state, places);
  EXPECT_EQ(plan.Find(QuotaGroupOf("podp")), nullptr) << "nobody is in it";
  EXPECT_EQ(plan.Find("podp/2")->cpu_max.ToString(), "100000 100000");
  EXPECT_EQ(plan.Find("podp/3")->cpu_max.ToString(), "100000 100000");
  EXPECT_EQ(plan.Find("podp/2")->group, "podp/containers.quota-shared");
  place.containers["b"] = "podp/containers.quota-shared/3";
  plan = PlanOf(state, places);
  EXPECT_EQ(plan.Find(QuotaGroupOf("podp"))->cpu_max.ToString(), "100000 100000") << "what the one beside it leaves";
  EXPECT_EQ(plan.Find("podp/2")->cpu_max.ToString(), "100000 100000");
  EXPECT_EQ(plan.Find("podp/containers.quota-shared/3")->cpu_max.ToString(), "max 100000");
  EXPECT_EQ(QuotaGroupOf("kubepods-podp.slice"), "kubepods-podp.slice/kubepods-podp-shared.slice");
}

class RuntimeCgroupsTest : public testing::Test {
 protected:
  RuntimeCgroupsTest() { Make(KubepodsOptions(tree_)); }
  void Make(EnforcerOptions options) {
    absl::StatusOr<Enforcer> enforcer = Enforcer::Create(tree_.path(), Node(), std::move(options));
    ASSERT_TRUE(enforcer.ok()) << enforcer.status();
    EXPECT_EQ(enforcer->Prepare(), absl::OkStatus());
    enforcer_.emplace(*std::move(enforcer));
    enforcer_->SetPlaces(MlPlaces());
  }
  EnforceReport Apply() {
    absl::StatusOr<EnforceReport> report = enforcer_->Apply(state_);
    EXPECT_TRUE(report.ok()) << report.status();
    return *std::move(report);
  }
  void MakeKubepods() {
    tree_.Add(tree_.path(),
              {FakeCgroup("kubepods", "0-23",
                          {FakeCgroup("burstable", "", {FakeCgroup("podx", "")}), FakeCgroup("besteffort", ""),
                           FakeCgroup("podml", "", {FakeCgroup("p0", ""), FakeCgroup("c1", ""), FakeCgroup("c2", "")}),
                           FakeCgroup("podnew", "")})});
    tree_.Set("kubepods/podml/cpu.max", "400000 100000");
    tree_.Set("kubepods/podml/c1/memory.max", "5");
  }

  CgroupTree tree_{FakeRoot()};
  std::optional<Enforcer> enforcer_;
  NodeState state_ = StateOf("0,4-23", {MlWorkload()});
};

TEST_F(RuntimeCgroupsTest, WaitsForTheKubeletThenFencesWhatItMade) {
  EXPECT_THAT(Apply().live, IsEmpty());
  EXPECT_FALSE(enforcer_->CheckContainer(state_, "ml", "ml-training").ok());
  MakeKubepods();
  const EnforceReport report = Apply();
  EXPECT_EQ(tree_.Get("kubepods/cpuset.cpus"), "0-23");
  EXPECT_EQ(tree_.Get("kubepods/burstable/cpuset.cpus"), "0,4-23");
  EXPECT_EQ(tree_.Get("kubepods/burstable/podx/cpuset.cpus"), "") << "held by its class";
  EXPECT_EQ(tree_.Get("kubepods/podml/cpu.max"), "max 100000");
  EXPECT_EQ(tree_.Get("kubepods/podml/c1/cpuset.cpus"), "1-3");
  EXPECT_EQ(tree_.Get("kubepods/podml/c1/memory.max"), "5") << "the kubelet's";
  EXPECT_EQ(tree_.Get("kubepods/podml/p0/cpuset.cpus"), "0,4-23");
  EXPECT_EQ(tree_.Get("kubepods/podnew/cpuset.cpus"), "0,4-23") << "a pod that no decision names is shared";
  EXPECT_EQ(enforcer_->CheckContainer(state_, "ml", "ml-training"), absl::OkStatus());
  EXPECT_EQ(Apply().writes, 0);
  tree_.Set("kubepods/podml/cpu.weight", "7");
  tree_.Set("kubepods/podml/cpu.max", "400000 100000");
  const EnforceReport drifted = Apply();
  EXPECT_EQ(tree_.Get("kubepods/podml/cpu.weight"), "7") << "the kubelet may weigh its pods anew";
  EXPECT_EQ(tree_.Get("kubepods/podml/cpu.max"), "max 100000");
  std::vector<std::string> files;
  for (const Finding& finding : drifted.findings) {
    if (finding.kind == FindingKind::kDrift) files.push_back(finding.file);
  }
  EXPECT_THAT(files, ElementsAre("cpu.max"));
}

TEST_F(RuntimeCgroupsTest, AnInspectionThatKnowsThePlacesHoldsThemAgainstTheDecisions) {
  MakeKubepods();
  Apply();
  const EnforcerOptions options = KubepodsOptions(tree_);
  const Places places = MlPlaces();
  const auto look = [&] {
    absl::StatusOr<Inspection> inspection = Inspect(state_, tree_.path(), Node(), options, &places);
    EXPECT_TRUE(inspection.ok()) << inspection.status();
    return *std::move(inspection);
  };
  EXPECT_THAT(look().findings, IsEmpty()) << "nor because no decision names podnew, which is shared";
  EXPECT_EQ(std::ranges::count(look().live, "ml-training", [](const LiveFence& live) { return live.fence.container; }),
            1);
  tree_.Set("kubepods/podml/c1/cpu.max", "50000 100000");
  tree_.Set("kubepods/podml/c2/cpuset.cpus", "0,2-23");
  std::vector<std::string> found;
  for (const Finding& finding : look().findings) {
    if (finding.kind == FindingKind::kDrift) found.push_back(Cat(finding.container, " ", finding.file));
  }
  EXPECT_THAT(found, ElementsAre("ml-training cpu.max", "service-mesh-sidecar cpuset.cpus"));
  tree_.Set("kubepods/podnew/cpuset.cpus", "2-3");
  EXPECT_TRUE(std::ranges::any_of(look().findings, [](const Finding& finding) {
    return finding.kind == FindingKind::kUnknownCgroup && finding.path.ends_with("/podnew");
  }));
  tree_.Set("kubepods/podml/c1/cgroup.events", "populated 0");
  std::vector<std::string> idle;
  for (const Fence& fence : look().idle) idle.push_back(fence.container);
  EXPECT_THAT(idle, ElementsAre("ml-training", "debugger")) << "the debugger has no cgroup at all";
}

TEST_F(RuntimeCgroupsTest, AContainerDoesNotStartWhileItsCpusAreShared) {
  MakeKubepods();
  tree_.Remove("kubepods/burstable/cpuset.cpus.effective");
  tree_.Set("kubepods/burstable/cpuset.cpus.effective", "0-23");  // whatever is written
  Apply();
  const absl::Status status = enforcer_->CheckContainer(state_, "ml", "ml-training");
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(status.message(), HasSubstr("burstable"));
}

// As CRI-O's monitor with conmon_cgroup = "pod".
TEST_F(RuntimeCgroupsTest, WhatNoDecisionNamesInABubbleRunsOnItsSharedPool) {
  state_ = StateOf("0-11,20-23", {Database()});
  Places places;
  places.pods["db"] = {
      .path = "poddb", .pause = "", .containers = {{"database", "poddb/d"}, {"backup-agent", "poddb/b"}}, .guests = {}};
  enforcer_->SetPlaces(places);
  tree_.Add(
      tree_.path(),
      {FakeCgroup("kubepods", "0-23",
                  {FakeCgroup("poddb", "", {FakeCgroup("d", ""), FakeCgroup("b", ""), FakeCgroup("conmon", "")})})});
  EXPECT_THAT(Apply().findings, IsEmpty());
  EXPECT_EQ(tree_.Get("kubepods/poddb/conmon/cpuset.cpus"), "18-19");
  EXPECT_EQ(enforcer_->CheckContainer(state_, "db", "database"), absl::OkStatus());
  EXPECT_EQ(enforcer_->CheckContainer(state_, "db", "backup-agent"), absl::OkStatus());
}

// As CRI-O leaves them until they are removed.
TEST_F(RuntimeCgroupsTest, AnEndedContainerNoLongerHasTheCpusOfTheNext) {
  MakeKubepods();
  tree_.Add(tree_.path() + "/kubepods/podml", {FakeCgroup("c0", "1-3")});
  tree_.Set("kubepods/podml/c0/cpuset.cpus.exclusive", "1-3");
  tree_.Set("kubepods/podml/c0/cpuset.cpus.partition", "root");
  tree_.Set("kubepods/podml/c0/cgroup.events", "populated 0");
  Apply();
  tree_.Set("kubepods/podml/c1/cpuset.cpus.partition", "root");
  EXPECT_EQ(enforcer_->FreeEnded("ml"), absl::OkStatus());
  EXPECT_EQ(tree_.Get("kubepods/podml/c0/cpuset.cpus.partition"), "member");
  EXPECT_EQ(tree_.Get("kubepods/podml/c0/cpuset.cpus.exclusive"), "");
  EXPECT_EQ(tree_.Get("kubepods/podml/c0/cpuset.cpus"), "");
  EXPECT_EQ(tree_.Get("kubepods/podml/c1/cpuset.cpus.partition"), "root") << "that one lives";
}

TEST_F(RuntimeCgroupsTest, ControllersAreMissedWhereSomethingIsFenced) {
  state_ = StateOf("0-11,20-23", {Database()});
  Places places;
  places.pods["db"] = {.path = "poddb", .pause = "", .containers = {{"database", "poddb/d"}}, .guests = {}};
  enforcer_->SetPlaces(places);
  tree_.Add(tree_.path(), {FakeCgroup("kubepods", "0-23", {FakeCgroup("poddb", "", {FakeCgroup("conmon", "")})})});
  tree_.Set("kubepods/poddb/cgroup.subtree_control", "pids");
  EXPECT_THAT(Apply().findings, IsEmpty()) << "systemd, for the monitor alone";
  tree_.Set("kubepods/poddb/cgroup.subtree_control", "pids");
  tree_.Add(tree_.path() + "/kubepods/poddb", {FakeCgroup("d", "")});
  EXPECT_THAT(Apply().findings, ElementsAre(testing::Field(&Finding::file, "cgroup.subtree_control")));
}

TEST_F(RuntimeCgroupsTest, WithoutPartitionsNoneIsMade) {
  EnforcerOptions options = KubepodsOptions(tree_);
  options.partitions = false;
  Make(std::move(options));
  MakeKubepods();
  tree_.Set("kubepods/podml/c1/cpuset.cpus.partition", "root");  // of an agent before
  EXPECT_THAT(Apply().findings, IsEmpty());
  EXPECT_EQ(tree_.Get("kubepods/podml/c1/cpuset.cpus.partition"), "member");
  EXPECT_EQ(tree_.Get("kubepods/podml/c1/cpuset.cpus.exclusive"), "");
  EXPECT_EQ(tree_.Get("kubepods/podml/c1/cpuset.cpus"), "1-3");
}

TEST_F(RuntimeCgroupsTest, SaysWhatIsDecidedBeforeTheCgroupIsThere) {
  Places places;
  places.pods["ml"].path = "podml";
  enforcer_->SetPlaces(places);
  const absl::StatusOr<Fence> fence = enforcer_->DecidedFence(state_, "ml", "ml-training");
  ASSERT_TRUE(fence.ok()) << fence.status();
  EXPECT_EQ(fence->cpus.ToString(), "1-3");
  EXPECT_EQ(fence->cpu_max.ToString(), "max 100000");
  const absl::StatusOr<Fence> sidecar = enforcer_->DecidedFence(state_, "ml", "service-mesh-sidecar");
  ASSERT_TRUE(sidecar.ok()) << sidecar.status();
  EXPECT_EQ(sidecar->cpu_max.ToString(), "100000 100000");
  EXPECT_EQ(sidecar->group, "");
  EXPECT_TRUE(absl::IsNotFound(enforcer_->DecidedFence(state_, "ml", "nobody").status()));
}

TEST_F(RuntimeCgroupsTest, GivesBackWhatKubernetesAloneWouldHave) {
  MakeKubepods();
  Apply();
  ASSERT_EQ(enforcer_->GiveBack(state_).status(), absl::OkStatus());
  for (const char* cgroup : {"burstable", "besteffort", "podml", "podml/p0", "podml/c1", "podml/c2"}) {
    EXPECT_EQ(tree_.Get(Cat("kubepods/", cgroup, "/cpuset.cpus")), "") << cgroup;
  }
  EXPECT_EQ(tree_.Get("kubepods/podml/cpu.max"), "400000 100000");
  EXPECT_EQ(tree_.Get("kubepods/podml/c1/cpu.max"), "300000 100000");
  EXPECT_EQ(tree_.Get("kubepods/podml/c2/cpu.max"), "400000 100000") << "without a limit it has its pod's";
  EXPECT_EQ(tree_.Get("kubepods/podml/c1/cpuset.mems"), "");
}

TEST_F(RuntimeCgroupsTest, GivesBackNoQuotaToAKubeletThatMakesNone) {
  EnforcerOptions options = KubepodsOptions(tree_);
  options.kubelet_quota = false;
  Make(std::move(options));
  MakeKubepods();
  Apply();
  EXPECT_EQ(tree_.Get("kubepods/podml/c2/cpu.max"), "100000 100000") << "the budget is kept all the same";
  ASSERT_EQ(enforcer_->GiveBack(state_).status(), absl::OkStatus());
  for (const char* cgroup : {"podml", "podml/c1", "podml/c2"}) {
    EXPECT_EQ(tree_.Get(Cat("kubepods/", cgroup, "/cpu.max")), "max 100000") << cgroup;
  }
}

TEST_F(RuntimeCgroupsTest, APodIsGoneWhenNothingLivesInItsCgroup) {
  MakeKubepods();
  Apply();
  EXPECT_TRUE(absl::IsFailedPrecondition(enforcer_->RemovePod("ml")));
  tree_.Set("kubepods/podml/cgroup.events", "populated 0");
  EXPECT_EQ(enforcer_->RemovePod("ml"), absl::OkStatus());
  EXPECT_EQ(enforcer_->RemovePod("unknown"), absl::OkStatus());
}

}  // namespace
}  // namespace podfence
