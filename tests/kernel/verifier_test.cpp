// The verifier on a kernel that takes all its probes, with the cgroup controllers that make throttling and cpusets.
#include "agent/verifier/verifier.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <list>
#include <string>
#include <thread>

namespace podfence {
namespace {

using namespace std::chrono_literals;

constexpr char kRoot[] = "/sys/fs/cgroup";
constexpr uint64_t kMs = 1000000;

void WriteFile(const std::string& path, const std::string& value) {
  std::ofstream file(path);
  file << value << std::flush;
  ASSERT_TRUE(file.good()) << "cannot write " << value << " to " << path;
}

int SetAffinity(pid_t pid, const CpuSet& cpus) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (int cpu : cpus) CPU_SET(cpu, &set);
  return sched_setaffinity(pid, sizeof(set), &set);
}

// Runs `work` in another process, as somebody outside the agent would, and gives that process's id.
pid_t FromOutside(const std::function<void()>& work) {
  const pid_t pid = fork();
  if (pid == 0) {
    work();
    _exit(0);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  return pid;
}

class VerifierTest : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* cgroup : {"test", "test/pod1", "test/pod1/exclusive", "test/pod1/sidecar", "test/host"}) {
      std::filesystem::create_directory(Path(cgroup));
      if (std::string(cgroup) == "test" || std::string(cgroup) == "test/pod1") {
        WriteFile(Path(cgroup) + "/cgroup.subtree_control", "+cpu +cpuset");
      }
    }
    // The rest of the guest stays on the first core.
    WriteFile(Path("init.scope") + "/cpuset.cpus", "0-1");
    WriteFile(Path("test/pod1/exclusive") + "/cpuset.cpus", "4-5");
    WriteFile(Path("test/pod1/sidecar") + "/cpuset.cpus", "6");
    absl::StatusOr<std::unique_ptr<Verifier>> started = Verifier::Start({.cgroup_root = kRoot, .max_fences = 64});
    ASSERT_TRUE(started.ok()) << started.status();
    verifier_ = *std::move(started);
    ASSERT_TRUE(verifier_->Expect(Expected()).ok());
  }

  void TearDown() override {
    verifier_.reset();
    for (pid_t pid : children_) {
      kill(pid, SIGKILL);
      waitpid(pid, nullptr, 0);
    }
    for (const char* cgroup : {"test/pod1/exclusive", "test/pod1/sidecar", "test/pod1", "test/host", "test"}) {
      for (int i = 0; i < 100 && rmdir(Path(cgroup).c_str()) != 0; ++i) std::this_thread::sleep_for(20ms);
    }
    WriteFile(Path("init.scope") + "/cpuset.cpus", "0-23");  // the kernel refuses to empty it while tasks are in it
  }

  static std::string Path(const std::string& cgroup) { return std::string(kRoot) + "/" + cgroup; }

  static Expectations Expected() {
    return {{{.cgroup = "test/pod1/exclusive",
              .kind = FenceKind::kExclusive,
              .cpus = {4, 5},
              .pod = "uid-1",
              .container = "exclusive"},
             {.cgroup = "test/pod1/sidecar",
              .kind = FenceKind::kShared,
              .cpus = {6},
              .pod = "uid-1",
              .container = "sidecar"}}};
  }

  // A process that spins in a cgroup. It is stopped when it is moved there, as a runtime does it: a running one would
  // go on for some microseconds where it was, which the verifier sees.
  pid_t Spin(const std::string& cgroup) {
    const pid_t pid = fork();
    if (pid == 0) {
      raise(SIGSTOP);
      const volatile bool forever = true;
      while (forever) {
      }
    }
    waitpid(pid, nullptr, WUNTRACED);
    WriteFile(Path(cgroup) + "/cgroup.procs", std::to_string(pid));
    kill(pid, SIGCONT);
    children_.push_back(pid);
    return pid;
  }

  // The same, but it does its work there and ends.
  pid_t RunIn(const std::string& cgroup, const std::function<void()>& work) {
    const pid_t pid = fork();
    if (pid == 0) {
      raise(SIGSTOP);
      work();
      _exit(0);
    }
    waitpid(pid, nullptr, WUNTRACED);
    WriteFile(Path(cgroup) + "/cgroup.procs", std::to_string(pid));
    kill(pid, SIGCONT);
    waitpid(pid, nullptr, 0);
    return pid;
  }

  Observation Read() {
    absl::StatusOr<Observation> observation = verifier_->Read();
    EXPECT_TRUE(observation.ok()) << observation.status();
    return observation.ok() ? *observation : Observation{};
  }

  // What was found of one kind; all findings are printed for the log. Kernel threads that nobody keeps away from
  // exclusive CPUs here (rcu, unbound workers) are found rightly, and not what these tests are about.
  std::vector<KernelFinding> Poll(KernelFindingKind kind) {
    std::vector<KernelFinding> found;
    for (KernelFinding& finding : verifier_->Poll()) {
      printf("found: %s\n", finding.message.c_str());
      const bool kthread =
          finding.kind == KernelFindingKind::kIntrusion && finding.foreign == ForeignClass::kMovableKthread;
      if (finding.kind == kind && !kthread) found.push_back(std::move(finding));
    }
    return found;
  }

  bool Attached(const std::string& name) {
    for (const Probe& probe : verifier_->Probes().probes) {
      if (probe.name == name) return probe.attached;
    }
    return false;
  }

  std::list<pid_t> children_;
  std::unique_ptr<Verifier> verifier_;
};

