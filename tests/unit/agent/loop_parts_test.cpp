// The parts of the agent's loop that need no kernel: the ledger, the mailbox, traces, promises.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "agent/commands/promises.h"
#include "agent/complaints.h"
#include "agent/core/text.h"
#include "agent/ledger.h"
#include "agent/mailbox.h"
#include "agent/places_file.h"
#include "agent/pods/defaults.h"
#include "agent/repair_pace.h"
#include "agent/state/state_json.h"
#include "agent/trace_book.h"

namespace podfence {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::shared_ptr<const Pod> MakePod(const std::string& name, int cpus) {
  Pod pod;
  pod.name = pod.uid = name;
  Container& container = pod.containers.emplace_back();
  container.name = "main";
  container.resources.limits = {{"cpu", Quantity::FromInt(cpus)}, {"memory", *Quantity::Parse("1Gi")}};
  DefaultPod(pod);
  return std::make_shared<const Pod>(std::move(pod));
}

class LedgerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/podfence-ledger.XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    directory_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  Ledger::Opened Open() {
    Machine machine;
    machine.nodes = {{.id = 0, .memory = uint64_t{8} << 30, .distances = {10}, .hugepages = {}, .cores = {}}};
    for (int cpu = 0; cpu < 8; ++cpu) machine.nodes[0].cores.push_back({.socket = 0, .l3 = 0, .threads = {cpu}});
    Policy policy;
    policy.reserved = {{"cpu", Quantity::FromInt(1)}, {"memory", *Quantity::Parse("1Gi")}};
    policy.reserved_memory = {{.numa_node = 0, .limits = {{"memory", *Quantity::Parse("1Gi")}}}};
    absl::StatusOr<Allocator> allocator = Allocator::Create(machine, policy);
    EXPECT_TRUE(allocator.ok()) << allocator.status();
    absl::StatusOr<StateStore> store = StateStore::Open(directory_);
    EXPECT_TRUE(store.ok()) << store.status();
    absl::StatusOr<Ledger::Opened> opened = Ledger::Open(*std::move(allocator), *std::move(store));
    EXPECT_TRUE(opened.ok()) << opened.status();
    return *std::move(opened);
  }
  std::string directory_;
};

TEST_F(LedgerTest, WhatIsDecidedOutlivesTheAgent) {
  std::string decided;
  {
    Ledger ledger = Open().ledger;
    Trace trace;
    const absl::StatusOr<AdmitResult> result = ledger.Admit(MakePod("a", 3), trace);
    ASSERT_TRUE(result.ok());
    EXPECT_TRUE(result->admitted());
    EXPECT_FALSE(trace.steps.empty());
    EXPECT_EQ(ledger.counters().allocations[0][1], 1u);
    decided = StateToJson(ledger.state()).dump();
  }
  const Ledger::Opened opened = Open();
  EXPECT_TRUE(opened.restored);
  EXPECT_EQ(StateToJson(opened.ledger.state()).dump(), decided);
}

TEST_F(LedgerTest, ACommitThatFailsChangesNothingAndMayBeTriedAgain) {
  Ledger ledger = Open().ledger;
  const std::string before = StateToJson(ledger.state()).dump();
  std::filesystem::create_directory(directory_ + "/state.json.new");
  Trace trace;
  EXPECT_FALSE(ledger.Admit(MakePod("a", 3), trace).ok());
  EXPECT_EQ(StateToJson(ledger.state()).dump(), before);
  EXPECT_EQ(ledger.commit_errors(), 1u);
  EXPECT_EQ(ledger.counters(), CounterGrowth());
  std::filesystem::remove(directory_ + "/state.json.new");
  EXPECT_TRUE(ledger.Admit(MakePod("a", 3), trace)->admitted());
}

TEST_F(LedgerTest, ARefusalLeavesNoTraceAndARemovalUndoes) {
  Ledger ledger = Open().ledger;
  const std::string before = StateToJson(ledger.state()).dump();
  Trace trace;
  EXPECT_FALSE(ledger.Admit(MakePod("big", 8), trace)->admitted());
  EXPECT_EQ(ledger.rejected(), 1u);
  EXPECT_EQ(StateToJson(ledger.state()).dump(), before);
  ASSERT_TRUE(ledger.Admit(MakePod("a", 2), trace)->admitted());
  ASSERT_TRUE(ledger.Start("a", "main").ok());
  ASSERT_TRUE(ledger.Remove("a", /*ended=*/true).ok());
  EXPECT_TRUE(ledger.state().ended.contains("a"));
  ASSERT_TRUE(ledger.ForgetEnded({}).ok());
  EXPECT_EQ(StateToJson(ledger.state()).dump(), before);
  EXPECT_FALSE(ledger.Remove("a", false).ok());
}

