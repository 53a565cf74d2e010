// What becomes of a finding: how it is shown, told apart, logged, and what is lost of it.

#include "agent/findings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "agent/core/text.h"
#include "agent/finding_line.h"
#include "agent/finding_views.h"
#include "agent/verification_state.h"
#include "tests/unit/cgroup/cgroup_tree.h"
#include "tests/unit/enforcer/pods.h"

namespace podfence {
namespace {

using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::NotNull;

FindingView Drift(const std::string& seen, const std::string& file = "cpuset.cpus") {
  return {.kind = "drift",
          .pod = "default/a",
          .container = "main",
          .cgroup = "/sys/fs/cgroup/podfence/poda/main",
          .file = file,
          .expected = "1-3",
          .seen = seen,
          .message = Cat("found ", seen)};
}

TEST(FindingLogTest, AStandingFindingCountsOnceUntilItComesBack) {
  FindingLog log;
  EXPECT_THAT(log.Note(Drift("0-3"), 1), NotNull());
  EXPECT_EQ(log.Note(Drift("0-7"), 2), nullptr) << "another value is the same finding";
  EXPECT_EQ(log.totals().at("drift"), 1u);
  ASSERT_EQ(log.List().size(), 1u);
  FindingView finding = log.List()[0];
  EXPECT_EQ(finding.count, 2u);
  EXPECT_EQ(finding.since, 1);
  EXPECT_EQ(finding.last_seen, 2);
  EXPECT_EQ(finding.seen, "0-7");
  EXPECT_EQ(finding.message, "found 0-7");
  EXPECT_TRUE(finding.active);
  EXPECT_TRUE(log.AnyActive());
  log.Expire(3);
  EXPECT_FALSE(log.List()[0].active);
  EXPECT_FALSE(log.AnyActive());
  EXPECT_EQ(log.List()[0].since, 1);
  EXPECT_THAT(log.Note(Drift("0-3"), 4), NotNull());
  EXPECT_EQ(log.totals().at("drift"), 2u);
  EXPECT_EQ(log.List()[0].since, 4) << "it began anew";
  EXPECT_EQ(log.List()[0].count, 3u);
}

TEST(FindingLogTest, PlaceAndClassTellFindingsApart) {
  FindingLog log;
  log.Note(Drift("0-3"), 1);
  EXPECT_THAT(log.Note(Drift("max", "cpu.max"), 1), NotNull());
  FindingView intrusion{.kind = "intrusion", .cgroup = "/c", .cpu = 1, .foreign_class = "host", .message = "12 us"};
  EXPECT_THAT(log.Note(intrusion, 1), NotNull());
  intrusion.message = "14 us";
  EXPECT_EQ(log.Note(intrusion, 1), nullptr);
  intrusion.foreign_class = "container";
  EXPECT_THAT(log.Note(intrusion, 1), NotNull());
  intrusion.cpu = 2;
  EXPECT_THAT(log.Note(intrusion, 1), NotNull());
  FindingView escape{.kind = "escape", .cgroup = "/c", .cpu = 1};
  EXPECT_THAT(log.Note(escape, 1), NotNull());
  escape.cpu = 2;
  EXPECT_EQ(log.Note(escape, 1), nullptr) << "one fence is broken, wherever its tasks run";
  for (const char* misfit : {"pod a", "pod b"}) {
    EXPECT_THAT(log.Note({.kind = "misfit", .message = misfit}, 1), NotNull()) << misfit;
  }
}

TEST(FindingLogTest, TheDoerStaysKnownWhileTheFindingStands) {
  FindingLog log;
  FindingView told = Drift("0-3");
  told.by = FindingActor{.pid = 7, .comm = "sh"};
  log.Note(told, 1);
  log.Note(Drift("0-3"), 2);
  ASSERT_TRUE(log.List()[0].by.has_value());
  EXPECT_EQ(log.List()[0].by->pid, 7);
  log.Expire(3);
  log.Note(Drift("0-3"), 4);
  EXPECT_FALSE(log.List()[0].by.has_value()) << "another time it may be another";
}

TEST(FindingLogTest, IsBoundedForgetsTheOldestThatIsOverAndCountsWhatIsNot) {
  FindingLog log;
  const auto note = [&](const std::string& file, double now) { log.Note(Drift("x", file), now); };
  for (size_t i = 0; i < FindingLog::kMaxKept; ++i) note(Cat("f", i), static_cast<double>(i));
  log.Expire(1);  // f0 is over
  note("new", 5000);
  std::vector<FindingView> list = log.List();
  EXPECT_EQ(list.size(), FindingLog::kMaxKept);
  EXPECT_TRUE(std::ranges::none_of(list, [](const FindingView& finding) { return finding.file == "f0"; }));
  EXPECT_EQ(log.dropped(), 0u);
  note("newer", 5001);
  EXPECT_EQ(log.List().size(), FindingLog::kMaxKept);
  EXPECT_EQ(log.dropped(), 1u);
}

TEST(FindingLineTest, IsOneLineOfLogfmtWhateverATaskCallsItself) {
  FindingView finding = Drift("0-3 \"x\"");
  finding.by = FindingActor{.pid = 7, .comm = "a\nfinding kind=b", .cgroup = "user.slice"};
  finding.cpu = 4;
  finding.foreign_class = "host";
  finding.duration_seconds = 0.25;
  finding.repaired = true;
  finding.message = "two words \xff";
  EXPECT_EQ(FindingLine(finding),
            "finding kind=drift pod=default/a container=main cgroup=/sys/fs/cgroup/podfence/poda/main file=cpuset.cpus "
            "cpu=4 expected=1-3 seen=\"0-3 \\\"x\\\"\" class=host by_pid=7 by_comm=\"a\\nfinding kind=b\" "
            "by_cgroup=user.slice duration_seconds=0.25 repaired=true msg=\"two words \\xff\"");
  EXPECT_EQ(FindingLine({.kind = "misfit", .message = "m"}), "finding kind=misfit msg=m");
}

class FindingViewTest : public ::testing::Test {
 protected:
  FindingView View(KernelFinding finding) {
    finding.pod = "ml";
    finding.container = "ml-training";
    finding.cgroup = "podfence/podml/ml-training";
    return ViewOf(finding, {state_, live_, root_, paths_, absl::UnixEpoch()});
  }