TEST_F(VerifierTest, EveryProbeAttaches) {
  for (const Probe& probe : verifier_->Probes().probes) {
    printf("%-18s %-30s %s\n", probe.name.c_str(), probe.hook.c_str(),
           probe.attached ? "attached" : probe.reason.c_str());
    EXPECT_EQ(probe.attached, probe.wanted) << probe.name << ": " << probe.reason;
  }
}

TEST_F(VerifierTest, AKeptFenceIsAllAtHome) {
  Spin("test/pod1/exclusive");
  Spin("test/pod1/exclusive");
  Spin("test/pod1/sidecar");
  std::this_thread::sleep_for(500ms);
  const Observation before = Read();
  std::this_thread::sleep_for(3s);
  const Observation after = Read();
  const auto window = static_cast<double>(after.taken_ns - before.taken_ns);

  const double got = static_cast<double>(after.fences[0].cpu_ns - before.fences[0].cpu_ns) / window;
  printf("the exclusive container got %.3f of its 2 CPUs\n", got);
  EXPECT_GT(got, 2 * 0.94);
  EXPECT_LT(got, 2 * 1.05);
  for (ForeignClass foreign : {ForeignClass::kContainer, ForeignClass::kHost, ForeignClass::kPause}) {
    EXPECT_EQ(after.fences[0].foreign_ns[static_cast<size_t>(foreign)], 0U) << ForeignClassName(foreign);
  }
  EXPECT_EQ(after.escape_ns, 0U);
  EXPECT_EQ(after.miscounted_switches, 0U);
  EXPECT_EQ(after.bandwidth_mismatches, 0U);
  EXPECT_THAT(Poll(KernelFindingKind::kIntrusion), testing::IsEmpty());
  // The cgroup's own account is the same.
  ASSERT_FALSE(after.fences[0].bandwidth.empty());
  const double usage =
      static_cast<double>(after.fences[0].bandwidth[0].usage_ns - before.fences[0].bandwidth[0].usage_ns);
  EXPECT_NEAR(usage / window, got, 0.1);
}

TEST_F(VerifierTest, AProcessMovedOntoAnExclusiveCpuIsFound) {
  const pid_t intruder = Spin("test/host");
  ASSERT_EQ(SetAffinity(intruder, {5}), 0);
  std::this_thread::sleep_for(500ms);
  const Observation now = Read();
  EXPECT_GT(now.fences[0].foreign_ns[static_cast<size_t>(ForeignClass::kHost)], 100 * kMs);
  const std::vector<KernelFinding> found = Poll(KernelFindingKind::kIntrusion);
  ASSERT_FALSE(found.empty());
  EXPECT_EQ(found[0].pid, intruder);
  EXPECT_EQ(found[0].cpu, 5);
  EXPECT_EQ(found[0].container, "exclusive");
}