TEST(SnapshotMailboxTest, ARequestGetsASnapshotThatWasTakenAfterIt) {
  const auto mailbox = *SnapshotMailbox::Create();
  std::atomic<bool> done = false;
  std::atomic<int> taken = 0;
  std::thread loop([&] {
    while (!done) {
      mailbox->Answer([&] {
        auto snapshot = std::make_shared<Snapshot>();
        snapshot->commits = static_cast<uint64_t>(++taken);
        return snapshot;
      });
      std::this_thread::yield();
    }
  });
  std::vector<std::thread> readers;
  for (int i = 0; i < 4; ++i) {
    readers.emplace_back([&] {
      for (int j = 0; j < 50; ++j) {
        const auto before = static_cast<uint64_t>(taken);
        EXPECT_GT(mailbox->Request()->commits, before);
      }
    });
  }
  for (std::thread& reader : readers) reader.join();
  done = true;
  loop.join();
}

TEST(SnapshotMailboxTest, ABusyLoopDoesNotHangAReader) {
  const auto mailbox = *SnapshotMailbox::Create();
  EXPECT_EQ(mailbox->Request(), nullptr);
}

TEST(TraceBookTest, FindsTheLastDecisionByUidNameAndFullName) {
  TraceBook book;
  book.Put("u1", "default/db", {{"n", 1}});
  book.Put("u2", "default/db", {{"n", 2}});
  for (const char* name : {"db", "default/db", "u2"}) EXPECT_EQ((*book.Find(name))["n"], 2) << name;
  EXPECT_EQ((*book.Find("u1"))["n"], 1);
  EXPECT_THAT(std::string(book.Find("nope").status().message()), HasSubstr("default/db"));
}

TEST(ComplaintsTest, EachFailureIsToldOnceAndEndsWithItsPod) {
  Complaints complaints;
  const absl::Status failure = absl::UnavailableError("no");
  EXPECT_TRUE(complaints.Note("commit", failure));
  EXPECT_FALSE(complaints.Note("commit", failure)) << "told already";
  EXPECT_TRUE(complaints.Note("commit", absl::UnavailableError("not yet"))) << "it fails in another way";
  EXPECT_TRUE(complaints.Note("remove pod a", failure, "a"));
  EXPECT_TRUE(complaints.Note("remove pod b", failure, "b"));
  complaints.Forget([](const std::string& uid) { return uid == "a"; });
  EXPECT_TRUE(complaints.Note("remove pod a", failure, "a")) << "forgotten";
  EXPECT_FALSE(complaints.Note("remove pod b", failure, "b"));
  complaints.Forget([](const std::string&) { return true; });
  EXPECT_FALSE(complaints.empty()) << "a failure of no pod stays";
  EXPECT_FALSE(complaints.Note("commit", absl::OkStatus()));
  EXPECT_TRUE(complaints.empty());
}

TEST(PlacesFileTest, SaysWhatWasKept) {
  char name[] = "/tmp/podfence-places.XXXXXX";
  const std::string directory = mkdtemp(name);
  EXPECT_TRUE(absl::IsNotFound(ReadPlaces(directory).status()));
  Places places{.top = "kubepods.slice", .classes = {"kubepods-burstable.slice"}, .pods = {}};
  places.pods["u1"] = {.path = "p", .pause = "p/s", .containers = {{"app", "p/a"}}, .guests = {{"debugger", "p/e"}}};
  ASSERT_EQ(KeepPlaces(directory, places), absl::OkStatus());
  const absl::StatusOr<Places> read = ReadPlaces(directory);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(*read, places);
  for (const char* damaged : {"", "{", R"({"version": 2})", R"({"version": 1, "top": 3})"}) {
    std::ofstream(directory + "/places.json") << damaged;
    EXPECT_TRUE(absl::IsInvalidArgument(ReadPlaces(directory).status())) << damaged;
  }
  std::filesystem::remove_all(directory);
}

TEST(RepairPaceTest, AtOnceThenSlowerAgainstAWriterThatFightsBack) {
  RepairPace pace(absl::Seconds(10));
  EXPECT_EQ(pace.Wait(), absl::ZeroDuration());
  pace.Looked(/*writes=*/1, /*repaired=*/1);
  EXPECT_EQ(pace.Wait(), absl::Milliseconds(20)) << "the repair itself is a write, and is seen";
  pace.Looked(0, 0);
  EXPECT_EQ(pace.Wait(), absl::ZeroDuration());
  absl::Duration last;
  for (int i = 0; i < 40; ++i) {
    EXPECT_EQ(pace.Fought(), i >= 6);
    pace.Looked(2, 1);
    EXPECT_GE(pace.Wait(), last);
    last = pace.Wait();
  }
  EXPECT_EQ(last, absl::Seconds(10));
  for (int i = 0; i < 40; ++i) pace.Looked(1, 0);
  EXPECT_FALSE(pace.Fought()) << "a write that the kernel refuses is no fight";
  EXPECT_EQ(pace.Wait(), absl::Seconds(10)) << "but no reason to spin";
}