  CgroupTree tree_{{Dir("user.slice", {})}};
  std::string root_ = tree_.path();
  CgroupPaths paths_{root_};
  NodeState state_ = StateOf("0,4-23", {MlWorkload()});
  std::vector<LiveFence> live_ = {
      {.fence = {.cpus = CpuSet{1, 2, 3}}, .path = root_ + "/podfence/podml/ml-training", .id = 1}};
};

TEST_F(FindingViewTest, OfTheEnforcer) {
  const FindingView view = ViewOf({.kind = FindingKind::kDrift,
                                   .pod = "ml",
                                   .container = "ml-training",
                                   .path = "/c",
                                   .file = "cpu.max",
                                   .expected = "max 100000",
                                   .found = "1 100000",
                                   .repaired = true,
                                   .by = Writer{.pid = 9, .comm = "sh", .cgroup_id = 0, .at_ns = 0},
                                   .message = "m"},
                                  {state_, live_, root_, paths_, absl::UnixEpoch()});
  EXPECT_EQ(view, (FindingView{.kind = "drift",
                               .pod = "default/ml",
                               .container = "ml-training",
                               .cgroup = "/c",
                               .file = "cpu.max",
                               .expected = "max 100000",
                               .seen = "1 100000",
                               .by = FindingActor{.pid = 9, .comm = "sh"},
                               .repaired = true,
                               .message = "m"}));
}

TEST_F(FindingViewTest, OfTheKernelNamesTheIntruder) {
  const FindingView view = View({.kind = KernelFindingKind::kIntrusion,
                                 .foreign = ForeignClass::kHost,
                                 .cpu = 2,
                                 .pid = 7,
                                 .comm = "sh",
                                 .cgroup_id = Cgroup::Open(root_ + "/user.slice")->id(),
                                 .duration_ns = 1500000});
  EXPECT_EQ(view.kind, "intrusion");
  EXPECT_EQ(view.pod, "default/ml");
  EXPECT_EQ(view.cgroup, root_ + "/podfence/podml/ml-training");
  EXPECT_EQ(view.cpu, 2);
  EXPECT_EQ(view.foreign_class, "host");
  EXPECT_EQ(view.expected, "nobody else");
  EXPECT_EQ(view.seen, "host for 1.500 ms");
  EXPECT_EQ(view.by, (FindingActor{7, "sh", "user.slice"}));
  EXPECT_EQ(view.duration_seconds, 0.0015);
}

TEST_F(FindingViewTest, OfTheKernelSaysWhatWasExpected) {
  FindingView view = View({.kind = KernelFindingKind::kEscape, .cpu = 5, .pid = 8, .duration_ns = 1000});
  EXPECT_EQ(view.expected, "1-3");
  EXPECT_EQ(view.seen, "5 for 0.001 ms");
  view = View({.kind = KernelFindingKind::kDrift, .pid = 8, .comm = "db", .by_pid = 9, .by_comm = "taskset"});
  EXPECT_EQ(view.expected, "1-3");
  EXPECT_EQ(view.seen, "another affinity of db (pid 8)");
  EXPECT_EQ(view.by, (FindingActor{9, "taskset", ""}));
  EXPECT_EQ(view.duration_seconds, std::nullopt);
  view = View({.kind = KernelFindingKind::kDrift, .pid = 8, .comm = "db"});
  EXPECT_FALSE(view.by.has_value()) << "a sweep does not see who it was";
  view = View({.kind = KernelFindingKind::kDrift, .seen = "1000 100000"});
  EXPECT_EQ(view.file, "cpu.max");
  EXPECT_EQ(view.expected, "max 100000");
  EXPECT_EQ(view.seen, "1000 100000");
  view = View({.kind = KernelFindingKind::kThrottling, .duration_ns = 2000000});
  EXPECT_EQ(view.expected, "0");
  EXPECT_EQ(view.seen, "2.000 ms");
}

TEST(VerificationStateTest, AFindingIsOneAndWhatIsNotKnownIsNeverClean) {
  EXPECT_EQ(VerificationWord(false, false), "clean");
  EXPECT_EQ(VerificationWord(false, true), "unknown");
  EXPECT_EQ(VerificationWord(true, false), "findings");
  EXPECT_EQ(VerificationWord(true, true), "findings");
}

TEST(VerificationStateTest, AProbeThatIsWantedAndDoesNotRunIsNamed) {
  EXPECT_THAT(ProbesMissing({{{.name = "a", .what = "threads", .reason = "refused"},
                              {.name = "b", .attached = true},
                              {.name = "c", .reason = "off", .wanted = false}}}),
              ElementsAre(Unseen{"threads (a)", "refused"}));
}

TEST(LossWatchTest, EveryKindOfLossIsOne) {
  Observation seen;
  seen.lost_findings = 1;
  seen.miscounted_switches = 2;
  seen.bandwidth_mismatches = 3;
  Losses losses = LossesOf(seen);
  losses.dropped = 4;
  EXPECT_THAT(LossesBetween({}, losses),
              ElementsAre(Field(&Unseen::reason, HasSubstr("1 findings were lost")),
                          Field(&Unseen::reason, HasSubstr("4 active findings had to be forgotten")),
                          Field(&Unseen::reason, HasSubstr("2 runs of tasks")),
                          Field(&Unseen::reason, HasSubstr("3 accounts"))));
  EXPECT_THAT(LossesBetween(losses, losses), IsEmpty()) << "what was lost before is not lost again";
}

TEST(LossWatchTest, ALossHoldsUntilACleanSweepAndLongEnoughToBeScraped) {
  const absl::Time start = absl::UnixEpoch();
  const auto at = [&](int seconds) { return start + absl::Seconds(seconds); };
  LossWatch watch;
  watch.Count({.findings = 0}, start);
  EXPECT_THAT(watch.Held(start), IsEmpty());
  watch.Count({.findings = 2}, at(10));
  EXPECT_THAT(watch.Held(at(10)), ElementsAre(Field(&Unseen::reason, HasSubstr("2 findings"))));
  watch.Swept(at(9));
  EXPECT_THAT(watch.Held(at(1000)), ::testing::SizeIs(1)) << "that sweep had begun before the loss";
  watch.Count({.findings = 5}, at(1010));
  EXPECT_THAT(watch.Held(at(1010)), ElementsAre(Field(&Unseen::reason, HasSubstr("5 findings"))));
  watch.Swept(at(1020));
  EXPECT_THAT(watch.Held(at(1021)), ::testing::SizeIs(1)) << "nobody may have seen it yet";
  EXPECT_THAT(watch.Held(at(1010) + LossWatch::kHold), IsEmpty());
  watch.Count({.findings = 6}, at(5000));
  EXPECT_THAT(watch.Held(at(5000)), ElementsAre(Field(&Unseen::reason, HasSubstr("1 findings"))))
      << "the old loss is over";
}

}  // namespace
}  // namespace podfence