// Switches on a CPU that goes off and comes back are not all traced; no time of a task is lost with them.
TEST_F(VerifierTest, ACpuSwitchedOffAndOnLosesNoRun) {
  Spin("test/pod1/exclusive");
  Spin("test/pod1/exclusive");
  for (int i = 0; i < 5; ++i) {
    WriteFile("/sys/devices/system/cpu/cpu5/online", "0");
    const Observation off = Read();
    EXPECT_EQ(off.miscounted_switches, 0U);
    WriteFile("/sys/devices/system/cpu/cpu5/online", "1");
    std::this_thread::sleep_for(200ms);
    const Observation on = Read();
    EXPECT_EQ(on.miscounted_switches, 0U);
    EXPECT_GT(on.fences[0].cpu_ns, off.fences[0].cpu_ns);
    EXPECT_EQ(on.missed_runs, 0U);
  }
}

TEST_F(VerifierTest, ThrottlingThroughThePodsCgroupIsFoundAndNamed) {
  Spin("test/pod1/exclusive");
  Read();
  FromOutside([] { std::ofstream(Path("test/pod1") + "/cpu.max") << "20000 100000" << std::flush; });
  std::this_thread::sleep_for(1500ms);
  const Observation now = Read();
  ASSERT_EQ(now.fences[0].bandwidth.size(), 3U) << "itself, the pod, and the cgroup above";
  EXPECT_EQ(now.fences[0].bandwidth[0].throttled_periods, 0U) << "its own cgroup knows nothing of it";
  EXPECT_EQ(now.fences[0].bandwidth[1].cgroup, "test/pod1");
  EXPECT_EQ(now.fences[0].bandwidth[1].quota_us, 20000U);
  EXPECT_GT(now.fences[0].bandwidth[1].throttled_periods, 3U);
  EXPECT_GT(now.fences[0].bandwidth[1].throttled_ns, 100 * kMs);
  EXPECT_EQ(now.bandwidth_mismatches, 0U) << "cpu.stat and the scheduler say the same";

  bool throttled = false;
  bool quota = false;
  for (const KernelFinding& finding : verifier_->Poll()) {
    printf("found: %s\n", finding.message.c_str());
    throttled |= finding.kind == KernelFindingKind::kThrottling && finding.cgroup == "test/pod1" &&
                 finding.container == "exclusive";
    quota |= finding.kind == KernelFindingKind::kDrift && finding.cgroup == "test/pod1";
  }
  EXPECT_TRUE(throttled);
  EXPECT_TRUE(quota);

  WriteFile(Path("test/pod1") + "/cpu.max", "max");
  std::this_thread::sleep_for(300ms);
  Read();
  Poll(KernelFindingKind::kThrottling);
  std::this_thread::sleep_for(500ms);
  Read();
  EXPECT_THAT(Poll(KernelFindingKind::kThrottling), testing::IsEmpty()) << "nothing new once the quota is gone";
}

// A pod's sandbox may be throttled under the kubelet's quota, before the pod is decided.
TEST_F(VerifierTest, WhatWasThrottledBeforeItIsExpectedIsNotItsOwn) {
  ASSERT_TRUE(verifier_->Expect({}).ok());
  WriteFile(Path("test/pod1") + "/cpu.max", "10000 100000");
  Spin("test/pod1/exclusive");
  std::this_thread::sleep_for(500ms);
  WriteFile(Path("test/pod1") + "/cpu.max", "max");
  std::this_thread::sleep_for(300ms);
  ASSERT_TRUE(verifier_->Expect(Expected()).ok());
  const Observation now = Read();
  ASSERT_EQ(now.fences[0].bandwidth.size(), 3U);
  EXPECT_EQ(now.fences[0].bandwidth[1].throttled_periods, 0U);
  EXPECT_EQ(now.fences[0].bandwidth[1].throttled_ns, 0U);
  EXPECT_THAT(Poll(KernelFindingKind::kThrottling), testing::IsEmpty());

  // Its counters begin anew.
  WriteFile(Path("test/pod1") + "/cgroup.subtree_control", "-cpu");
  WriteFile(Path("test") + "/cgroup.subtree_control", "-cpu");
  WriteFile(Path("test") + "/cgroup.subtree_control", "+cpu");
  WriteFile(Path("test/pod1") + "/cgroup.subtree_control", "+cpu");
  EXPECT_EQ(Read().fences[0].bandwidth[1].throttled_ns, 0U);
  EXPECT_THAT(Poll(KernelFindingKind::kThrottling), testing::IsEmpty());
}

