// What others do to the tasks, the cgroups and the CPUs of a fence, and what happens that no file says.

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>

#include "absl/time/clock.h"
#include "agent/cgroup/control.h"
#include "agent/core/text.h"
#include "agent/enforcer/affinity.h"
#include "tests/kernel/agent_matrix.h"

namespace podfence {
namespace {

namespace fs = std::filesystem;

// A sweep of 1 s, whose timer may come 1 s late.
constexpr char kSweep[] = "1s";
constexpr absl::Duration kSwept = absl::Milliseconds(2200);

class TasksTest : public MatrixTest {
 protected:
  static bool SwitchCpu(int cpu, bool on) {
    std::ofstream file(Cat("/sys/devices/system/cpu/cpu", cpu, "/online"));
    file << (on ? "1" : "0") << std::flush;
    return file.good();
  }
  void RemoveCgroup(const std::string& cgroup) {
    while (rmdir((kRoot + cgroup).c_str()) != 0 && errno == EBUSY) absl::SleepFor(absl::Milliseconds(10));
  }
  // The finding is of main, and nothing but its kind need be said of it.
  bool OfMain(const FindingView& finding, const std::string& kind) const {
    return finding.kind == kind && finding.container == "main" && finding.pod.ends_with(kPod) &&
           finding.cgroup == kRoot + main_;
  }
  pid_t TaskOf(const std::string& cgroup) {
    const std::set<pid_t> pids = Processes(cgroup);
    EXPECT_EQ(pids.size(), 1U) << cgroup;
    return pids.empty() ? -1 : *pids.begin();
  }

