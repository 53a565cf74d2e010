#include "agent/cgroup/control.h"

#include <gmock/gmock.h>

#include "agent/cgroup/files.h"
#include "agent/cgroup/task_stat.h"
#include "tests/unit/cgroup/cgroup_tree.h"

namespace podfence {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class ControlTest : public testing::Test {
 protected:
  CgroupTree tree_{{
      File("cgroup.controllers", "cpuset cpu io memory"),
      File("cgroup.procs", "12\n7\n0"),
      File("cgroup.events", "populated 1\nfrozen 0"),
      File("cpuset.cpus", "0-3,8"),
      File("cpuset.cpus.effective", "0-2"),
      File("cpuset.mems", ""),
      File("cpuset.mems.effective", "0-1"),
      File("cpu.max", "150000 100000"),
      File("cpu.weight", "79"),
      File("memory.max", "max"),
      File("cpu.stat",
           "usage_usec 1234\nuser_usec 1000\nsystem_usec 234\nnr_periods 10\nnr_throttled 3\n"
           "throttled_usec 55\nnr_bursts 0\nburst_usec 0"),
      File("memory.numa_stat", "anon N0=4096 N1=8192\nfile N0=0 N1=100\nkernel_stack N0=1 N1=2"),
  }};
  Cgroup cgroup_ = *Cgroup::Open(tree_.path());
};

TEST_F(ControlTest, ReadsWhatTheKernelWrites) {
  EXPECT_EQ(ReadCpus(cgroup_, kCpusetCpus)->ToString(), "0-3,8");
  EXPECT_EQ(ReadCpus(cgroup_, kCpusetCpusEffective)->ToString(), "0-2");
  EXPECT_TRUE(ReadMems(cgroup_, kCpusetMems)->empty());
  EXPECT_EQ(ReadMems(cgroup_, kCpusetMemsEffective)->ToString(), "0-1");
  EXPECT_EQ(*ReadCpuMax(cgroup_), (CpuMax{150000, 100000}));
  EXPECT_EQ(*ReadCpuWeight(cgroup_), 79u);
  EXPECT_FALSE(ReadMemoryMax(cgroup_)->has_value());
  EXPECT_THAT(*ReadProcs(cgroup_), ElementsAre(12, 7, 0));
  EXPECT_TRUE(*IsPopulated(cgroup_));
  EXPECT_THAT(*ReadControllers(cgroup_, "cgroup.controllers"), ElementsAre("cpuset", "cpu", "io", "memory"));
}

TEST_F(ControlTest, WritesReplaceTheWholeValue) {
  ASSERT_TRUE(WriteCpus(cgroup_, {4, 5}).ok());
  ASSERT_TRUE(WriteMems(cgroup_, NumaSet{1}).ok());
  EXPECT_EQ(tree_.Get("cpuset.cpus"), "4-5");
  EXPECT_EQ(tree_.Get("cpuset.mems"), "1");
  ASSERT_TRUE(WriteCpus(cgroup_, {}).ok());
  EXPECT_EQ(tree_.Get("cpuset.cpus"), "");
}

TEST_F(ControlTest, CpuStatWithAndWithoutThrottling) {
  const absl::StatusOr<CpuStat> stat = ReadCpuStat(cgroup_);
  ASSERT_TRUE(stat.ok());
  EXPECT_EQ(stat->usage_usec, 1234u);
  EXPECT_EQ(stat->nr_throttled, 3u);
  EXPECT_EQ(stat->throttled_usec, 55u);
  EXPECT_FALSE(CpuStat::Parse("usage_usec 7")->nr_periods.has_value());
  EXPECT_TRUE(absl::IsDataLoss(CpuStat::Parse("user_usec 7").status()));
}

TEST_F(ControlTest, NumaStatCountsAnonAndFilePagesOutside) {
  const absl::StatusOr<NumaStat> stat = ReadNumaStat(cgroup_);
  ASSERT_TRUE(stat.ok());
  EXPECT_EQ(stat->bytes.at("anon").at(1), 8192u);
  EXPECT_EQ(stat->PagesOutside(NumaSet{0}), 8292u);
  EXPECT_EQ(stat->PagesOutside(NumaSet{0, 1}), 0u);
}

TEST_F(ControlTest, WithoutAQuotaThePeriodSaysNothing) {
  EXPECT_EQ((CpuMax{std::nullopt, 5000}), (CpuMax{std::nullopt, 100000}));
  EXPECT_NE((CpuMax{5000, 5000}), (CpuMax{5000, 100000}));
}

TEST_F(ControlTest, CpuMaxRoundTrips) {
  for (const char* text : {"max 100000", "1000 100000", "50000 20000"})
    EXPECT_EQ(CpuMax::Parse(text)->ToString(), text);
  for (const char* text : {"", "max", "x 100000", "1 2 3", "-1 100000"}) EXPECT_FALSE(CpuMax::Parse(text).ok()) << text;
}

TEST_F(ControlTest, ErrorsNameOperationFileAndCause) {
  const absl::Status missing = WriteCpus(*cgroup_.CreateChild("child"), {1});
  EXPECT_TRUE(absl::IsNotFound(missing));
  EXPECT_THAT(Message(missing), HasSubstr("write cpuset.cpus=1: " + tree_.path() + "/child/cpuset.cpus"));
  tree_.Set("cpu.max", "nonsense");
  EXPECT_TRUE(absl::IsDataLoss(ReadCpuMax(cgroup_).status()));
  EXPECT_THAT(Message(ReadCpuMax(cgroup_).status()), HasSubstr(tree_.path() + "/cpu.max"));
  tree_.Set("cpuset.mems", "64");
  EXPECT_TRUE(absl::IsOutOfRange(ReadMems(cgroup_, kCpusetMems).status()));
}

TEST(TaskStatTest, CountsFieldsFromTheEndOfTheName) {
  const std::string line =
      "42 (a) b (c)) S 1 42 42 0 -1 2129984 0 0 0 0 1 2 0 0 20 0 1 0 987654 0 0 18446744073709551615 0 0 0";
  const absl::StatusOr<TaskStat> stat = TaskStat::Parse(line);
  ASSERT_TRUE(stat.ok());
  EXPECT_EQ(stat->start_time, 987654u);
  EXPECT_TRUE(stat->IsKernelThread());
  EXPECT_FALSE(stat->IsBound());
  EXPECT_FALSE(TaskStat::Parse("42 (a) S 1").ok());
}

TEST(FilesTest, ReplaceIsWholeAndReadTellsAbsence) {
  CgroupTree tree({});
  const std::string path = tree.path() + "/a/b/record";
  EXPECT_TRUE(absl::IsNotFound(ReadSmallFile(path).status()));
  ASSERT_TRUE(MakeDirectories(tree.path() + "/a/b").ok());
  ASSERT_TRUE(ReplaceFile(path, "one\n").ok());
  ASSERT_TRUE(ReplaceFile(path, "two").ok());
  EXPECT_EQ(*ReadSmallFile(path), "two");
  EXPECT_TRUE(absl::IsNotFound(WriteExistingFile(path + ".none", "x")));
}

}  // namespace
}  // namespace podfence
