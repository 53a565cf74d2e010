#include "agent/cgroup/cgroup_paths.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "tests/unit/cgroup/cgroup_tree.h"

namespace podfence {
namespace {

TEST(CgroupPathsTest, NamesCgroupsAndLooksAgainOnlyNowAndThen) {
  CgroupTree tree({Dir("a", {Dir("b", {File("cgroup.procs", "")})})});
  const auto id = [&](const std::string& path) { return Cgroup::Open(tree.path() + path)->id(); };
  const absl::Time start = absl::UnixEpoch();
  CgroupPaths paths(tree.path());
  EXPECT_EQ(paths.Find(id("/a/b"), start), "a/b");
  EXPECT_EQ(paths.Find(id("/a"), start), "a");
  EXPECT_EQ(paths.Find(id(""), start), "/");
  EXPECT_EQ(paths.Find(0, start), "");
  std::filesystem::create_directory(tree.path() + "/new");
  EXPECT_EQ(paths.Find(id("/new"), start), "") << "too soon";
  EXPECT_EQ(paths.Find(id("/new"), start + CgroupPaths::kPause), "new");
  EXPECT_EQ(CgroupPaths("/nowhere").Find(1, start), "");
}

}  // namespace
}  // namespace podfence
