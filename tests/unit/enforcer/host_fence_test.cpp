#include "agent/enforcer/host_fence.h"

#include <gmock/gmock.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/enforcer/affinity.h"
#include "tests/unit/cgroup/cgroup_tree.h"

namespace podfence {
namespace {

using testing::ElementsAre;
using testing::Field;
using testing::IsEmpty;

TEST(MaskTest, HexMasksRoundTrip) {
  for (const auto& [text, list] : std::vector<std::pair<std::string, std::string>>{
           {"0", ""}, {"ff", "0-7"}, {"1,00000000", "32"}, {"80000000,00000001", "0,63"}, {"f,ffffffff", "0-35"}}) {
    EXPECT_EQ(ParseHexMask(text + "\n")->ToString(), list);
    EXPECT_EQ(ToHexMask(*CpuSet::Parse(list)), text);
  }
  for (const char* text : {"", "xyz", "1,,2", "123456789"}) EXPECT_FALSE(ParseHexMask(text).ok()) << text;
}

TEST(MaskTest, ConfineKeepsWhatItCan) {
  EXPECT_EQ(Confine({0, 1, 2}, {1, 2, 3}).ToString(), "1-2");
  EXPECT_EQ(Confine({0}, {1, 2}).ToString(), "1-2");
}

TEST(HostRecordTest, RoundTripsAndTellsDamage) {
  HostRecord record;
  record.cgroups[77] = {"my slice", {}};
  record.cgroups[78] = {"system.slice", {0, 1}};
  record.workqueues = CpuSet::Range(0, 7);
  record.tasks[12] = {3456, CpuSet::Range(0, 7)};
  const std::string text = record.ToText("boot-1");
  const absl::StatusOr<HostRecord> read = HostRecord::Parse(text, "boot-1");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->ToText("boot-1"), text);
  EXPECT_EQ(read->cgroups.at(77).name, "my slice");
  EXPECT_TRUE(HostRecord::Parse(text, "boot-2")->cgroups.empty());
  EXPECT_TRUE(absl::IsDataLoss(HostRecord::Parse("", "boot-1").status()));
  EXPECT_TRUE(absl::IsDataLoss(HostRecord::Parse("something else\n", "boot-1").status()));
  EXPECT_TRUE(absl::IsDataLoss(HostRecord::Parse(text + "cgroup x", "boot-1").status()));
}

// A host of cgroups and one task: a child of the test, moved for real.
class HostFenceTest : public testing::Test {
 protected:
  void SetUp() override {
    all_ = *GetAffinity(0);
    if (all_.size() < 2) GTEST_SKIP() << "needs two CPUs to move a task between";
    child_ = fork();
    if (child_ == 0) {
      for (;;) pause();
    }
    tree_.Set("cgroup.threads", std::to_string(child_));
    tree_.Set("cpuset.cpus.effective", all_.ToString());
    tree_.Set("cpuset.mems.effective", "0");
    tree_.Set("sys/devices/virtual/workqueue/cpumask", ToHexMask(all_));
    one_ = CpuSet{all_.First()};
    rest_ = all_ - one_;
  }
  void TearDown() override {
    if (child_ <= 0) return;
    kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
  }
  HostFence Make() {
    absl::StatusOr<HostFence> fence = HostFence::Create({"/proc", tree_.path() + "/sys", tree_.path() + "/state"},
                                                        *Cgroup::Open(tree_.path()), "own");
    EXPECT_TRUE(fence.ok()) << fence.status();
    return *std::move(fence);
  }
  std::string Cpus(const std::string& cgroup) { return tree_.Get(cgroup + "/cpuset.cpus"); }
  std::string Mask() { return tree_.Get("sys/devices/virtual/workqueue/cpumask"); }

