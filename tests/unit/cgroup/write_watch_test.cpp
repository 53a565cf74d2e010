#include "agent/cgroup/write_watch.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <filesystem>

#include "tests/unit/cgroup/cgroup_tree.h"

namespace podfence {
namespace {

class WriteWatchTest : public ::testing::Test {
 protected:
  void SetUp() override {
    absl::StatusOr<WriteWatch> watch = WriteWatch::Create();
    ASSERT_TRUE(watch.ok()) << watch.status();
    watch_.emplace(*std::move(watch));
    Follow({"a", "b"});
    EXPECT_FALSE(watch_->Drain());
  }
  void Follow(const std::vector<std::string>& names) {
    std::vector<std::string> directories;
    for (const std::string& name : names) directories.push_back(tree_.path() + "/" + name);
    ASSERT_EQ(watch_->Follow(directories), absl::OkStatus());
  }
  bool Readable() {
    pollfd poll_for = {.fd = watch_->fd(), .events = POLLIN, .revents = 0};
    return poll(&poll_for, 1, 0) == 1;
  }

  CgroupTree tree_{{Dir("a", {File("cpuset.cpus", "0-3"), File("cgroup.events", "populated 0")}),
                    Dir("b", {File("cpu.max", "max 100000")})}};
  std::optional<WriteWatch> watch_;
};

TEST_F(WriteWatchTest, TellsOfWhatFencesAlone) {
  tree_.Set("a/cpuset.cpus", "0-7");
  EXPECT_TRUE(Readable());
  EXPECT_TRUE(watch_->Drain());
  EXPECT_FALSE(watch_->Drain()) << "told once";
  tree_.Set("b/cpu.max", "1000 100000");
  EXPECT_TRUE(watch_->Drain());
  tree_.Set("a/cgroup.events", "populated 1");
  EXPECT_FALSE(watch_->Drain()) << "the kernel says so at every start and end";
  EXPECT_EQ(tree_.Get("a/cpuset.cpus"), "0-7");
  EXPECT_FALSE(watch_->Drain()) << "reading is no writing";
}

TEST_F(WriteWatchTest, TellsOfCgroupsThatComeAndGo) {
  std::filesystem::create_directory(tree_.path() + "/a/new");
  EXPECT_TRUE(watch_->Drain());
  std::filesystem::remove(tree_.path() + "/a/new");
  EXPECT_TRUE(watch_->Drain());
}

TEST_F(WriteWatchTest, FollowsWhatItIsToldToAndADirectoryMadeAgain) {
  Follow({"a", "not-there"});
  tree_.Set("b/cpu.max", "2000 100000");
  EXPECT_FALSE(watch_->Drain());
  tree_.Remove("a");
  watch_->Drain();
  tree_.Add(tree_.path(), {Dir("a", {File("cpuset.cpus", "0-3")})});
  Follow({"a"});
  watch_->Drain();
  tree_.Set("a/cpuset.cpus", "0-7");
  EXPECT_TRUE(watch_->Drain());
}

}  // namespace
}  // namespace podfence