TEST_F(VerifierTest, TheSchedulersAccountIsThatOfCpuStatWhileItThrottles) {
  for (int i = 0; i < 3; ++i) Spin("test/pod1/exclusive");
  WriteFile(Path("test/pod1/exclusive") + "/cpu.max", "30000 50000");
  WriteFile(Path("test/pod1") + "/cpu.max", "50000 100000");
  for (int i = 0; i < 50; ++i) {
    std::this_thread::sleep_for(20ms);
    EXPECT_EQ(Read().bandwidth_mismatches, 0U);
  }
  EXPECT_GT(Read().fences[0].bandwidth[1].throttled_periods, 0U);
}

TEST_F(VerifierTest, AnAffinityWidenedFromOutsideIsNamedWithWhoDidIt) {
  if (!Attached("affinity_request")) GTEST_SKIP() << "affinity_request does not attach on this kernel";
  const pid_t task = Spin("test/pod1/exclusive");
  std::this_thread::sleep_for(100ms);
  const pid_t by = FromOutside([&] { SetAffinity(task, {4, 5, 6, 7}); });
  const std::vector<KernelFinding> found = Poll(KernelFindingKind::kDrift);
  ASSERT_FALSE(found.empty());
  EXPECT_EQ(found[0].pid, task);
  EXPECT_EQ(found[0].by_pid, by);
  EXPECT_EQ(found[0].container, "exclusive");

  FromOutside([&] { SetAffinity(task, {4, 5}); });
  EXPECT_THAT(Poll(KernelFindingKind::kDrift), testing::IsEmpty()) << "its own set";
}

TEST_F(VerifierTest, AnAffinityNarrowedFromOutsideIsNamedWithWhoDidIt) {
  if (!Attached("affinity_request")) GTEST_SKIP() << "affinity_request does not attach on this kernel";
  const pid_t task = Spin("test/pod1/exclusive");
  const pid_t by = FromOutside([&] { SetAffinity(task, {4}); });
  const std::vector<KernelFinding> found = Poll(KernelFindingKind::kDrift);
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].pid, task);
  EXPECT_EQ(found[0].by_pid, by);
  EXPECT_THAT(found[0].message, testing::HasSubstr("to less than its 4-5"));

  // A container pins its own threads as it likes.
  const pid_t own = RunIn("test/pod1/exclusive", [] { SetAffinity(0, {5}); });
  for (const KernelFinding& finding : Poll(KernelFindingKind::kDrift)) EXPECT_NE(finding.by_pid, own);
}

TEST_F(VerifierTest, AProcessMovedOutOfItsFenceIsFoundWithWhoDidItAndWhereItIs) {
  if (!Attached("cgroup_move")) GTEST_SKIP() << "cgroup_move does not attach on this kernel";
  const pid_t task = Spin("test/pod1/exclusive");
  EXPECT_THAT(Poll(KernelFindingKind::kEscape), testing::IsEmpty()) << "a launch is no escape";
  // Within the fence, and what the kernel refuses: the pod's cgroup passes controllers on and takes no processes.
  std::filesystem::create_directory(Path("test/pod1/exclusive/nested"));
  FromOutside([&] { std::ofstream(Path("test/pod1/exclusive/nested/cgroup.procs")) << task << std::flush; });
  FromOutside([&] { std::ofstream(Path("test/pod1/cgroup.procs")) << task << std::flush; });
  EXPECT_THAT(Poll(KernelFindingKind::kEscape), testing::IsEmpty());

  const pid_t by = FromOutside([&] { std::ofstream(Path("test/host/cgroup.procs")) << task << std::flush; });
  const std::vector<KernelFinding> found = Poll(KernelFindingKind::kEscape);
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].pid, task);
  EXPECT_EQ(found[0].by_pid, by);
  EXPECT_EQ(found[0].container, "exclusive");
  EXPECT_THAT(found[0].message, testing::HasSubstr("to /test/host by "));
  rmdir(Path("test/pod1/exclusive/nested").c_str());
}

