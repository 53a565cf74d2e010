// The programs on the kernel of the machine that builds: they must load, and count what these tests make happen in
// cgroups of their own. No cgroup controllers are needed, since affinities move the tasks. What this kernel or this
// user may not do is skipped.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <thread>

#include "agent/cgroup/cgroup.h"
#include "agent/core/text.h"
#include "agent/verifier/verifier.h"

namespace podfence {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

// Where cgroup v2 is mounted: beside v1 hierarchies, or alone. Empty: nowhere.
std::string CgroupRoot() {
  for (const char* path : {"/sys/fs/cgroup/unified", "/sys/fs/cgroup"}) {
    if (std::filesystem::exists(std::string(path) + "/cgroup.controllers")) return path;
  }
  return "";
}

CpuSet AllowedCpus() {
  cpu_set_t set;
  CpuSet cpus;
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) cpus.Add(cpu);
  }
  return cpus;
}

void Pin(pid_t pid, const CpuSet& cpus) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (int cpu : cpus) CPU_SET(cpu, &set);
  ASSERT_EQ(sched_setaffinity(pid, sizeof(set), &set), 0);
}

constexpr uint64_t kMs = 1000000;

// A child that spins in a cgroup and on one CPU until it goes out of scope. It is moved there while it is stopped, and
// so never runs on that CPU from elsewhere.
class Spinner {
 public:
  Spinner(const std::string& cgroup, int cpu) {
    pid_ = fork();
    if (pid_ == 0) {
      raise(SIGSTOP);
      const volatile bool forever = true;
      while (forever) {
      }
    }
    waitpid(pid_, nullptr, WUNTRACED);
    before_ns_ = RanNs();
    std::ofstream(cgroup + "/cgroup.procs") << pid_ << std::flush;
    Pin(pid_, {cpu});
    kill(pid_, SIGCONT);
  }
  ~Spinner() { Stop(); }
  Spinner(const Spinner&) = delete;
  Spinner& operator=(const Spinner&) = delete;
  void Stop() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  pid_t pid() const { return pid_; }

  uint64_t before_ns() const { return before_ns_; }  // CPU time it had before it came into the cgroup

  // CPU time it got so far.
  uint64_t RanNs() const {
    uint64_t ran_ns = 0;
    std::ifstream("/proc/" + std::to_string(pid_) + "/schedstat") >> ran_ns;
    return ran_ns;
  }
  // Waits until it got so much more: the machine may be busy with other things.
  void AwaitRun(uint64_t ns) const {
    const uint64_t goal = RanNs() + ns;
    for (int i = 0; i < 3000 && RanNs() < goal; ++i) std::this_thread::sleep_for(10ms);
    ASSERT_GE(RanNs(), goal) << "the spinner did not get its CPU time";
  }
  // Waits for that and stops it: a run that begins at a switch which the kernel does not show is booked when it ends.
  void Run(uint64_t ns) const {
    kill(pid_, SIGCONT);
    AwaitRun(ns);
    kill(pid_, SIGSTOP);
    waitpid(pid_, nullptr, WUNTRACED);
  }

 private:
  pid_t pid_ = -1;
  uint64_t before_ns_ = 0;
};

class KernelTest : public testing::Test {
 protected:
  void SetUp() override {
    root_ = CgroupRoot();
    if (root_.empty()) GTEST_SKIP() << "no cgroup v2 hierarchy is mounted";
    if (geteuid() != 0) GTEST_SKIP() << "loading BPF programs needs root";
    allowed_ = AllowedCpus();
    if (allowed_.size() < 2) GTEST_SKIP() << "needs two CPUs";
    cpu_ = allowed_.First();
    other_ = (allowed_ - CpuSet{cpu_}).First();
    Pin(0, {other_});  // the test itself is no intruder
    base_ = "podfence-test-" + std::to_string(getpid());
    for (const char* below : {"", "/owner", "/owner/nested", "/sidecar", "/pause"}) {
      std::error_code error;
      if (!std::filesystem::create_directory(root_ + "/" + base_ + below, error) && error) {
        GTEST_SKIP() << "cannot make cgroups in " << root_ << ": " << error.message();
      }
    }
    auto started = Verifier::Start({.cgroup_root = root_, .max_fences = 16, .measure_interrupts = measure_interrupts_});
    ASSERT_TRUE(started.ok()) << started.status();
    verifier_ = *std::move(started);
    for (const Probe& probe : verifier_->Probes().probes) {
      if (probe.name == "sched_switch" && !probe.attached) {
        GTEST_SKIP() << "the sched_switch program does not run here: " << probe.reason;
      }
    }
  }

