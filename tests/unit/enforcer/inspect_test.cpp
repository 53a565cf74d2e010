#include "agent/enforcer/inspect.h"

#include <gmock/gmock.h>

#include "agent/enforcer/affinity.h"
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
using testing::UnorderedElementsAre;

// A node that an agent has fenced and left.
class InspectTest : public testing::Test {
 protected:
  InspectTest() {
    options_.reserved = CpuSet{0};
    absl::StatusOr<Enforcer> enforcer = Enforcer::Create(tree_.path(), Node(), options_);
    EXPECT_TRUE(enforcer.ok()) << enforcer.status();
    EXPECT_EQ(enforcer->Prepare(), absl::OkStatus());
    EXPECT_TRUE(enforcer->Apply(state_).ok());
    tree_.Set("podfence/podml/ml-training/memory.numa_stat", "anon N0=4096 N1=0\nfile N0=0 N1=0");
  }

  // Looks, and expects that nothing was touched.
  Inspection Look() {
    return LookWithoutTouching(tree_, [this] { return Inspect(state_, tree_.path(), Node(), options_); });
  }

  CgroupTree tree_{FakeNode()};
  NodeState state_ = StateOf("0,4-23", {MlWorkload()});
  EnforcerOptions options_ = [this] {
    EnforcerOptions options;
    options.sys_root = tree_.path() + "/sys";
    return options;
  }();
};

TEST_F(InspectTest, WhatAnAgentLeftIsClean) {
  const Inspection inspection = Look();
  EXPECT_THAT(inspection.findings, IsEmpty());
  EXPECT_THAT(inspection.unseen, IsEmpty());
  EXPECT_THAT(inspection.idle, IsEmpty());
  EXPECT_EQ(inspection.live.size(), 4u);
}

TEST_F(InspectTest, EveryControlFileIsHeldAgainstTheDecision) {
  tree_.Set("podfence/podml/service-mesh-sidecar/cpu.weight", "7");
  tree_.Set("podfence/podml/service-mesh-sidecar/cpu.max", "max 100000");
  tree_.Set("podfence/podml/ml-training/cpuset.mems", "0-1");
  tree_.Set("podfence/podml/ml-training/memory.max", "max");
  tree_.Set("podfence/podml/cpu.max", "400000 100000");
  constexpr auto kDrift = FindingKind::kDrift;
  EXPECT_THAT(Look().findings,
              UnorderedElementsAre(
                  Field(&Finding::file, "cpu.weight"),
                  IsFinding(kDrift, "service-mesh-sidecar", "cpu.max", "100000 100000", "max 100000"),
                  IsFinding(kDrift, "ml-training", "cpuset.mems", "0", "0-1"),
                  IsFinding(kDrift, "ml-training", "memory.max", "6442450944", "max"),
                  AllOf(IsFinding(kDrift, "", "cpu.max", "max 100000", "400000 100000"), Field(&Finding::pod, "ml"),
                        Field(&Finding::message, HasSubstr(tree_.path() + "/podfence/podml/cpu.max")))));
}

TEST_F(InspectTest, ASharedCgroupOnExclusiveCpusIsNamed) {
  tree_.Set("podfence/podml/service-mesh-sidecar/cpuset.cpus", "0-23");
  EXPECT_THAT(
      Look().findings,
      UnorderedElementsAre(
          IsFinding(FindingKind::kDrift, "service-mesh-sidecar", "cpuset.cpus", "0,4-23", "0-23"),
          AllOf(IsFinding(FindingKind::kStillShared, "service-mesh-sidecar", "cpuset.cpus.effective", "0,4-23", "0-23"),
                Field(&Finding::message, HasSubstr("CPUs 1-3 are another's own")))));
}

TEST_F(InspectTest, AnEffectiveSetThatIsNotTheWrittenOneIsNamed) {
  tree_.Remove("podfence/podml/ml-training/cpuset.cpus.effective");
  tree_.Set("podfence/podml/ml-training/cpuset.cpus.effective", "1-2");
  EXPECT_THAT(Look().findings,
              ElementsAre(IsFinding(FindingKind::kNotEffective, "ml-training", "cpuset.cpus.effective", "1-3", "1-2")));
}

