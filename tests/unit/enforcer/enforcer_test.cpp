#include "agent/enforcer/enforcer.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <filesystem>

#include "agent/core/text.h"
#include "tests/unit/enforcer/fake_node.h"
#include "tests/unit/enforcer/pods.h"

namespace podfence {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::Field;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

class EnforcerTest : public testing::Test {
 protected:
  EnforcerTest() { enforcer_.emplace(Make()); }
  Enforcer Make() {
    EnforcerOptions options;
    options.reserved = CpuSet{0};
    options.sys_root = tree_.path() + "/sys";
    options.repair = repair_;
    absl::StatusOr<Enforcer> enforcer = Enforcer::Create(tree_.path(), Node(), options);
    EXPECT_TRUE(enforcer.ok()) << enforcer.status();
    EXPECT_EQ(enforcer->Prepare(), absl::OkStatus());
    return *std::move(enforcer);
  }
  EnforceReport Apply(const NodeState& state) {
    absl::StatusOr<EnforceReport> report = enforcer_->Apply(state);
    EXPECT_TRUE(report.ok()) << report.status();
    return *std::move(report);
  }

  CgroupTree tree_{FakeNode()};
  bool repair_ = true;
  std::optional<Enforcer> enforcer_;
};

TEST_F(EnforcerTest, BringsEveryFileToTheDecision) {
  const EnforceReport report = Apply(StateOf("0,4-23", {MlWorkload()}));
  EXPECT_EQ(tree_.Get("podfence/podml/ml-training/cpuset.cpus"), "1-3");
  EXPECT_EQ(tree_.Get("podfence/podml/ml-training/cpuset.mems"), "0");
  EXPECT_EQ(tree_.Get("podfence/podml/ml-training/memory.max"), "6442450944");
  EXPECT_EQ(tree_.Get("podfence/podml/service-mesh-sidecar/cpuset.cpus"), "0,4-23");
  EXPECT_EQ(tree_.Get("podfence/podml/service-mesh-sidecar/cpu.max"), "100000 100000");
  EXPECT_EQ(tree_.Get("podfence/podml/cpu.max"), "max 100000");
  EXPECT_EQ(tree_.Get("podfence/cpuset.cpus"), "");
  EXPECT_THAT(report.findings, IsEmpty());
  EXPECT_EQ(report.live.size(), 4u);
  EXPECT_GT(report.writes, 0);
  EXPECT_EQ(Apply(StateOf("0,4-23", {MlWorkload()})).writes, 0) << "a second pass has nothing to do";
}

TEST_F(EnforcerTest, DriftIsNamedAndRepaired) {
  const NodeState state = StateOf("0,4-23", {MlWorkload()});
  Apply(state);
  tree_.Set("podfence/podml/service-mesh-sidecar/cpuset.cpus", "0-23");
  tree_.Set("podfence/podml/cpu.max", "400000 100000");
  tree_.Set("podfence/podml/ml-training/cpuset.mems", "0-1");
  const absl::StatusOr<EnforceReport> report = enforcer_->Reconcile(state);
  ASSERT_TRUE(report.ok());
  const auto drift = [](const std::string& container, const std::string& file, const std::string& expected,
                        const std::string& found) {
    return AllOf(Field(&Finding::kind, FindingKind::kDrift), Field(&Finding::pod, "ml"),
                 Field(&Finding::container, container), Field(&Finding::file, file),
                 Field(&Finding::expected, expected), Field(&Finding::found, found), Field(&Finding::repaired, true));
  };
  EXPECT_THAT(report->findings, UnorderedElementsAre(drift("service-mesh-sidecar", "cpuset.cpus", "0,4-23", "0-23"),
                                                     drift("", "cpu.max", "max 100000", "400000 100000"),
                                                     drift("ml-training", "cpuset.mems", "0", "0-1")));
  EXPECT_THAT(report->findings[0].message, HasSubstr(tree_.path() + "/podfence/podml"));
  EXPECT_EQ(tree_.Get("podfence/podml/service-mesh-sidecar/cpuset.cpus"), "0,4-23");
  EXPECT_EQ(tree_.Get("podfence/podml/cpu.max"), "max 100000");
  EXPECT_EQ(tree_.Get("podfence/podml/ml-training/cpuset.mems"), "0");
  EXPECT_THAT(enforcer_->Reconcile(state)->findings, IsEmpty());
}

TEST_F(EnforcerTest, AReplacedCgroupIsNamedAsThatAndFenced) {
  const NodeState state = StateOf("0,4-23", {MlWorkload()});
  const EnforceReport before = Apply(state);
  const auto id = [](const EnforceReport& report) {
    return Cat(std::ranges::find_if(report.live, [](const LiveFence& live) {
                 return live.fence.container == "ml-training";
               })->id);
  };
  // Kept beside the new one, so that its inode is not used again.
  std::filesystem::rename(tree_.path() + "/podfence/podml/ml-training", tree_.path() + "/old");
  tree_.Add(tree_.path() + "/podfence/podml", {FakeCgroup("ml-training", "")});
  const EnforceReport after = Apply(state);
  EXPECT_THAT(after.findings,
              ElementsAre(AllOf(Field(&Finding::kind, FindingKind::kDrift), Field(&Finding::container, "ml-training"),
                                Field(&Finding::file, ""), Field(&Finding::expected, id(before)),
                                Field(&Finding::found, id(after)), Field(&Finding::repaired, true))));
  EXPECT_EQ(tree_.Get("podfence/podml/ml-training/cpuset.cpus"), "1-3");
  EXPECT_THAT(Apply(state).findings, IsEmpty());
}

TEST_F(EnforcerTest, WithoutRepairDriftIsNamedAsLongAsItStands) {
  repair_ = false;
  enforcer_.emplace(Make());
  const NodeState state = StateOf("0,4-23", {MlWorkload()});
  EXPECT_THAT(Apply(state).findings, IsEmpty());
  EXPECT_EQ(tree_.Get("podfence/podml/ml-training/cpuset.cpus"), "1-3") << "our own decisions are enforced";
  tree_.Set("podfence/podml/cpu.max", "400000 100000");
  tree_.Set("podfence/podml/service-mesh-sidecar/cpuset.cpus", "4-9");
  for (int i = 0; i < 2; ++i) {
    const EnforceReport report = Apply(state);
    EXPECT_EQ(report.writes, 0);
    const auto stays = [](const std::string& file) {
      return AllOf(Field(&Finding::kind, FindingKind::kDrift), Field(&Finding::file, file),
                   Field(&Finding::repaired, false),
                   Field(&Finding::message, HasSubstr("not repaired: repairDrift is false")));
    };
    EXPECT_THAT(report.findings, UnorderedElementsAre(stays("cpu.max"), stays("cpuset.cpus")));
  }
  EXPECT_EQ(tree_.Get("podfence/podml/cpu.max"), "400000 100000");
  tree_.Set("podfence/podml/cpu.max", "max 100000");
  // What we decide anew is written, whatever someone had made of it.
  Apply(StateOf("0,4-11,20-23", {MlWorkload(), Database()}));
  EXPECT_EQ(tree_.Get("podfence/podml/service-mesh-sidecar/cpuset.cpus"), "0,4-11,20-23");
  EXPECT_THAT(Apply(StateOf("0,4-11,20-23", {MlWorkload(), Database()})).findings, IsEmpty());
}

TEST_F(EnforcerTest, WithoutRepairASharedCgroupOnExclusiveCpusIsToldOfAndKeepsNewOwnersAway) {
  repair_ = false;
  enforcer_.emplace(Make());
  const NodeState state = StateOf("0,4-23", {MlWorkload()});
  Apply(state);
  tree_.Set("podfence/podml/service-mesh-sidecar/cpuset.cpus", "0-23");
  EXPECT_THAT(Apply(state).findings,
              UnorderedElementsAre(Field(&Finding::kind, FindingKind::kDrift),
                                   AllOf(Field(&Finding::kind, FindingKind::kStillShared),
                                         Field(&Finding::expected, "0,4-23"), Field(&Finding::found, "0-23"))));
  EXPECT_TRUE(absl::IsFailedPrecondition(enforcer_->CreateContainerCgroup(state, "ml", "ml-training").status()));
}

TEST_F(EnforcerTest, WithoutRepairAReplacedCgroupStaysUnfenced) {
  repair_ = false;
  enforcer_.emplace(Make());
  const NodeState state = StateOf("0,4-23", {MlWorkload()});
  Apply(state);
  std::filesystem::rename(tree_.path() + "/podfence/podml/ml-training", tree_.path() + "/old");
  tree_.Add(tree_.path() + "/podfence/podml", {FakeCgroup("ml-training", "")});
  for (int i = 0; i < 2; ++i) {
    EXPECT_THAT(Apply(state).findings,
                testing::Contains(AllOf(Field(&Finding::kind, FindingKind::kDrift), Field(&Finding::file, ""),
                                        Field(&Finding::repaired, false))));
  }
  EXPECT_EQ(tree_.Get("podfence/podml/ml-training/cpuset.cpus"), "");
}

TEST_F(EnforcerTest, ACpuThatIsSwitchedOffIsNamedUntilItIsBackAndNothingIsWritten) {
  const NodeState state = StateOf("0,4-23", {MlWorkload()});
  Apply(state);
  const auto effective = [&](const std::string& cgroup, const std::string& cpus) {
    tree_.Remove(cgroup + "/cpuset.cpus.effective");
    tree_.Set(cgroup + "/cpuset.cpus.effective", cpus);
  };
  // As the kernel does: cpuset.cpus stays, what is in force shrinks.
  tree_.Set("sys/devices/system/cpu/online", "0-1,3-23");
  tree_.Set("cpuset.cpus.effective", "0-1,3-23");
  effective("podfence/podml/ml-training", "1,3");
  for (int i = 0; i < 2; ++i) {
    const EnforceReport report = Apply(state);
    EXPECT_EQ(report.writes, 0);
    EXPECT_THAT(
        report.findings,
        ElementsAre(AllOf(Field(&Finding::kind, FindingKind::kCpuOffline), Field(&Finding::container, "ml-training"),
                          Field(&Finding::expected, "1-3"), Field(&Finding::found, "1,3"), Field(&Finding::file, ""),
                          Field(&Finding::message, HasSubstr("CPUs 2 are offline: container ml-training")))));
  }
  tree_.Set("sys/devices/system/cpu/online", "0-23");
  tree_.Set("cpuset.cpus.effective", "0-23");
  effective("podfence/podml/ml-training", "1-3");
  const EnforceReport back = Apply(state);
  EXPECT_EQ(back.writes, 0);
  EXPECT_THAT(back.findings, IsEmpty());
}

TEST_F(EnforcerTest, APartitionThatLostItsCpusIsNobodysDeedAndMadeAgainOnceTheyAreBack) {
  for (const char* cgroup :
       {"podfence", "podfence/podml", "podfence/podml/ml-training", "podfence/podml/service-mesh-sidecar"}) {
    tree_.Set(Cat(cgroup, "/cpuset.cpus.exclusive"), "");
    tree_.Set(Cat(cgroup, "/cpuset.cpus.partition"), "member");
  }
  enforcer_.emplace(Make());
  const NodeState state = StateOf("0,4-23", {MlWorkload()});
  Apply(state);
  ASSERT_EQ(tree_.Get("podfence/podml/ml-training/cpuset.cpus.partition"), "root");
  tree_.Set("sys/devices/system/cpu/online", "0,4-23");
  tree_.Set("podfence/podml/ml-training/cpuset.cpus.partition", "root invalid (no cpu)");
  for (int i = 0; i < 2; ++i) {
    const EnforceReport report = Apply(state);
    EXPECT_EQ(report.writes, 0);
    EXPECT_THAT(report.findings, ElementsAre(AllOf(Field(&Finding::kind, FindingKind::kCpuOffline),
                                                   Field(&Finding::message, HasSubstr("has none left")))));
  }
  tree_.Set("sys/devices/system/cpu/online", "0-23");
  EXPECT_THAT(Apply(state).findings, IsEmpty());
  EXPECT_EQ(tree_.Get("podfence/podml/ml-training/cpuset.cpus.partition"), "root");
}

TEST_F(EnforcerTest, ANewDecisionIsNoDrift) {
  Apply(StateOf("0,4-23", {MlWorkload()}));
  const EnforceReport report = Apply(StateOf("0,4-11,20-23", {MlWorkload(), Database()}));
  EXPECT_THAT(report.findings, IsEmpty());
  EXPECT_EQ(tree_.Get("podfence/podml/service-mesh-sidecar/cpuset.cpus"), "0,4-11,20-23");
}

TEST_F(EnforcerTest, WhatANewAgentFindsIsNoDrift) {
  tree_.Set("podfence/podml/ml-training/cpuset.cpus", "5");
  enforcer_.emplace(Make());
  EXPECT_THAT(Apply(StateOf("0,4-23", {MlWorkload()})).findings, IsEmpty());
  EXPECT_EQ(tree_.Get("podfence/podml/ml-training/cpuset.cpus"), "1-3");
}

// The effective set that cannot be brought down: a file of its own beside cpuset.cpus.
TEST_F(EnforcerTest, AnOwnerGetsNothingWhileASharedCgroupStays) {
  tree_.Remove("podfence/podml/service-mesh-sidecar/cpuset.cpus.effective");
  tree_.Set("podfence/podml/service-mesh-sidecar/cpuset.cpus.effective", "0-23");
  tree_.Set("podfence/podml/ml-training/cpuset.cpus", "5");
  const NodeState state = StateOf("0,4-23", {MlWorkload()});
  const EnforceReport report = Apply(state);
  EXPECT_THAT(report.findings,
              testing::Contains(AllOf(Field(&Finding::kind, FindingKind::kStillShared),
                                      Field(&Finding::container, "service-mesh-sidecar"),
                                      Field(&Finding::message, HasSubstr("CPUs 1-3 are another's own")))));
  EXPECT_EQ(tree_.Get("podfence/podml/ml-training/cpuset.cpus"), "5");
  const absl::Status start = enforcer_->CreateContainerCgroup(state, "ml", "ml-training").status();
  EXPECT_TRUE(absl::IsFailedPrecondition(start));
  EXPECT_THAT(std::string(start.message()), HasSubstr("service-mesh-sidecar can still run on CPUs 1-3"));
}

TEST_F(EnforcerTest, AnUnknownCgroupWithProcessesIsHeldInTheNodePool) {
  tree_.Add(tree_.path() + "/podfence", {FakeCgroup("podgone", ""), FakeCgroup("podempty", "")});
  tree_.Set("podfence/podempty/cgroup.events", "populated 0");
  const EnforceReport report = Apply(StateOf("0,4-23", {MlWorkload()}));
  EXPECT_THAT(report.findings, ElementsAre(Field(&Finding::kind, FindingKind::kUnknownCgroup)));
  EXPECT_EQ(tree_.Get("podfence/podgone/cpuset.cpus"), "0,4-23");
  EXPECT_EQ(tree_.Get("podfence/podempty/cpuset.cpus"), "");
}

TEST_F(EnforcerTest, AQuotaAboveIsAFinding) {
  tree_.Set("cpu.max", "800000 100000");
  EXPECT_THAT(
      Apply(StateOf("0,4-23", {MlWorkload()})).findings,
      ElementsAre(AllOf(Field(&Finding::kind, FindingKind::kQuotaAbove), Field(&Finding::found, "800000 100000"))));
}

TEST_F(EnforcerTest, WhatCannotBeReadIsNoEmptyAnswer) {
  tree_.Set("podfence/podml/ml-training/cpu.max", "nonsense");
  EXPECT_TRUE(absl::IsDataLoss(enforcer_->Apply(StateOf("0,4-23", {MlWorkload()})).status()));
}

TEST_F(EnforcerTest, NothingBeforePrepare) {
  absl::StatusOr<Enforcer> fresh = Enforcer::Create(tree_.path(), Node(), {});
  ASSERT_TRUE(fresh.ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(fresh->Apply({}).status()));
}

TEST_F(EnforcerTest, FindsContainersAndPods) {
  const NodeState state = StateOf("0,4-23", {MlWorkload(), Database()});
  EXPECT_EQ(enforcer_->FindContainerCgroup(state, "ml", "ml-training")->path(),
            tree_.path() + "/podfence/podml/ml-training");
  EXPECT_TRUE(absl::IsNotFound(enforcer_->FindContainerCgroup(state, "db", "database").status()));
  EXPECT_TRUE(absl::IsNotFound(enforcer_->FindContainerCgroup(state, "ml", "none").status()));
  EXPECT_THAT(*enforcer_->PodsWithCgroups(), ElementsAre("ml"));
}

}  // namespace
}  // namespace podfence