  void TearDown() override {
    verifier_.reset();
    if (!allowed_.empty()) Pin(0, allowed_);
    if (base_.empty()) return;  // skipped before it made any
    for (const char* below : {"/owner/nested", "/owner", "/sidecar", "/pause", ""}) Remove(base_ + below);
  }

  // The kernel takes a moment to let go of a cgroup whose last process was reaped.
  void Remove(const std::string& cgroup) {
    for (int i = 0; i < 100; ++i) {
      if (rmdir((root_ + "/" + cgroup).c_str()) == 0 || errno == ENOENT) return;
      std::this_thread::sleep_for(10ms);
    }
    ADD_FAILURE() << "cannot remove cgroup " << cgroup;
  }

  std::string Path(const std::string& name) const { return root_ + "/" + base_ + "/" + name; }
  ExpectedFence Exclusive(const std::string& name, CpuSet cpus) const {
    return {.cgroup = base_ + "/" + name,
            .kind = FenceKind::kExclusive,
            .cpus = std::move(cpus),
            .pod = "uid-1",
            .container = name};
  }
  ExpectedFence Shared(const std::string& name, CpuSet cpus, std::string pod = "uid-1") const {
    ExpectedFence fence = Exclusive(name, std::move(cpus));
    fence.kind = FenceKind::kShared;
    fence.pod = std::move(pod);
    return fence;
  }
  Observation Read() {
    absl::StatusOr<Observation> observation = verifier_->Read();
    EXPECT_TRUE(observation.ok()) << observation.status();
    return observation.ok() ? *observation : Observation{};
  }
  uint64_t Foreign(const Observation& observation, ForeignClass foreign) {
    return observation.fences.at(0).foreign_ns.at(static_cast<size_t>(foreign));
  }

  bool measure_interrupts_ = false;
  std::string root_;
  std::string base_;
  CpuSet allowed_;
  int cpu_ = 0;
  int other_ = 0;
  std::unique_ptr<Verifier> verifier_;
};

TEST_F(KernelTest, EveryProbeRunsOrSaysWhyNot) {
  for (const Probe& probe : verifier_->Probes().probes) {
    printf("%-18s %-30s %s\n", probe.name.c_str(), probe.hook.c_str(),
           probe.attached ? "attached" : probe.reason.c_str());
    EXPECT_NE(probe.attached, !probe.reason.empty()) << probe.name;
  }
}

TEST_F(KernelTest, CountsAnotherContainerOnAnExclusiveCpu) {
  ASSERT_TRUE(verifier_->Expect({{Exclusive("owner", {cpu_}), Shared("sidecar", {other_}, "uid-2")}}).ok());
  Spinner spinner(Path("sidecar"), cpu_);
  spinner.Run(60 * kMs);
  const Observation now = Read();
  EXPECT_GT(Foreign(now, ForeignClass::kContainer), 40 * kMs);
  EXPECT_LE(Foreign(now, ForeignClass::kContainer), spinner.RanNs());
  EXPECT_GT(now.fences[1].escape_ns, 40 * kMs) << "the sidecar also left its own set";
  EXPECT_EQ(now.fences[0].cpu_ns, 0U) << "nobody ran in the owner's cgroup";

  // The machine's other tasks intrude too, and may use up the second's findings of this CPU.
  kill(spinner.pid(), SIGCONT);
  bool intrusion = false;
  bool escape = false;
  for (int i = 0; i < 100 && !(intrusion && escape); ++i) {
    for (const KernelFinding& finding : verifier_->Poll()) {
      if (finding.pid != spinner.pid()) continue;
      intrusion |= finding.kind == KernelFindingKind::kIntrusion && finding.foreign == ForeignClass::kContainer &&
                   finding.cpu == cpu_ && finding.container == "owner";
      escape |= finding.kind == KernelFindingKind::kEscape && finding.container == "sidecar";
    }
    std::this_thread::sleep_for(50ms);
    Read();
  }
  EXPECT_TRUE(escape);
  EXPECT_TRUE(intrusion);
}