// One busy exclusive container of 2 CPUs beside a sidecar that shares 1.
std::vector<Snapshot> Kept() {
  std::vector<Snapshot> snapshots(2);
  for (int i = 0; i < 2; ++i) {
    snapshots[i].monotonic = 10 * i;
    ContainerView own;
    own.name = "own";
    own.kind = "app";
    own.phase = "running";
    own.assignment = "pod_exclusive";
    own.cpus = own.effective_cpus = {2, 3};
    own.promised_cpus = 2;
    own.cpu_seconds = 20 * i;
    own.throttling = {{.cgroup = "podfence"}};
    ContainerView sidecar;
    sidecar.name = "sidecar";
    sidecar.kind = "sidecar";
    sidecar.phase = "running";
    sidecar.assignment = "pod_shared";
    sidecar.cpus = sidecar.effective_cpus = {4};
    sidecar.promised_cpus = 1;
    sidecar.cpu_seconds = 10 * i;
    snapshots[i].pods = {{.uid = "u", .containers = {own, sidecar}}};
  }
  return snapshots;
}

std::vector<std::string> Broken(const std::vector<Snapshot>& snapshots, bool busy = true) {
  std::vector<std::string> broken;
  for (const Promise& promise : JudgePromises(snapshots, busy)) {
    if (!promise.kept) broken.push_back(promise.what);
  }
  return broken;
}

TEST(PromisesTest, EachIsBrokenByItsOwnFact) {
  EXPECT_THAT(Broken(Kept()), IsEmpty());
  std::vector<Snapshot> snapshots = Kept();
  ContainerView* own = &snapshots[1].pods[0].containers[0];
  own->cpu_seconds = 19.5;
  EXPECT_THAT(Broken(snapshots), ::testing::ElementsAre("CPU time"));
  EXPECT_THAT(Broken(snapshots, /*busy=*/false), IsEmpty()) << "an idle container keeps its promise";
  snapshots = Kept();
  snapshots[1].pods[0].containers[0].throttling[0].throttled_periods = 1;
  EXPECT_THAT(Broken(snapshots), ::testing::ElementsAre("throttling at podfence"));
  snapshots = Kept();
  snapshots[1].pods[0].containers[0].effective_cpus = {2};
  EXPECT_THAT(Broken(snapshots), ::testing::ElementsAre("CPUs in force"));
  snapshots = Kept();
  snapshots[1].pods[0].containers[0].escaped_seconds = 1e-6;
  EXPECT_THAT(Broken(snapshots), ::testing::ElementsAre("time outside its set"));
  snapshots = Kept();
  snapshots[1].pods[0].containers[0].phase = "waiting";
  EXPECT_THAT(Broken(snapshots), ::testing::ElementsAre("runs"));
  snapshots = Kept();
  snapshots[1].pods[0].containers[1].cpu_seconds = 10.5;
  EXPECT_THAT(Broken(snapshots), ::testing::ElementsAre("held to the rest of the budget"));
  for (const auto& [foreign, name] : {std::pair{ForeignClass::kContainer, "container"},
                                      {ForeignClass::kHost, "host"},
                                      {ForeignClass::kPause, "pause"},
                                      {ForeignClass::kMovableKthread, "kthread_movable"}}) {
    snapshots = Kept();
    snapshots[1].pods[0].containers[0].foreign_seconds[static_cast<size_t>(foreign)] = 0.03;
    EXPECT_THAT(Broken(snapshots), ::testing::ElementsAre(Cat("foreign time: ", name)));
  }
}

TEST(PromisesTest, WhatIsOverOwesNothingAndWhatIsNotMeasuredIsNotZero) {
  std::vector<Snapshot> snapshots = Kept();
  ContainerView& own = snapshots[1].pods[0].containers[0];
  own.phase = "succeeded";
  own.effective_cpus.Clear();
  EXPECT_THAT(Broken(snapshots), IsEmpty());
  snapshots = Kept();
  snapshots[1].monotonic = snapshots[0].monotonic;
  const std::vector<Promise> promises = JudgePromises(snapshots, /*busy=*/true);
  const auto time = std::ranges::find(promises, "CPU time", &Promise::what);
  ASSERT_NE(time, promises.end());
  EXPECT_FALSE(time->kept);
  EXPECT_THAT(time->seen, HasSubstr("not measured"));
}

}  // namespace
}  // namespace podfence