TEST_F(InspectTest, AQuotaAboveAndACgroupOfNobodyAreNamed) {
  tree_.Set("cpu.max", "800000 100000");
  tree_.Add(tree_.path() + "/podfence", {FakeCgroup("podgone", "4-23"), FakeCgroup("podempty", "4-23")});
  tree_.Set("podfence/podempty/cgroup.events", "populated 0");
  EXPECT_THAT(Look().findings,
              UnorderedElementsAre(IsFinding(FindingKind::kQuotaAbove, "", "cpu.max", "max 100000", "800000 100000"),
                                   AllOf(Field(&Finding::kind, FindingKind::kUnknownCgroup),
                                         Field(&Finding::path, HasSubstr("/podfence/podgone")))));
}

TEST_F(InspectTest, MemoryElsewhereIsNamed) {
  tree_.Set("podfence/podml/ml-training/memory.numa_stat", "anon N0=0 N1=8192\nfile N0=0 N1=0");
  EXPECT_THAT(Look().findings, ElementsAre(IsFinding(FindingKind::kMemoryOutside, "ml-training", "memory.numa_stat",
                                                     "memory on NUMA nodes 0 alone", "8192 bytes elsewhere")));
}

// runc's own process has read them there.
TEST_F(InspectTest, AFewFilePagesElsewhereAreNotTheContainers) {
  tree_.Set("podfence/podml/ml-training/memory.numa_stat", "anon N0=8192 N1=0\nfile N0=0 N1=4096");
  EXPECT_THAT(Look().findings, IsEmpty());
  tree_.Set("podfence/podml/ml-training/memory.numa_stat", "anon N0=8192 N1=0\nfile N0=0 N1=2097152");
  EXPECT_THAT(Look().findings, ElementsAre(Field(&Finding::kind, FindingKind::kMemoryOutside)));
}

TEST_F(InspectTest, APartitionIsHeldToo) {
  tree_.Set("podfence/cpuset.cpus.exclusive", "1-3");
  tree_.Set("podfence/podml/cpuset.cpus.exclusive", "1-3");
  tree_.Set("podfence/podml/ml-training/cpuset.cpus.exclusive", "1-3");
  tree_.Set("podfence/podml/ml-training/cpuset.cpus.partition", "root");
  for (const char* other : {"podfence", "podfence/podml", "podfence/podml/service-mesh-sidecar"}) {
    tree_.Set(std::string(other) + "/cpuset.cpus.partition", "member");
  }
  EXPECT_THAT(Look().findings, IsEmpty());
  tree_.Set("podfence/podml/ml-training/cpuset.cpus.partition", "member");
  EXPECT_THAT(Look().findings,
              ElementsAre(IsFinding(FindingKind::kDrift, "ml-training", "cpuset.cpus.partition", "root", "member")));
  tree_.Set("podfence/podml/ml-training/cpuset.cpus.partition", "root invalid (Cpu list in cpuset.cpus not exclusive)");
  EXPECT_THAT(Look().findings, ElementsAre(Field(&Finding::kind, FindingKind::kNoPartition)));
}

TEST_F(InspectTest, WhatDoesNotRunIsNoFinding) {
  tree_.Set("podfence/podml/ml-training/cgroup.events", "populated 0");
  tree_.Remove("podfence/podml/service-mesh-sidecar");
  const Inspection inspection = Look();
  EXPECT_THAT(inspection.findings, IsEmpty());
  EXPECT_THAT(inspection.idle, UnorderedElementsAre(Field(&Fence::container, "ml-training"),
                                                    Field(&Fence::container, "service-mesh-sidecar")));
  EXPECT_EQ(inspection.live.size(), 2u) << "the top and the pod";
  tree_.Remove("podfence");
  EXPECT_EQ(Look().idle.size(), 2u) << "so it is after a reboot, before the first agent";
}