TEST_F(KernelTest, CountsAHostProcessOnAnExclusiveCpuAndTellsTheLoop) {
  ASSERT_TRUE(verifier_->Expect({{Exclusive("owner", {cpu_})}}).ok());
  Spinner spinner(root_, cpu_);
  pollfd waiting{.fd = verifier_->fd(), .events = POLLIN, .revents = 0};
  std::map<pid_t, KernelFinding> found;
  // Others intrude too, and may use up what a CPU tells of in a second.
  const auto end = std::chrono::steady_clock::now() + 30s;
  while (!found.contains(spinner.pid()) && std::chrono::steady_clock::now() < end) {
    Read();
    if (poll(&waiting, 1, 100) != 1) continue;
    for (const KernelFinding& finding : verifier_->Poll()) found[finding.pid] = finding;
  }
  ASSERT_TRUE(found.contains(spinner.pid()));
  const KernelFinding& finding = found[spinner.pid()];
  EXPECT_EQ(finding.kind, KernelFindingKind::kIntrusion);
  EXPECT_EQ(finding.foreign, ForeignClass::kHost);
  EXPECT_EQ(finding.cpu, cpu_);
  EXPECT_GT(finding.duration_ns, 0U);
  EXPECT_GT(Foreign(Read(), ForeignClass::kHost), 0U);
}

TEST_F(KernelTest, CountsThePodsOwnPauseApart) {
  ExpectedFence pause = Shared("pause", {});
  pause.kind = FenceKind::kPause;
  ASSERT_TRUE(verifier_->Expect({{Exclusive("owner", {cpu_}), pause}}).ok());
  Spinner spinner(Path("pause"), cpu_);
  spinner.Run(60 * kMs);
  const Observation now = Read();
  EXPECT_GT(Foreign(now, ForeignClass::kPause), 40 * kMs);
  EXPECT_EQ(Foreign(now, ForeignClass::kContainer), 0U);
}

TEST_F(KernelTest, TheOwnersWholeSubtreeIsAtHome) {
  ASSERT_TRUE(verifier_->Expect({{Exclusive("owner", {cpu_})}}).ok());
  Spinner spinner(Path("owner/nested"), cpu_);
  spinner.Run(60 * kMs);
  const Observation now = Read();
  EXPECT_GT(now.fences[0].cpu_ns, 40 * kMs);
  EXPECT_EQ(now.fences[0].escape_ns, 0U);
  EXPECT_EQ(Foreign(now, ForeignClass::kContainer), 0U);
  EXPECT_GT(now.fences[0].wait.Count(), 0U);
}

TEST_F(KernelTest, CpuTimeIsTheSchedulersOwn) {
  ASSERT_TRUE(verifier_->Expect({{Exclusive("owner", {cpu_})}}).ok());
  Spinner spinner(Path("owner"), cpu_);
  spinner.Run(60 * kMs);
  const Observation now = Read();
  const uint64_t ran_ns = spinner.RanNs() - spinner.before_ns();
  EXPECT_LE(now.fences[0].cpu_ns, ran_ns);
  EXPECT_GE(now.fences[0].cpu_ns + kMs, ran_ns);
}

TEST_F(KernelTest, CountersNeverFallWhenExpectationsChange) {
  ASSERT_TRUE(verifier_->Expect({{Exclusive("owner", {cpu_})}}).ok());
  Spinner spinner(Path("sidecar"), cpu_);
  spinner.Run(60 * kMs);
  const Observation before = Read();
  const uint64_t host = before.foreign_ns[static_cast<size_t>(ForeignClass::kHost)];
  EXPECT_GT(host, 40 * kMs) << "an unknown cgroup counts as the host's";

  // The same task, judged from now on by other fences: at home.
  kill(spinner.pid(), SIGCONT);
  ASSERT_TRUE(verifier_->Expect({{Shared("sidecar", {cpu_})}}).ok());
  const Observation settled = Read();
  spinner.Run(60 * kMs);
  const Observation after = Read();
  EXPECT_GE(settled.foreign_ns[static_cast<size_t>(ForeignClass::kHost)], host);
  EXPECT_EQ(after.foreign_ns, settled.foreign_ns) << "nobody owns the CPU any more";
  EXPECT_GT(after.fences[0].cpu_ns, 40 * kMs);
  EXPECT_EQ(after.escape_ns, 0U);
  EXPECT_EQ(after.generation, 2U);
}

TEST_F(KernelTest, SwitchingFencesBackAndForthRaisesNoFalseAlarm) {
  Spinner spinner(Path("owner"), cpu_);
  spinner.AwaitRun(60 * kMs);
  for (int i = 0; i < 100; ++i) {
    const CpuSet cpus = i % 2 == 0 ? CpuSet{cpu_} : CpuSet{cpu_, other_};
    ASSERT_TRUE(verifier_->Expect({{Shared("sidecar", {other_}), Shared("owner", cpus)}}).ok());
  }
  const Observation now = Read();
  EXPECT_EQ(now.escape_ns, 0U);
  EXPECT_LT(now.miscounted_switches, 50U) << "a change of what is expected is no missed switch";
}

