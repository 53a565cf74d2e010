#include "agent/runtime/manifest_watcher.h"

#include <gmock/gmock.h>

#include "absl/time/clock.h"
#include "tests/unit/cgroup/cgroup_tree.h"

namespace podfence {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::string Manifest(const std::string& name) {
  return "apiVersion: v1\nkind: Pod\nmetadata:\n  name: " + name +
         "\nspec:\n  containers:\n    - name: c\n      image: i\n      command: [sleep]\n";
}

class ManifestWatcherTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_GE(sd_event_new(&loop_), 0); }
  void TearDown() override {
    watcher_.reset();
    sd_event_unref(loop_);
  }
  void Watch() {
    absl::StatusOr<std::unique_ptr<ManifestWatcher>> watcher =
        ManifestWatcher::Create(loop_, tree_.path(), [this](const ManifestSet& set) { sets_.push_back(set); });
    ASSERT_TRUE(watcher.ok()) << watcher.status();
    watcher_ = *std::move(watcher);
  }
  // Runs the loop until one more set was told, or for a while where none comes.
  bool Told() {
    const size_t before = sets_.size();
    const absl::Time deadline = absl::Now() + absl::Milliseconds(before == sets_.size() ? 3000 : 0);
    while (sets_.size() == before && absl::Now() < deadline) sd_event_run(loop_, 20'000);
    return sets_.size() > before;
  }
  bool ToldNothing() {
    const size_t before = sets_.size();
    for (int i = 0; i < 10; ++i) sd_event_run(loop_, 20'000);
    return sets_.size() == before;
  }
  std::vector<std::string> Names() {
    std::vector<std::string> names;
    for (const auto& pod : sets_.back().pods) names.push_back(pod->name);
    return names;
  }

  CgroupTree tree_{{}};
  sd_event* loop_ = nullptr;
  std::unique_ptr<ManifestWatcher> watcher_;
  std::vector<ManifestSet> sets_;
};

TEST_F(ManifestWatcherTest, TellsTheSetAtTheStartAndAfterEachChange) {
  tree_.Set("b.yaml", Manifest("b"));
  tree_.Set(".hidden.yaml", Manifest("hidden"));
  tree_.Set("notes.txt", "no manifest");
  Watch();
  EXPECT_THAT(sets_, IsEmpty());
  ASSERT_TRUE(Told());
  EXPECT_THAT(Names(), ElementsAre("b"));
  EXPECT_FALSE(sets_.back().pods[0]->uid.empty());
  tree_.Set("new", Manifest("a"));
  std::filesystem::rename(tree_.path() + "/new", tree_.path() + "/a.yml");
  ASSERT_TRUE(Told());
  EXPECT_THAT(Names(), ElementsAre("a", "b"));
  tree_.Remove("b.yaml");
  ASSERT_TRUE(Told());
  EXPECT_THAT(Names(), ElementsAre("a"));
}

TEST_F(ManifestWatcherTest, AnEmptyDirectoryIsToldToo) {
  Watch();
  ASSERT_TRUE(Told());
  EXPECT_THAT(sets_.back().pods, IsEmpty());
  EXPECT_THAT(sets_.back().errors, IsEmpty());
}

TEST_F(ManifestWatcherTest, ABadFileIsNamedUntilItIsMendedAndItsLastGoodPodsStay) {
  tree_.Set("a.yaml", Manifest("a"));
  tree_.Set("b.yaml", Manifest("b"));
  Watch();
  ASSERT_TRUE(Told());
  tree_.Set("a.yaml", "kind: [");
  ASSERT_TRUE(Told());
  EXPECT_THAT(Names(), ElementsAre("a", "b"));
  ASSERT_EQ(sets_.back().errors.size(), 1u);
  EXPECT_THAT(std::string(sets_.back().errors[0].message()), HasSubstr("a.yaml"));
  EXPECT_TRUE(sets_.back().complete);
  tree_.Set("c.yaml", Manifest("c"));
  ASSERT_TRUE(Told());
  EXPECT_EQ(sets_.back().errors.size(), 1u);
  EXPECT_THAT(Names(), ElementsAre("a", "b", "c"));
  tree_.Set("a.yaml", Manifest("a2"));
  ASSERT_TRUE(Told());
  EXPECT_THAT(sets_.back().errors, IsEmpty());
  EXPECT_THAT(Names(), ElementsAre("a2", "b", "c"));
}

TEST_F(ManifestWatcherTest, AFileThatWasNeverGoodMayNameAnyPod) {
  tree_.Set("a.yaml", "kind: [");
  tree_.Set("b.yaml", Manifest("b"));
  Watch();
  ASSERT_TRUE(Told());
  EXPECT_THAT(Names(), ElementsAre("b"));
  EXPECT_FALSE(sets_.back().complete);
}

TEST_F(ManifestWatcherTest, WhatIsNoManifestOrUnchangedIsNotTold) {
  tree_.Set("a.yaml", Manifest("a"));
  Watch();
  ASSERT_TRUE(Told());
  tree_.Set("notes.txt", "x");
  EXPECT_TRUE(ToldNothing());
}

TEST_F(ManifestWatcherTest, TheSamePodTwiceIsAnError) {
  tree_.Set("a.yaml", Manifest("a"));
  tree_.Set("b.yaml", Manifest("a"));
  Watch();
  ASSERT_TRUE(Told());
  EXPECT_EQ(sets_.back().pods.size(), 1u);
  ASSERT_EQ(sets_.back().errors.size(), 1u);
  EXPECT_THAT(std::string(sets_.back().errors[0].message()), HasSubstr("already in a.yaml"));
}

TEST_F(ManifestWatcherTest, AMissingDirectoryIsAnError) {
  const auto watcher = ManifestWatcher::Create(loop_, tree_.path() + "/none", [](const ManifestSet&) {});
  EXPECT_TRUE(absl::IsNotFound(watcher.status()));
  EXPECT_THAT(std::string(watcher.status().message()), HasSubstr("/none"));
}

}  // namespace
}  // namespace podfence