  CgroupTree tree_{{Dir("system.slice", {File("cpuset.cpus", "")}), Dir("own", {File("cpuset.cpus", "")}),
                    Dir("state", {}), Dir("sys", {Dir("devices", {Dir("virtual", {Dir("workqueue", {})})})})}};
  CpuSet all_, one_, rest_;
  pid_t child_ = 0;
};

TEST_F(HostFenceTest, ConfinesAndUndoes) {
  HostFence fence = Make();
  std::vector<Finding> findings;
  fence.Apply(rest_, false, findings);
  EXPECT_THAT(findings, IsEmpty());
  EXPECT_EQ(Cpus("system.slice"), rest_.ToString());
  EXPECT_EQ(Cpus("own"), "");
  EXPECT_EQ(Mask(), ToHexMask(rest_));
  EXPECT_EQ(*GetAffinity(child_), rest_);
  fence.Apply(all_, false, findings);
  EXPECT_EQ(*GetAffinity(child_), all_);
  EXPECT_EQ(Cpus("system.slice"), "");
  fence.Apply(all_, true, findings);
  EXPECT_THAT(findings, IsEmpty()) << "all CPUs are no fence, and no drift";
  fence.Apply(one_, false, findings);
  EXPECT_EQ(*GetAffinity(child_), one_);
  ASSERT_EQ(fence.Release(), absl::OkStatus());
  EXPECT_EQ(Cpus("system.slice"), "");
  EXPECT_EQ(Mask(), ToHexMask(all_));
  EXPECT_EQ(*GetAffinity(child_), all_);
  EXPECT_FALSE(std::filesystem::exists(tree_.path() + "/state/host-fence"));
}

TEST_F(HostFenceTest, ANewAgentStillKnowsWhatWasThere) {
  std::vector<Finding> findings;
  tree_.Set("system.slice/cpuset.cpus", one_.ToString());
  Make().Apply(rest_, false, findings);  // and is killed
  EXPECT_EQ(Cpus("system.slice"), rest_.ToString());
  HostFence next = Make();
  next.Apply(rest_, false, findings);
  EXPECT_THAT(findings, IsEmpty());
  ASSERT_EQ(next.Release(), absl::OkStatus());
  EXPECT_EQ(Cpus("system.slice"), one_.ToString());
  EXPECT_EQ(*GetAffinity(child_), all_);
  EXPECT_EQ(Mask(), ToHexMask(all_));
}

TEST_F(HostFenceTest, ASweepFindsWhatAppearedSince) {
  HostFence fence = Make();
  std::vector<Finding> findings;
  tree_.Set("cgroup.threads", "");
  fence.Apply(rest_, false, findings);
  EXPECT_EQ(*GetAffinity(child_), all_);
  tree_.Set("cgroup.threads", std::to_string(child_));
  fence.Apply(rest_, false, findings);
  EXPECT_EQ(*GetAffinity(child_), all_) << "without a sweep nobody looks";
  fence.Apply(rest_, true, findings);
  EXPECT_EQ(*GetAffinity(child_), rest_);
  EXPECT_EQ(fence.Release(), absl::OkStatus());
  EXPECT_EQ(*GetAffinity(child_), all_);
}

TEST_F(HostFenceTest, SomeoneElsesChangeIsDriftAndAtTheEndTheirs) {
  HostFence fence = Make();
  std::vector<Finding> findings;
  fence.Apply(rest_, false, findings);
  tree_.Set("system.slice/cpuset.cpus", all_.ToString());
  fence.Apply(rest_, false, findings);
  ASSERT_THAT(findings, ElementsAre(Field(&Finding::kind, FindingKind::kDrift)));
  EXPECT_EQ(findings[0].path, tree_.path() + "/system.slice");
  EXPECT_EQ(Cpus("system.slice"), rest_.ToString());
  tree_.Set("system.slice/cpuset.cpus", one_.ToString());
  ASSERT_EQ(fence.Release(), absl::OkStatus());
  EXPECT_EQ(Cpus("system.slice"), one_.ToString());
}

TEST_F(HostFenceTest, ADamagedRecordIsSetAside) {
  tree_.Set("state/host-fence", "damaged");
  std::vector<Finding> findings;
  HostFence fence = Make();
  fence.Apply(rest_, false, findings);
  EXPECT_EQ(tree_.Get("state/host-fence.damaged"), "damaged");
  EXPECT_EQ(fence.Release(), absl::OkStatus());
}

TEST_F(HostFenceTest, WhatCannotBeUndoneIsNotDone) {
  tree_.Remove("state");
  std::vector<Finding> findings;
  Make().Apply(rest_, false, findings);
  EXPECT_THAT(findings, ElementsAre(Field(&Finding::kind, FindingKind::kHostNotFenced)));
  EXPECT_EQ(Cpus("system.slice"), "");
  EXPECT_EQ(*GetAffinity(child_), all_);
}

}  // namespace
}  // namespace podfence