TEST_F(KernelTest, TheSweepNamesAnAffinityBeyondTheFence) {
  ASSERT_TRUE(verifier_->Expect({{Shared("sidecar", {cpu_})}}).ok());
  Spinner spinner(Path("sidecar"), cpu_);
  spinner.AwaitRun(60 * kMs);
  absl::Status swept = verifier_->Sweep();
  if (absl::IsUnavailable(swept)) GTEST_SKIP() << swept;
  ASSERT_TRUE(swept.ok()) << swept;
  EXPECT_EQ(Read().findings[static_cast<size_t>(KernelFindingKind::kDrift)], 0U);
  Pin(spinner.pid(), {cpu_, other_});
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(verifier_->Sweep().ok());
  int named = 0;
  for (const KernelFinding& finding : verifier_->Poll()) {
    if (finding.kind == KernelFindingKind::kDrift && finding.pid == spinner.pid() && finding.by_pid == 0) ++named;
  }
  EXPECT_EQ(named, 1) << "found at the first sweep, told once";
}

// Where functions cannot be traced: the sweep remembers who is in a fence, and the tracepoint tells of who leaves.
TEST_F(KernelTest, AProcessMovedOutOfItsFenceIsFound) {
  const std::vector<Probe> probes = verifier_->Probes().probes;
  const auto runs = [&](const char* name) {
    return std::ranges::any_of(probes, [&](const Probe& probe) { return probe.name == name && probe.attached; });
  };
  if (!runs("cgroup_move") && !runs("cgroup_move_trace")) GTEST_SKIP() << "no program sees moves here";
  ASSERT_TRUE(verifier_->Expect({{Shared("owner", {cpu_})}}).ok());
  Spinner spinner(Path("owner"), cpu_);
  ASSERT_TRUE(verifier_->Sweep().ok());
  const auto move_to = [&](const std::string& cgroup) {
    const pid_t pid = fork();
    if (pid == 0) {
      std::ofstream(cgroup + "/cgroup.procs") << spinner.pid() << std::flush;
      _exit(0);
    }
    waitpid(pid, nullptr, 0);
    return pid;
  };
  move_to(Path("owner/nested"));
  ASSERT_TRUE(verifier_->Sweep().ok());
  const auto moved = [&] {
    std::vector<KernelFinding> found = verifier_->Poll();
    std::erase_if(found, [&](const KernelFinding& each) { return each.pid != spinner.pid() || each.cpu != -1; });
    return found;
  };
  EXPECT_THAT(moved(), testing::IsEmpty()) << "within the fence";
  const pid_t by = move_to(Path("pause"));
  const std::vector<KernelFinding> found = moved();
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].kind, KernelFindingKind::kEscape);
  EXPECT_EQ(found[0].by_pid, by);
  EXPECT_EQ(found[0].container, "owner");
  EXPECT_THAT(found[0].message, HasSubstr(" to /" + base_ + "/pause by "));
  ASSERT_TRUE(verifier_->Sweep().ok());
  EXPECT_THAT(moved(), testing::IsEmpty()) << "told once";
}

TEST_F(KernelTest, WhatIsExpectedAlreadyCostsNoSwitchAndIsToldAgain) {
  ExpectedFence fence = Shared("sidecar", {cpu_});
  struct stat info {};
  ASSERT_EQ(stat(Path("sidecar").c_str(), &info), 0);
  fence.cgroup_id = info.st_ino;
  ASSERT_TRUE(verifier_->Expect({{fence}}).ok());
  const uint64_t generation = Read().generation;
  Spinner spinner(Path("sidecar"), cpu_);
  spinner.AwaitRun(60 * kMs);
  Pin(spinner.pid(), {cpu_, other_});
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(verifier_->Expect({{fence}}).ok());
    const absl::Status swept = verifier_->Sweep();
    if (absl::IsUnavailable(swept)) GTEST_SKIP() << swept;
    const std::vector<KernelFinding> found = verifier_->Poll();
    EXPECT_TRUE(std::ranges::any_of(found, [&](const KernelFinding& finding) {
      return finding.kind == KernelFindingKind::kDrift && finding.pid == spinner.pid();
    })) << "what stands is found at every sweep";
  }
  EXPECT_EQ(Read().generation, generation);
}

TEST_F(KernelTest, AFenceWithoutItsCgroupIsObservedAsGone) {
  ExpectedFence fence = Exclusive("nowhere", {cpu_});
  ExpectedFence other = Shared("sidecar", {other_});
  other.cgroup_id = ~uint64_t{0};  // the directory there is another one by now
  ASSERT_TRUE(verifier_->Expect({{fence, other}}).ok());
  Spinner spinner(Path("sidecar"), cpu_);
  spinner.Run(60 * kMs);
  const Observation now = Read();
  EXPECT_TRUE(now.fences[0].gone);
  EXPECT_TRUE(now.fences[1].gone);
  EXPECT_GT(Foreign(now, ForeignClass::kHost), 40 * kMs) << "its CPUs are still its own";
}