TEST_F(VerifierTest, WhoWroteAFenceIsRememberedUntilItIsForgotten) {
  if (!Attached("cgroup_write")) GTEST_SKIP() << "cgroup_write does not attach on this kernel";
  const auto id = [](const std::string& cgroup) {
    struct stat info {};
    stat(Path(cgroup).c_str(), &info);
    return static_cast<uint64_t>(info.st_ino);
  };
  const auto writes = [](const std::string& file, const std::string& value) {
    return FromOutside([&] { std::ofstream(Path(file)) << value << std::flush; });
  };
  const pid_t own = writes("test/pod1/sidecar/cpuset.cpus", "6-9");
  const pid_t above = writes("test/pod1/cpu.max", "max");
  writes("test/host/cgroup.max.depth", "3");
  const std::optional<Writer> who = verifier_->WhoWrote(id("test/pod1/sidecar"), "cpuset.cpus");
  ASSERT_TRUE(who.has_value());
  EXPECT_EQ(who->pid, own);
  EXPECT_EQ(who->comm, "kernel_verifier");
  EXPECT_EQ(who->cgroup_id, id("init.scope"));
  EXPECT_GT(who->at_ns, 0U);
  EXPECT_EQ(verifier_->WhoWrote(id("test/pod1"), "cpu.max").value_or(Writer{}).pid, above);
  EXPECT_FALSE(verifier_->WhoWrote(id("test/host"), "cgroup.max.depth").has_value()) << "no fence, nor above one";
  ASSERT_TRUE(verifier_->RememberWriters({id("test/host")}).ok());
  const pid_t beside = writes("test/host/cgroup.max.depth", "4");
  EXPECT_EQ(verifier_->WhoWrote(id("test/host"), "cgroup.max.depth").value_or(Writer{}).pid, beside);
  EXPECT_EQ(verifier_->WhoWrote(id("test/pod1"), "cpu.max").value_or(Writer{}).pid, above) << "remembered as before";

  // Our own writes are the decision, and name nobody.
  WriteFile(Path("test/pod1/sidecar/cpuset.cpus"), "6");
  EXPECT_EQ(verifier_->WhoWrote(id("test/pod1/sidecar"), "cpuset.cpus").value_or(Writer{}).pid, own);
  verifier_->ForgetWriter(id("test/pod1/sidecar"), "cpuset.cpus");
  EXPECT_FALSE(verifier_->WhoWrote(id("test/pod1/sidecar"), "cpuset.cpus").has_value());
}

TEST_F(VerifierTest, WhatTheRingBufferHasNoRoomForIsCounted) {
  if (!Attached("affinity_request")) GTEST_SKIP() << "affinity_request does not attach on this kernel";
  verifier_.reset();
  absl::StatusOr<std::unique_ptr<Verifier>> started =
      Verifier::Start({.cgroup_root = kRoot, .max_fences = 64, .ring_bytes = 4096});
  ASSERT_TRUE(started.ok()) << started.status();
  verifier_ = *std::move(started);
  ASSERT_TRUE(verifier_->Expect(Expected()).ok());
  const pid_t task = Spin("test/pod1/exclusive");
  EXPECT_EQ(Read().lost_findings, 0U);
  constexpr int kEvents = 200;
  FromOutside([&] {
    for (int i = 0; i < kEvents; ++i) SetAffinity(task, {4, 5, 6});
  });
  const std::vector<KernelFinding> found = Poll(KernelFindingKind::kDrift);
  const uint64_t lost = Read().lost_findings;
  EXPECT_GT(lost, 0U);
  EXPECT_GE(found.size() + lost, static_cast<size_t>(kEvents)) << "told or counted, each of them";
  EXPECT_EQ(Read().failed_helpers, 0U);
}