TEST_F(InspectTest, WhatCannotBeReadIsSaidAndTheRestIsLookedAt) {
  tree_.Set("podfence/podml/ml-training/cpu.max", "nonsense");
  tree_.Set("podfence/podml/cpu.max", "400000 100000");
  const Inspection inspection = Look();
  EXPECT_THAT(inspection.unseen, ElementsAre(AllOf(Field(&Unseen::what, HasSubstr("/podml/ml-training")),
                                                   Field(&Unseen::reason, HasSubstr("nonsense")))));
  EXPECT_THAT(inspection.findings, ElementsAre(Field(&Finding::file, "cpu.max")));
  EXPECT_THAT(inspection.idle, IsEmpty()) << "whether it runs is not known";
}

TEST_F(InspectTest, WithoutNumaStatMemoryIsNotKnown) {
  tree_.Remove("podfence/podml/ml-training/memory.numa_stat");
  const Inspection inspection = Look();
  EXPECT_THAT(inspection.findings, IsEmpty());
  EXPECT_THAT(inspection.unseen, ElementsAre(Field(&Unseen::what, HasSubstr("ml-training/memory.numa_stat"))));
}

TEST_F(InspectTest, WithoutAHierarchyThereIsNothingToSay) {
  tree_.Remove("cgroup.controllers");
  const absl::Status status = Inspect(state_, tree_.path(), Node(), options_).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
}

// The host's part: on the first CPU that this process may use, which is made the container's own.
class InspectHostTest : public testing::Test {
 protected:
  void Look() {
    findings_.clear();
    unseen_.clear();
    InspectHost({.proc_root = "/proc", .sys_root = tree_.path() + "/sys", .state_dir = ""}, *Cgroup::Open(tree_.path()),
                "own", cpu_, findings_, unseen_);
  }

  CpuSet cpu_{GetAffinity(0)->First()};
  CpuSet other_{cpu_.First() + 1};
  CgroupTree tree_{
      {File("cgroup.threads", ""), Dir("system.slice", {File("cpuset.cpus.effective", other_.ToString())}),
       Dir("own", {File("cpuset.cpus.effective", cpu_.ToString())}), Dir("without-cpuset", {}),
       Dir("sys", {Dir("devices", {Dir("virtual", {Dir("workqueue", {File("cpumask", ToHexMask(other_))})})})})}};
  std::vector<Finding> findings_;
  std::vector<Unseen> unseen_;
};

TEST_F(InspectHostTest, AHostThatKeepsOffIsClean) {
  Look();
  EXPECT_THAT(findings_, IsEmpty());
  EXPECT_THAT(unseen_, IsEmpty());
}

TEST_F(InspectHostTest, NamesCgroupsWorkqueuesAndTasks) {
  tree_.Set("system.slice/cpuset.cpus.effective", (cpu_ | other_).ToString());
  tree_.Set("sys/devices/virtual/workqueue/cpumask", ToHexMask(cpu_ | other_));
  tree_.Set("cgroup.threads", std::to_string(getpid()));
  Look();
  EXPECT_THAT(findings_,
              UnorderedElementsAre(Field(&Finding::path, HasSubstr("/system.slice")), Field(&Finding::file, "cpumask"),
                                   AllOf(Field(&Finding::file, "cgroup.threads"),
                                         Field(&Finding::found, HasSubstr("(pid " + std::to_string(getpid()))))));
  EXPECT_THAT(findings_, testing::Each(Field(&Finding::kind, FindingKind::kHostNotFenced)));
}

TEST_F(InspectHostTest, WhatIsHiddenOrMissingIsSaid) {
  tree_.Set("cgroup.threads", "0\n0");
  tree_.Remove("sys");
  Look();
  EXPECT_THAT(findings_, IsEmpty());
  EXPECT_THAT(unseen_, UnorderedElementsAre(Field(&Unseen::what, HasSubstr("/workqueue/cpumask")),
                                            Field(&Unseen::reason, HasSubstr("2 tasks are of another pid namespace"))));
}

}  // namespace
}  // namespace podfence
