// What others do to a fenced node is found, named and, where that is the agent's to do, mended.

#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>

#include "absl/time/clock.h"
#include "agent/cgroup/control.h"
#include "agent/core/text.h"
#include "agent/enforcer/affinity.h"
#include "tests/kernel/agent_fixture.h"

namespace podfence {
namespace {

class IntruderTest : public AgentTest {
 protected:
  void SetUp() override {
    AgentTest::SetUp();
    AddExamplePods(Loops::kOneEach);
    StartAgent("pod");
    ASSERT_TRUE(AwaitExamplePods());
    start_ = Now();
    ASSERT_NE(Find(start_, kDatabase, "database"), nullptr);
    exclusive_ = Find(start_, kDatabase, "database")->cpus;
    pool_ = Find(start_, kDatabase, "backup-agent")->cpus;
    sidecar_ = CgroupOf(start_, kDatabase, "backup-agent");
    ASSERT_FALSE(sidecar_.empty());
    ASSERT_FALSE(exclusive_.empty());
  }

  static bool Has(const Snapshot& snapshot, const std::string& kind, const std::string& text, const std::string& more) {
    return std::ranges::any_of(snapshot.findings, [&](const FindingView& finding) {
      return finding.kind == kind && finding.message.find(text) != std::string::npos &&
             finding.message.find(more) != std::string::npos;
    });
  }
  // A finding of the kind whose message has both texts, and that is counted.
  void ExpectFound(const std::string& kind, const std::string& text, const std::string& more) {
    EXPECT_TRUE(Await([&](const Snapshot& snapshot) { return Has(snapshot, kind, text, more); }))
        << kind << " with '" << text << "' and '" << more << "'";
    EXPECT_GT(Scrape()[Cat("podfence_findings_total{kind=\"", kind, "\"}")], 0) << kind;
  }
  // Which of the CPUs the kernel allows the process.
  static CpuSet AllowedCpus(pid_t pid) {
    std::ifstream status(Cat("/proc/", pid, "/status"));
    for (std::string line; std::getline(status, line);) {
      if (line.starts_with("Cpus_allowed_list:")) {
        return ParseCpus(line.substr(line.find_first_not_of(" \t", line.find(':') + 1)));
      }
    }
    ADD_FAILURE() << "process " << pid << " is gone";
    return {};
  }

  Snapshot start_;       // before anybody intrudes
  CpuSet exclusive_;     // the database's
  CpuSet pool_;          // its pod's shared pool
  std::string sidecar_;  // cgroup of the backup agent, which runs in that pool
};

// A process in a cgroup of its own that asks for one CPU over and over, whatever it is told.
class Intruder {
 public:
  static constexpr char kCgroup[] = "intruder";

  explicit Intruder(int cpu) {
    std::filesystem::create_directory(kFolder);
    pid_ = fork();
    if (pid_ != 0) return;
    WriteCgroupFile(kCgroup, "cgroup.procs", "0");
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    while (true) sched_setaffinity(0, sizeof set, &set);
  }
  ~Intruder() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    while (rmdir(kFolder) != 0 && errno == EBUSY) absl::SleepFor(absl::Milliseconds(10));
  }
  pid_t pid() const { return pid_; }

