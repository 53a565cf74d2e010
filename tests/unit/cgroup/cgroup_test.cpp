#include "agent/cgroup/cgroup.h"

#include <gmock/gmock.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/cgroup/control.h"
#include "tests/unit/cgroup/cgroup_tree.h"

namespace podfence {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

TEST(CgroupTest, ChildrenAreDirectoriesOnly) {
  CgroupTree tree({File("cgroup.procs", ""), Dir("b", {}), Dir("a", {}), Link("link", "a")});
  const Cgroup root = *Cgroup::Open(tree.path());
  EXPECT_THAT(*root.Children(), ElementsAre("a", "b"));
  EXPECT_TRUE(absl::IsNotFound(root.OpenChild("c").status()));
  EXPECT_EQ(root.CreateChild("a")->id(), root.OpenChild("a")->id());
}

TEST(CgroupTest, ANameIsOneComponent) {
  CgroupTree tree({});
  const Cgroup root = *Cgroup::Open(tree.path());
  for (const char* name : {"", ".", "..", "a/b", "/etc"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(root.OpenChild(name).status())) << name;
    EXPECT_TRUE(absl::IsInvalidArgument(root.CreateChild(name).status())) << name;
    EXPECT_TRUE(absl::IsInvalidArgument(root.RemoveChild(name))) << name;
  }
}

TEST(CgroupTest, ARecreatedDirectoryIsAnotherCgroup) {
  CgroupTree tree({Dir("pod", {File("cpuset.cpus", "0-1")})});
  const Cgroup root = *Cgroup::Open(tree.path());
  const Cgroup before = *root.OpenChild("pod");
  tree.Remove("pod");
  tree.Add(tree.path(), {Dir("other", {}), Dir("pod", {File("cpuset.cpus", "2-3")})});
  EXPECT_TRUE(absl::IsNotFound(ReadCpus(before, kCpusetCpus).status()));
  EXPECT_TRUE(absl::IsNotFound(WriteCpus(before, {5})));
  EXPECT_EQ(tree.Get("pod/cpuset.cpus"), "2-3");
  EXPECT_NE(root.OpenChild("pod")->id(), before.id());
}

TEST(HierarchyTest, TellsWhatIsMissingAndHowToGetIt) {
  CgroupTree v1({Dir("cpuset", {}), Dir("unified", {File("cgroup.controllers", "")})});
  EXPECT_TRUE(absl::IsFailedPrecondition(OpenHierarchy(v1.path()).status()));
  EXPECT_THAT(Message(OpenHierarchy(v1.path()).status()),
              AllOf(HasSubstr("not cgroup v2"), HasSubstr("systemd.unified_cgroup_hierarchy=1")));
  CgroupTree bare({File("cgroup.controllers", "cpu io memory")});
  EXPECT_THAT(Message(OpenHierarchy(bare.path()).status()),
              AllOf(HasSubstr("lacks the controllers cpuset"), HasSubstr("cgroup_no_v1=all")));
  CgroupTree good({File("cgroup.controllers", "cpuset cpu io memory")});
  EXPECT_TRUE(OpenHierarchy(good.path()).ok());
  EXPECT_TRUE(absl::IsNotFound(OpenHierarchy(good.path() + "/none").status()));
}

TEST(HierarchyTest, EnablesOnlyWhatIsMissing) {
  CgroupTree tree({File("cgroup.controllers", "cpuset cpu memory"), File("cgroup.subtree_control", "cpu")});
  ASSERT_TRUE(EnableControllers(*Cgroup::Open(tree.path())).ok());
  EXPECT_EQ(tree.Get("cgroup.subtree_control"), "+cpuset +memory");
  tree.Set("cgroup.subtree_control", "cpuset cpu memory");
  ASSERT_TRUE(EnableControllers(*Cgroup::Open(tree.path())).ok());
  EXPECT_EQ(tree.Get("cgroup.subtree_control"), "cpuset cpu memory");
}

// On a real cgroup v2 hierarchy, with cgroups of its own and no controller.
class RealCgroupTest : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* path : {"/sys/fs/cgroup/unified", "/sys/fs/cgroup"}) {
      absl::StatusOr<Cgroup> root = Cgroup::Open(path);
      if (!root.ok() || !root->Has("cgroup.controllers")) continue;
      absl::StatusOr<Cgroup> own = root->CreateChild(name_);
      if (!own.ok()) continue;
      root_.emplace(*std::move(root));
      own_.emplace(*std::move(own));
      return;
    }
    GTEST_SKIP() << "no cgroup v2 hierarchy that this user may make cgroups in";
  }
  void TearDown() override {
    own_.reset();
    if (root_) {
      EXPECT_EQ(root_->KillAndRemoveChild(name_, absl::Seconds(10)), absl::OkStatus());
    }
  }
  // A process in the cgroup that waits for its end.
  pid_t Spawn(const Cgroup& cgroup) {
    const pid_t pid = fork();
    if (pid == 0) {
      for (;;) pause();
    }
    EXPECT_EQ(MoveProcess(cgroup, pid), absl::OkStatus());
    return pid;
  }

  const std::string name_ = "podfence-unit-" + std::to_string(getpid());
  std::optional<Cgroup> root_;
  std::optional<Cgroup> own_;
};