TEST_F(KernelTest, AnErrorLeavesTheOldExpectationsInForce) {
  ASSERT_TRUE(verifier_->Expect({{Exclusive("owner", {cpu_})}}).ok());
  EXPECT_TRUE(absl::IsInvalidArgument(verifier_->Expect({{Exclusive("sidecar", {CpuSet::kMaxCpu})}})));
  Expectations many;
  for (int i = 0; i < 17; ++i) many.fences.push_back(Shared("c" + std::to_string(i), {cpu_}));
  EXPECT_TRUE(absl::IsResourceExhausted(verifier_->Expect(many)));
  const Observation now = Read();
  ASSERT_EQ(now.fences.size(), 1U);
  EXPECT_EQ(now.fences[0].fence.container, "owner");
  EXPECT_EQ(now.generation, 1U);
}

TEST_F(KernelTest, InterruptsAreNotMeasuredUnlessAskedFor) {
  const Probe off = verifier_->Probes().probes.back();
  EXPECT_EQ(off.name, "interrupts");
  EXPECT_FALSE(off.wanted || off.attached);
  EXPECT_EQ(off.reason, "off: measureInterrupts");
  ASSERT_TRUE(verifier_->Expect({{Exclusive("owner", {cpu_})}}).ok());
  const Observation now = Read();
  EXPECT_TRUE(now.interrupts.empty());
  EXPECT_FALSE(now.fences.at(0).interrupts.has_value()) << "not measured is not 0";
}

class InterruptTest : public KernelTest {
 protected:
  InterruptTest() { measure_interrupts_ = true; }
  void SetUp() override {
    KernelTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    const Probe probe = verifier_->Probes().probes.back();
    if (!probe.attached) GTEST_SKIP() << "the interrupt programs do not run here: " << probe.reason;
  }
};

TEST_F(InterruptTest, OfExclusiveCpusAreCountedAndNeverFall) {
  ASSERT_TRUE(verifier_->Expect({{Exclusive("owner", {cpu_}), Shared("sidecar", {other_})}}).ok());
  Spinner spinner(Path("owner"), cpu_);
  spinner.AwaitRun(200 * kMs);
  const Observation now = Read();
  ASSERT_EQ(now.interrupts.size(), 1U);
  const InterruptTime time = now.interrupts.at(cpu_);
  EXPECT_GT(time.hard_ns, 0U) << "the scheduler's tick at least";
  EXPECT_LT(time.hard_ns + time.soft_ns, now.taken_ns);
  const InterruptTime own = now.fences.at(0).interrupts.value_or(InterruptTime{});
  EXPECT_GE(own.hard_ns, time.hard_ns) << "all of it is the owner's, and read a moment later";
  EXPECT_FALSE(now.fences.at(1).interrupts.has_value());

  ASSERT_TRUE(verifier_->Expect({{Shared("sidecar", {other_})}}).ok());
  const InterruptTime released = Read().interrupts.at(cpu_);
  EXPECT_GE(released.hard_ns, time.hard_ns);
  EXPECT_GE(released.soft_ns, time.soft_ns);
  spinner.AwaitRun(100 * kMs);
  EXPECT_EQ(Read().interrupts.at(cpu_).hard_ns, released.hard_ns) << "nobody owns the CPU any more";
}

// A user without rights gets a verifier all the same, that says why it sees little.
TEST_F(KernelTest, WithoutTheRightToLoadItRunsDegraded) {
  const pid_t child = fork();
  if (child == 0) {
    if (syscall(SYS_setuid, 65534) != 0) _exit(3);
    auto started = Verifier::Start({.cgroup_root = root_, .max_fences = 16});
    if (!started.ok()) _exit(4);
    for (const Probe& probe : (*started)->Probes().probes) {
      if (probe.name == "cpu_stat" || probe.name == "numa_stat") continue;  // files that anyone may read
      if (probe.attached || probe.reason.empty()) _exit(5);
    }
    if ((*started)->fd() != -1 || !(*started)->Expect({{Exclusive("owner", {cpu_})}}).ok()) _exit(6);
    absl::StatusOr<Observation> observation = (*started)->Read();
    if (!observation.ok() || observation->kernel_counted || observation->fences.size() != 1) _exit(7);
    if (!absl::IsUnavailable((*started)->Sweep())) _exit(8);
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace podfence