 private:
  static constexpr char kFolder[] = "/sys/fs/cgroup/intruder";
  pid_t pid_ = -1;
};

TEST_F(IntruderTest, AProcessMovedOntoAnExclusiveCpuIsNamedAndMovedAway) {
  const int cpu = exclusive_.First();
  const Intruder intruder(cpu);
  const CpuSet all = start_.machine.Cpus();
  // The partition keeps everybody off, whatever their cpuset says; only without it a way in is left.
  const std::string database = CgroupOf(start_, kDatabase, "database");
  const bool partitioned = std::filesystem::exists(Cat("/sys/fs/cgroup/", database, "/cpuset.cpus.exclusive"));
  if (partitioned) {
    EXPECT_EQ(ReadCgroupFile(database, "cpuset.cpus.partition"), "root");
    EXPECT_TRUE(WriteCgroupFile(Intruder::kCgroup, "cpuset.cpus", all.ToString()));
    EXPECT_FALSE(AllowedCpus(intruder.pid()).Intersects(exclusive_)) << "the kernel gives them to nobody else";
  }
  // The agent closes it at each sweep; the test opens it until the intruder was seen there.
  const auto ran = [&](const Snapshot& snapshot) {
    return Has(snapshot, "intrusion", Cat("on CPU ", cpu, ", exclusive to container database"),
               Cat("(pid ", intruder.pid(), "), a host process"));
  };
  EXPECT_TRUE(Await([&](const Snapshot& snapshot) {
    if (ran(snapshot)) return true;
    if (partitioned) {
      EXPECT_TRUE(WriteCgroupFile(database, "cpuset.cpus.partition", "member"));
    }
    EXPECT_TRUE(WriteCgroupFile(Intruder::kCgroup, "cpuset.cpus", all.ToString()));
    return false;
  }));
  ExpectFound("intrusion", "exclusive to container database", Cat("(pid ", intruder.pid(), ")"));
  ExpectFound("drift", "/intruder/cpuset.cpus", all.ToString());
  EXPECT_TRUE(AwaitCgroupFile(Intruder::kCgroup, "cpuset.cpus.effective", [&](const std::string& list) {
    return !ParseCpus(list).Intersects(exclusive_);
  })) << "repaired";
  EXPECT_FALSE(AllowedCpus(intruder.pid()).Intersects(exclusive_));
  if (partitioned) {
    ExpectFound("drift", "database/cpuset.cpus.partition", "found member");
    EXPECT_TRUE(AwaitCgroupFile(database, "cpuset.cpus.partition", [](const std::string& text) {
      return text == "root";
    })) << "repaired";
  }

  const Snapshot now = Now();
  EXPECT_GT(Find(now, kDatabase, "database")->foreign_seconds[static_cast<size_t>(ForeignClass::kHost)], 0);
  EXPECT_EQ(Find(now, kMl, "ml-training")->foreign_seconds[static_cast<size_t>(ForeignClass::kHost)], 0)
      << "the other pod's CPUs stayed its own";
  EXPECT_GT(Scrape()["podfence_foreign_run_seconds_total{class=\"host\"}"], 0);
  EXPECT_GT(Scrape()["podfence_drift_repairs_total"], 0);
}

TEST_F(IntruderTest, ACpusetWidenedFromOutsideIsNamedAndRepaired) {
  ASSERT_TRUE(WriteCgroupFile(sidecar_, "cpuset.cpus", (pool_ | exclusive_).ToString()));
  EXPECT_TRUE(AwaitCgroupFile(sidecar_, "cpuset.cpus.effective", [&](const std::string& list) {
    return list == pool_.ToString();
  })) << "repaired";
  ExpectFound("drift", "backup-agent/cpuset.cpus", Cat("found ", (pool_ | exclusive_).ToString()));
  EXPECT_GT(Scrape()["podfence_drift_repairs_total"], 0);
}

TEST_F(IntruderTest, MemoryOnAnotherNumaNodeIsNamedAndBroughtBack) {
  const std::string database = CgroupOf(start_, kDatabase, "database");
  const int home = Find(start_, kDatabase, "database")->mems.First();
  const int other = home == 0 ? 1 : 0;
  PauseAgent();
  ASSERT_TRUE(WriteCgroupFile(database, "cpuset.mems", std::to_string(other)));
  EXPECT_TRUE(AwaitCgroupFile(database, "memory.numa_stat", [&](const std::string& text) {
    return NumaStat::Parse(text)->Outside("anon", NumaSet{home}) > 0;  // a little page cache alone is no finding
  })) << "the kernel moves it along";
  ResumeAgent();
  // The agent's write of cpuset.mems returns when the kernel has moved the memory. Before 6.3 it does so page by page
  // and interrupts every CPU for each: emulated, that takes the longer the more CPUs are busy.
  EXPECT_TRUE(AwaitCgroupFile(
      database, "cpuset.mems", [&](const std::string& text) { return text == std::to_string(home); },
      absl::Minutes(2)));
  ExpectFound("memory", "database/memory.numa_stat", "bytes elsewhere");
  ExpectFound("drift", "database/cpuset.mems", Cat("found ", other));
  EXPECT_EQ(ReadCgroupFile(database, "cpuset.mems.effective"), std::to_string(home)) << "repaired";
  EXPECT_TRUE(AwaitCgroupFile(database, "memory.numa_stat", [&](const std::string& text) {
    return NumaStat::Parse(text)->PagesOutside(NumaSet{home}) == 0;
  })) << "the kernel brings it along";
}

// Not at a sweep, of which there is none: a write is seen when it happens.
TEST_F(AgentTest, AWriteToAFenceIsRepairedWhenItHappens) {
  SetSweepInterval("24h");
  AddExamplePods();
  StartAgent("pod");
  ASSERT_TRUE(AwaitExamplePods());
  const std::string database = CgroupOf(Now(), kDatabase, "database");
  const std::string cpus = ReadCgroupFile(database, "cpuset.cpus");
  std::vector<absl::Duration> latencies;
  for (int i = 0; i < 5; ++i) {
    absl::SleepFor(absl::Seconds(1));  // it looks again after its repair, and finds nothing
    const absl::Time begin = absl::Now();
    ASSERT_TRUE(WriteCgroupFile(database, "cpu.max", "100000 100000"));
    ASSERT_TRUE(AwaitCgroupFile(
        database, "cpu.max", [](const std::string& text) { return text == "max 100000"; }, absl::Seconds(60)));
    latencies.push_back(absl::Now() - begin);
  }
  std::ranges::sort(latencies);
  std::cout << "a quota was lifted after " << latencies[2] << " (median of 5, guest busy)\n";
  ASSERT_TRUE(WriteCgroupFile(database, "cpuset.cpus", std::to_string(ParseCpus(cpus).First())));
  EXPECT_TRUE(AwaitCgroupFile(
      database, "cpuset.cpus", [&](const std::string& text) { return text == cpus; }, absl::Seconds(60)));
}

TEST_F(IntruderTest, AnAffinitySetFromOutsideIsNamed) {
  const std::set<pid_t> pids = Processes(sidecar_);
  ASSERT_FALSE(pids.empty());
  const std::string by = Cat("(pid ", getpid(), ") set the affinity");
  ASSERT_EQ(SetAffinity(*pids.begin(), CpuSet{pool_.First()}), absl::OkStatus());
  ExpectFound("drift", by, "to less than its");
  // The kernel grants of it what the cpuset allows; that it was asked for is named all the same.
  ASSERT_EQ(SetAffinity(*pids.begin(), pool_ | exclusive_), absl::OkStatus());
  ExpectFound("drift", by, "container backup-agent");
  EXPECT_EQ(AllowedCpus(*pids.begin()), pool_);
}

TEST_F(IntruderTest, AQuotaOnThePodIsNamedAndLifted) {
  const std::string pod = std::filesystem::path(CgroupOf(start_, kDatabase, "database")).parent_path();
  ASSERT_TRUE(WriteCgroupFile(pod, "cpu.max", "1000 100000"));
  EXPECT_TRUE(AwaitCgroupFile(pod, "cpu.max", [](const std::string& max) { return max.starts_with("max "); }))
      << "lifted";
  ExpectFound("drift", Cat(pod, "/cpu.max"), "found 1000 100000");
  ExpectFound("throttling", "container database", pod);
  EXPECT_GT(Scrape()["podfence_drift_repairs_total"], 0);
}

}  // namespace
}  // namespace podfence