TEST_F(RealCgroupTest, IdIsTheInode) {
  struct stat info {};
  ASSERT_EQ(stat(own_->path().c_str(), &info), 0);
  EXPECT_EQ(own_->id(), info.st_ino);
}

TEST_F(RealCgroupTest, PopulatedFollowsTheSubtree) {
  const Cgroup child = *own_->CreateChild("child");
  EXPECT_FALSE(*IsPopulated(*own_));
  const pid_t pid = Spawn(child);
  EXPECT_TRUE(*IsPopulated(*own_));
  EXPECT_THAT(*ReadProcs(child), ElementsAre(pid));
  EXPECT_THAT(*ReadThreads(child), ElementsAre(pid));
  EXPECT_THAT(*ReadProcs(*own_), ElementsAre());
  ASSERT_TRUE(own_->Kill().ok());
  int status = 0;
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  EXPECT_EQ(WTERMSIG(status), SIGKILL);
  // The kernel takes a moment to let go of a process that was reaped.
  for (int i = 0; i < 1000 && *IsPopulated(*own_); ++i) usleep(10000);
  EXPECT_FALSE(*IsPopulated(*own_));
}

TEST_F(RealCgroupTest, RemoveRefusesWhileProcessesLive) {
  const Cgroup inner = *own_->CreateChild("a")->CreateChild("b");
  const pid_t pid = Spawn(inner);
  const absl::Status refused = own_->RemoveChild("a");
  EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
  EXPECT_THAT(Message(refused), HasSubstr("/a/b: processes still live"));
  signal(SIGCHLD, SIG_IGN);  // the kernel reaps it
  EXPECT_EQ(own_->KillAndRemoveChild("a", absl::Seconds(10)), absl::OkStatus());
  signal(SIGCHLD, SIG_DFL);
  EXPECT_TRUE(absl::IsNotFound(own_->OpenChild("a").status()));
  EXPECT_TRUE(absl::IsNotFound(ReadProcs(inner).status()));
  EXPECT_EQ(own_->RemoveChild("a"), absl::OkStatus());
  EXPECT_NE(kill(pid, 0), 0);
}

TEST_F(RealCgroupTest, ARecreatedCgroupDoesNotFool) {
  const Cgroup before = *own_->CreateChild("pod");
  ASSERT_TRUE(own_->RemoveChild("pod").ok());
  const Cgroup after = *own_->CreateChild("pod");
  EXPECT_NE(before.id(), after.id());
  EXPECT_TRUE(absl::IsNotFound(before.Read("cgroup.procs").status()));
  EXPECT_TRUE(absl::IsNotFound(before.CreateChild("x").status()));
  EXPECT_THAT(*after.Children(), ElementsAre());
}

}  // namespace
}  // namespace podfence