  Injection Affinity(const std::string& deed, pid_t pid, const CpuSet& cpus) {
    return {.deed = deed,
            .finding = "drift",
            .act = [=]() -> std::optional<absl::Time> {
              const absl::Time now = absl::Now();
              if (!SetAffinity(pid, cpus).ok()) return std::nullopt;
              return now;
            },
            .names =
                [=, this](const FindingView& finding) {
                  return OfMain(finding, "drift") && finding.file.empty() && finding.expected == own_.ToString() &&
                         finding.by && finding.by->pid == getpid() && finding.by->comm == "kernel_agent" &&
                         finding.message.find(Cat("(pid ", pid, ")")) != std::string::npos;
                },
            .probes = {"affinity_request"}};
  }
  Injection MovedOut(pid_t pid);
  Injection Stranger(std::optional<Outsider>& stranger);
  Injection MemoryElsewhere();
  Injection SwitchedOff(int cpu);
  Injection Replaced();
};

Injection TasksTest::MovedOut(pid_t pid) {
  return {.deed = "a process of main moved to /init.scope",
          .finding = "escape",
          .act = [=]() -> std::optional<absl::Time> {
            const absl::Time now = absl::Now();
            if (!WriteCgroupFile("init.scope", "cgroup.procs", std::to_string(pid))) return std::nullopt;
            return now;
          },
          .names =
              [=, this](const FindingView& finding) {
                return OfMain(finding, "escape") && finding.message.find(Cat("(pid ", pid, ")")) != std::string::npos &&
                       finding.seen.ends_with("init.scope") && ByUs(finding, "cgroup_move");
              },
          .restore = [=, this] { EXPECT_TRUE(WriteCgroupFile(main_, "cgroup.procs", std::to_string(pid))); },
          .probes = {"cgroup_move", "cgroup_move_trace", "cgroup_move_sweep"}};
}

Injection TasksTest::Stranger(std::optional<Outsider>& stranger) {
  const std::string cgroup = "podfence/stranger";
  return {.deed = "a process in a cgroup among the pods'",
          .finding = "drift",
          .act = [=, &stranger]() -> std::optional<absl::Time> {
            fs::create_directory(kRoot + cgroup);
            const absl::Time now = absl::Now();
            stranger.emplace(cgroup, [] { pause(); });
            return now;
          },
          .names =
              [=](const FindingView& finding) {
                return finding.kind == "drift" && finding.cgroup == kRoot + cgroup && finding.file == "cpuset.cpus";
              },
          .undone =
              [=, this] {
                const std::string cpus = ReadCgroupFile(cgroup, "cpuset.cpus");
                return !cpus.empty() && !ParseCpus(cpus).Intersects(own_ | pool_);
              },
          .restore =
              [=, this, &stranger] {
                stranger.reset();
                RemoveCgroup(cgroup);
              }};
}

// Memory is charged where it was touched and goes where cpuset.mems says; so that is changed while nobody looks.
Injection TasksTest::MemoryElsewhere() {
  const auto outside = [this] {
    return NumaStat::Parse(ReadCgroupFile(main_, "memory.numa_stat"))->PagesOutside(NumaSet{home_});
  };
  return {.deed = "memory of main moved to another NUMA node",
          .finding = "memory",
          .act = [=, this]() -> std::optional<absl::Time> {
            PauseAgent();
            EXPECT_TRUE(WriteCgroupFile(main_, "cpuset.mems", std::to_string(other_)));
            EXPECT_TRUE(AwaitCgroupFile(main_, "memory.numa_stat", [&](const std::string&) { return outside() > 0; }));
            const absl::Time now = absl::Now();
            ResumeAgent();
            return now;
          },
          .names =
              [this](const FindingView& finding) {
                return OfMain(finding, "memory") && finding.file == "memory.numa_stat" &&
                       finding.seen.ends_with(" bytes elsewhere");
              },
          .undone = [=] { return outside() == 0; }};
}

Injection TasksTest::SwitchedOff(int cpu) {
  return {.deed = "an exclusive CPU switched off",
          .finding = "cpu_offline",
          .act = [=]() -> std::optional<absl::Time> {
            const absl::Time now = absl::Now();
            if (!SwitchCpu(cpu, false)) return std::nullopt;
            return now;
          },
          .names =
              [=, this](const FindingView& finding) {
                return OfMain(finding, "cpu_offline") && finding.expected == own_.ToString();
              },
          .restore =
              [=, this] {
                ASSERT_TRUE(SwitchCpu(cpu, true));
                EXPECT_TRUE(AwaitCgroupFile(main_, "cpuset.cpus.effective",
                                            [this](const std::string& text) { return text == own_.ToString(); }));
                if (!partitioned_) return;
                EXPECT_TRUE(AwaitCgroupFile(main_, "cpuset.cpus.partition",
                                            [](const std::string& text) { return text == "root"; }));
              }};
}

Injection TasksTest::Replaced() {
  return {.deed = "main's cgroup deleted and made again",
          .finding = "drift",
          .act = [this]() -> std::optional<absl::Time> {
            // The agent sees neither the end nor the new cgroup until both are there; the process lives on.
            PauseAgent();
            const std::string pid = std::to_string(TaskOf(main_));
            EXPECT_TRUE(WriteCgroupFile("init.scope", "cgroup.procs", pid));
            EXPECT_EQ(rmdir((kRoot + main_).c_str()), 0);
            EXPECT_TRUE(fs::create_directory(kRoot + main_));
            EXPECT_TRUE(WriteCgroupFile(main_, "cgroup.procs", pid));
            const absl::Time now = absl::Now();
            ResumeAgent();
            return now;
          },
          .names =
              [this](const FindingView& finding) {
                return OfMain(finding, "drift") && finding.file.empty() && finding.repaired &&
                       finding.expected != finding.seen;
              },
          .undone = [this] { return ReadCgroupFile(main_, "cpuset.cpus") == own_.ToString(); }};
}

TEST_F(TasksTest, WhatHappensToAFenceIsFoundAndWhatCanBeIsUndone) {
  Start(kSweep);
  const pid_t task = TaskOf(main_);
  Inject(Affinity("affinity of a task of main widened", task, own_ | pool_), 3);
  EXPECT_TRUE(GetAffinity(task)->IsSubsetOf(own_)) << "the kernel grants what the cpuset allows";
  Inject(Affinity("affinity of a task of main narrowed", task, CpuSet{own_.First()}), 3);
  ASSERT_TRUE(SetAffinity(task, own_).ok());
  Inject(MovedOut(task), 3);
  std::optional<Outsider> stranger;
  Inject(Stranger(stranger), 1);
  Inject(MemoryElsewhere(), 1);
  Inject(Replaced(), 1);
  Finish();
}

TEST_F(TasksTest, AnExclusiveCpuThatIsSwitchedOffIsFoundUntilItIsBack) {
  Start(kSweep);
  Inject(SwitchedOff(*(++own_.begin())), 1);
  EXPECT_TRUE(Await([](const Snapshot& snapshot) {
    return std::ranges::none_of(snapshot.findings, [](const FindingView& finding) { return finding.active; });
  }));
}

// What nobody could be told of is never clean.
TEST_F(TasksTest, AFloodOfEventsMakesTheStateUnknown) {
  Start(kSweep);
  const pid_t task = TaskOf(main_);
  PauseAgent();
  constexpr int kEvents = 3000;  // of which the ring buffer of 64 KiB holds some 700
  for (int i = 0; i < kEvents; ++i) ASSERT_TRUE(SetAffinity(task, own_ | pool_).ok());
  ResumeAgent();
  EXPECT_TRUE(Await([](const Snapshot& snapshot) { return snapshot.verification.state == "unknown"; }))
      << "once the findings themselves are over, but " << Now().verification.state;
  EXPECT_GT(Now().lost_events, 0U);
  EXPECT_FALSE(Now().verification.reasons.empty());
  std::map<std::string, double> metrics = Scrape();
  EXPECT_EQ(metrics["podfence_verification_state{state=\"unknown\"}"], 1);
  EXPECT_GT(metrics["podfence_lost_events_total"], 0);
}

class FindingsOnlyTest : public TasksTest {
 protected:
  // A quota at one level, which throttles main wherever it is. A look at the agent would find it by itself.
  Injection Throttled(const std::string& where, const std::string& cgroup) {
    return {.deed = Cat("main throttled by the quota of ", where),
            .finding = "throttling",
            .act = [=]() -> std::optional<absl::Time> {
              const absl::Time now = absl::Now();
              if (!WriteCgroupFile(cgroup, "cpu.max", "20000 100000")) return std::nullopt;
              return now;
            },
            .names =
                [=](const FindingView& finding) {
                  return finding.kind == "throttling" && finding.container == "main" && finding.pod.ends_with(kPod) &&
                         finding.cgroup == kRoot + cgroup && finding.duration_seconds.value_or(0) > 0;
                },
            .restore = [=] { EXPECT_TRUE(WriteCgroupFile(cgroup, "cpu.max", "max")); },
            .unwatched = kSwept};
  }
};

// Nothing is repaired, so that what a repair prevents is seen too.
TEST_F(FindingsOnlyTest, WhatBreaksAFenceIsNamedWithWhoDoesIt) {
  Start(kSweep, {"repairDrift: false", "fenceHost: false"});
  Outsider spinner(main_, Outsider::Spin);
  spinner.Go();
  Inject(Throttled("itself", main_), 1);
  Inject(Throttled("the pod", pod_), 1);
  Inject(Throttled("the top cgroup", "podfence"), 1);

  // A host process on an exclusive CPU: with a partition the kernel lets nobody come there.
  const int cpu = own_.First();
  fs::create_directory(Cat(kRoot, "outside"));
  Outsider intruder("outside", Outsider::Spin);
  intruder.Go();
  Injection intrusion = {.deed = "a host process pinned to an exclusive CPU",
                         .finding = "intrusion",
                         .act = [&]() -> std::optional<absl::Time> {
                           const absl::Time now = absl::Now();
                           if (!SetAffinity(intruder.pid(), CpuSet{cpu}).ok()) return std::nullopt;
                           return now;
                         },
                         .names =
                             [&](const FindingView& finding) {
                               return OfMain(finding, "intrusion") && finding.cpu == cpu &&
                                      finding.foreign_class == "host" && finding.by &&
                                      finding.by->pid == intruder.pid() && finding.by->cgroup == "outside";
                             },
                         .refusable = partitioned_,
                         .probes = {"sched_switch"}};
  if (partitioned_) {
    EXPECT_FALSE(SetAffinity(intruder.pid(), CpuSet{cpu}).ok()) << "the kernel refuses what a partition holds";
    Inject(intrusion, 1);
    ASSERT_TRUE(WriteCgroupFile(main_, "cpuset.cpus.partition", "member"));
    intrusion.deed += ", its partition dissolved";
    intrusion.refusable = false;
  }
  Inject(intrusion, 1);
  intruder.End();
  RemoveCgroup("outside");

  // A task of main on the sidecar's CPU.
  const int beyond = pool_.First();
  Inject({.deed = "main's cpuset widened, and a task of it on the sidecar's CPU",
          .finding = "escape",
          .act = [&]() -> std::optional<absl::Time> {
            EXPECT_TRUE(WriteCgroupFile(main_, "cpuset.cpus", (own_ | pool_).ToString()));
            const absl::Time now = absl::Now();
            if (!SetAffinity(spinner.pid(), CpuSet{beyond}).ok()) return std::nullopt;
            return now;
          },
          .names =
              [&](const FindingView& finding) {
                return OfMain(finding, "escape") && finding.cpu == beyond && finding.by &&
                       finding.by->pid == spinner.pid() && finding.expected == own_.ToString();
              },
          .probes = {"sched_switch"}},
         1);
  spinner.End();
  ASSERT_TRUE(WriteCgroupFile(main_, "cpuset.cpus", own_.ToString()));
  if (partitioned_) {
    ASSERT_TRUE(WriteCgroupFile(main_, "cpuset.cpus.partition", "root"));
  }
  Finish();
  EXPECT_EQ(Scrape()["podfence_drift_repairs_total"], 0);
}

}  // namespace
}  // namespace podfence
