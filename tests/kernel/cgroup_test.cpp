// cgroup/ on a kernel with every controller.
#include "agent/cgroup/cgroup.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include <optional>

#include "agent/cgroup/control.h"

namespace podfence {
namespace {

using testing::HasSubstr;

std::string Message(const absl::Status& status) { return std::string(status.message()); }

class KernelCgroupTest : public testing::Test {
 protected:
  void SetUp() override {
    absl::StatusOr<Cgroup> root = OpenHierarchy("/sys/fs/cgroup");
    ASSERT_TRUE(root.ok()) << root.status();
    root_.emplace(*std::move(root));
    ASSERT_EQ(EnableControllers(*root_), absl::OkStatus());
    own_.emplace(*root_->CreateChild("cgroup-test"));
  }
  void TearDown() override {
    own_.reset();
    EXPECT_EQ(root_->KillAndRemoveChild("cgroup-test", absl::Seconds(10)), absl::OkStatus());
  }
  std::optional<Cgroup> root_;
  std::optional<Cgroup> own_;
};

TEST_F(KernelCgroupTest, TypedFilesReadWhatWasWritten) {
  const CpuSet all = *ReadCpus(*root_, kCpusetCpusEffective);
  EXPECT_EQ(all.ToString(), "0-7");
  EXPECT_TRUE(ReadCpus(*own_, kCpusetCpus)->empty());
  EXPECT_EQ(*ReadCpus(*own_, kCpusetCpusEffective), all) << "an empty set inherits";
  ASSERT_EQ(WriteCpus(*own_, {1, 2}), absl::OkStatus());
  ASSERT_EQ(WriteMems(*own_, NumaSet{1}), absl::OkStatus());
  EXPECT_EQ(ReadCpus(*own_, kCpusetCpusEffective)->ToString(), "1-2");
  EXPECT_EQ(ReadMems(*own_, kCpusetMemsEffective)->ToString(), "1");
  ASSERT_EQ(WriteCpus(*own_, {}), absl::OkStatus());
  EXPECT_EQ(*ReadCpus(*own_, kCpusetCpusEffective), all);
  EXPECT_EQ(*ReadCpuMax(*own_), (CpuMax{std::nullopt, 100000}));
  ASSERT_EQ(own_->Write(kCpuMax, CpuMax{150000, 100000}.ToString()), absl::OkStatus());
  EXPECT_EQ(*ReadCpuMax(*own_), (CpuMax{150000, 100000}));
  EXPECT_EQ(*ReadCpuWeight(*own_), 100u);
  EXPECT_EQ(*ReadMemoryMax(*own_), std::nullopt);
  EXPECT_TRUE(ReadCpuStat(*own_)->nr_throttled.has_value());
  EXPECT_TRUE(ReadNumaStat(*own_)->bytes.contains("anon"));
}

TEST_F(KernelCgroupTest, TheKernelsRefusalNamesTheWrite) {
  const absl::Status status = WriteMems(*own_, NumaSet{9});
  EXPECT_TRUE(absl::IsInvalidArgument(status) || absl::IsOutOfRange(status)) << status;
  EXPECT_THAT(Message(status), HasSubstr("write cpuset.mems=9: /sys/fs/cgroup/cgroup-test/cpuset.mems"));
}

TEST_F(KernelCgroupTest, ControllersAreNotEnabledOverProcesses) {
  const Cgroup child = *own_->CreateChild("child");
  ASSERT_EQ(EnableControllers(*own_), absl::OkStatus());
  const pid_t pid = fork();
  if (pid == 0) {
    for (;;) pause();
  }
  ASSERT_EQ(MoveProcess(child, pid), absl::OkStatus());
  const absl::Status status = EnableControllers(child);
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(Message(status), HasSubstr("Processes live in this cgroup itself"));
}

TEST_F(KernelCgroupTest, ARemovedCgroupsHandleIsDead) {
  const Cgroup old = *own_->CreateChild("pod");
  ASSERT_EQ(own_->RemoveChild("pod"), absl::OkStatus());
  const Cgroup fresh = *own_->CreateChild("pod");
  EXPECT_TRUE(absl::IsNotFound(old.Read("cgroup.procs").status()));
  EXPECT_NE(old.id(), fresh.id());
}

}  // namespace
}  // namespace podfence