TEST_F(VerifierTest, ACpusetWidenedFromOutsideIsNamedWithWhoDidIt) {
  const pid_t task = Spin("test/pod1/sidecar");
  std::this_thread::sleep_for(100ms);
  const pid_t by =
      FromOutside([] { std::ofstream(Path("test/pod1/sidecar") + "/cpuset.cpus") << "6-9" << std::flush; });
  if (Attached("affinity_change")) {
    const std::vector<KernelFinding> found = Poll(KernelFindingKind::kDrift);
    ASSERT_FALSE(found.empty());
    EXPECT_EQ(found[0].pid, task);
    EXPECT_EQ(found[0].by_pid, by);
  }
  ASSERT_TRUE(verifier_->Sweep().ok());
  const std::vector<KernelFinding> swept = Poll(KernelFindingKind::kDrift);
  ASSERT_EQ(swept.size(), 1U);
  EXPECT_EQ(swept[0].pid, task);
  EXPECT_EQ(swept[0].by_pid, 0);
}

// What the agent gives up after attaching (agent/privileges.h) is not missed here.
TEST_F(VerifierTest, OnceAttachedItNeedsNoCapability) {
  const pid_t task = Spin("test/pod1/sidecar");
  FromOutside([] { std::ofstream(Path("test/pod1/sidecar") + "/cpuset.cpus") << "6-9" << std::flush; });
  const pid_t child = fork();
  if (child == 0) {
    __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    const __user_cap_data_struct none[2] = {};
    if (syscall(SYS_capset, &header, none) != 0) _exit(2);
    const auto complain = [](int code, const absl::Status& status) {
      printf("without capabilities: %s\n", status.ToString().c_str());
      fflush(stdout);
      _exit(code);
    };
    Expectations other = Expected();
    other.fences[0].cpus = {4};
    if (absl::Status status = verifier_->Expect(other); !status.ok()) complain(3, status);
    if (absl::Status status = verifier_->Sweep(); !status.ok()) complain(4, status);
    const absl::StatusOr<Observation> seen = verifier_->Read();
    if (!seen.ok()) complain(5, seen.status());
    if (!seen->kernel_counted || seen->fences[1].cpu_ns == 0) _exit(6);
    const std::vector<KernelFinding> found = verifier_->Poll();
    if (std::ranges::none_of(found, [&](const KernelFinding& each) { return each.pid == task; })) _exit(7);
    struct stat info {};
    stat(Path("test/pod1/sidecar").c_str(), &info);
    if (Attached("cgroup_write") && !verifier_->WhoWrote(info.st_ino, "cpuset.cpus").has_value()) _exit(8);
    for (const Probe& probe : verifier_->Probes().probes) {
      if (probe.attached && !probe.reason.empty()) _exit(9);
    }
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST_F(VerifierTest, HandingACpuOverRaisesNoAlarm) {
  Spin("test/pod1/exclusive");
  Spin("test/pod1/sidecar");
  std::this_thread::sleep_for(200ms);
  for (int i = 0; i < 20; ++i) {
    // CPU 7 goes from the pool to the exclusive container and back, in the order that the enforcer keeps.
    Expectations wider = Expected();
    wider.fences[1].cpus = {6, 7};
    ASSERT_TRUE(verifier_->Expect(wider).ok());
    WriteFile(Path("test/pod1/sidecar") + "/cpuset.cpus", "6-7");
    WriteFile(Path("test/pod1/sidecar") + "/cpuset.cpus", "6");
    Expectations handed = Expected();
    handed.fences[0].cpus = {4, 5, 7};
    ASSERT_TRUE(verifier_->Expect(handed).ok());
    WriteFile(Path("test/pod1/exclusive") + "/cpuset.cpus", "4-5,7");
    WriteFile(Path("test/pod1/exclusive") + "/cpuset.cpus", "4-5");
  }
  const Observation now = Read();
  EXPECT_EQ(now.foreign_ns[static_cast<size_t>(ForeignClass::kContainer)], 0U);
  EXPECT_EQ(now.escape_ns, 0U);
  EXPECT_THAT(Poll(KernelFindingKind::kIntrusion), testing::IsEmpty());
}

}  // namespace
}  // namespace podfence
