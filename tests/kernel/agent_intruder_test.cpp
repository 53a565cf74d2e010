// What others do to a fenced node is found, named and, where that is the agent's to do, mended.

#include <gmock/gmock.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "tests/kernel/agent_fixture.h"

namespace podfence {
namespace {

constexpr char kDatabase[] = "tightly-coupled-database";

class IntruderTest : public AgentTest {
 protected:
  void SetUp() override {
    AgentTest::SetUp();
    AddExamplePods();
    StartAgent("pod");
    ASSERT_TRUE(AwaitRunning(2));
  }

  // A finding of the kind whose message has both texts.
  bool Found(const std::string& kind, const std::string& text, const std::string& more) {
    return Await([&](const Snapshot& snapshot) {
      return std::ranges::any_of(snapshot.findings, [&](const FindingView& finding) {
        return finding.kind == kind && finding.message.find(text) != std::string::npos &&
               finding.message.find(more) != std::string::npos;
      });
    });
  }
};

TEST_F(IntruderTest, AProcessMovedOntoAnExclusiveCpuIsNamed) {
  const CpuSet exclusive = Find(Now(), kDatabase, "database")->cpus;
  // A cgroup of the test's own that the agent's fence of the host has not seen yet, and the CPU is asked for at once.
  const std::string cgroup = "/sys/fs/cgroup/intruder";
  std::filesystem::create_directory(cgroup);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    WriteCgroupFile("intruder", "cgroup.procs", "0");
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(exclusive.First(), &set);
    while (true) sched_setaffinity(0, sizeof set, &set);
  }
  const bool named = Found("intrusion", "CPU " + std::to_string(exclusive.First()), "pid " + std::to_string(child));
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  EXPECT_TRUE(named);
  EXPECT_GT(Metric("podfence_findings_total{kind=\"intrusion\"}").value_or(0), 0);
  EXPECT_GT(Metric("podfence_foreign_run_seconds_total{class=\"host\"}").value_or(0), 0);
  while (rmdir(cgroup.c_str()) != 0 && errno == EBUSY) usleep(10000);
}

TEST_F(IntruderTest, ACpusetWidenedFromOutsideIsNamedAndRepaired) {
  const Snapshot before = Now();
  const CpuSet pool = Find(before, kDatabase, "backup-agent")->cpus;
  const CpuSet exclusive = Find(before, kDatabase, "database")->cpus;
  const std::string cgroup = CgroupOf(kDatabase, "backup-agent");
  ASSERT_TRUE(WriteCgroupFile(cgroup, "cpuset.cpus", (pool | exclusive).ToString()));
  EXPECT_TRUE(Found("drift", "backup-agent", "cpuset.cpus"));
  EXPECT_EQ(ReadCgroupFile(cgroup, "cpuset.cpus.effective"), pool.ToString());
  EXPECT_GT(Metric("podfence_drift_repairs_total").value_or(0), 0);
}

TEST_F(IntruderTest, AnAffinityWidenedFromOutsideIsNamed) {
  const Snapshot before = Now();
  const std::string cgroup = CgroupOf(kDatabase, "backup-agent");
  const std::set<pid_t> pids = Processes(cgroup);
  ASSERT_FALSE(pids.empty());
  const pid_t victim = *pids.begin();
  // The whole machine is asked for; the kernel grants what the cpuset allows, and the request is named all the same.
  cpu_set_t set;
  CPU_ZERO(&set);
  for (int cpu : before.machine.Cpus()) CPU_SET(cpu, &set);
  ASSERT_EQ(sched_setaffinity(victim, sizeof set, &set), 0);
  EXPECT_TRUE(Found("drift", "affinity", "pid " + std::to_string(getpid())));
}

TEST_F(IntruderTest, AQuotaOnThePodIsNamedAndLifted) {
  const std::string pod = std::filesystem::path(CgroupOf(kDatabase, "database")).parent_path();
  ASSERT_TRUE(WriteCgroupFile(pod, "cpu.max", "200000 100000"));
  EXPECT_TRUE(Found("drift", "cpu.max", pod.substr(pod.find('/') + 1)));
  EXPECT_THAT(ReadCgroupFile(pod, "cpu.max"), ::testing::StartsWith("max "));
}

}  // namespace
}  // namespace podfence
