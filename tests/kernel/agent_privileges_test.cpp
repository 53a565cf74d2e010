// What the agent may do after its probes are attached, and that it goes on with it.
#include <gmock/gmock.h>
#include <sys/capability.h>

#include <fstream>
#include <sstream>

#include "agent/core/text.h"
#include "tests/kernel/agent_fixture.h"

namespace podfence {
namespace {

// A set of capabilities that /proc says a process has.
uint64_t Capabilities(pid_t pid, const std::string& set) {
  std::ifstream lines(Cat("/proc/", pid, "/status"));
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(set + ":")) return std::stoull(line.substr(set.size() + 1), nullptr, 16);
  }
  ADD_FAILURE() << "no " << set << " of process " << pid;
  return 0;
}

TEST_F(AgentTest, GivesUpWhatOnlyAttachingNeedsAndGoesOn) {
  const uint64_t ours = Capabilities(getpid(), "CapEff");
  StartAgent("pod");
  const uint64_t kept = uint64_t{1} << CAP_DAC_OVERRIDE | uint64_t{1} << CAP_DAC_READ_SEARCH | uint64_t{1} << CAP_KILL |
                        uint64_t{1} << CAP_NET_BIND_SERVICE | uint64_t{1} << CAP_SYS_ADMIN |
                        uint64_t{1} << CAP_SYS_NICE;
  EXPECT_EQ(Capabilities(AgentPid(), "CapEff"), kept);
  EXPECT_EQ(Capabilities(AgentPid(), "CapPrm"), kept);

  // Launching: the containers have what they had before.
  AddExamplePods();
  ASSERT_TRUE(AwaitExamplePods());
  const std::string database = CgroupOf(Now(), kDatabase, "database");
  ASSERT_FALSE(database.empty());
  for (const pid_t pid : Processes(database)) EXPECT_EQ(Capabilities(pid, "CapEff"), ours);

  // Drift is repaired, and its writer named: the maps are read.
  const std::string cpus = ReadCgroupFile(database, "cpuset.cpus");
  ASSERT_TRUE(WriteCgroupFile(database, "cpu.max", "50000 100000"));
  EXPECT_TRUE(AwaitCgroupFile(database, "cpu.max", [](const std::string& max) { return max.starts_with("max"); }));
  EXPECT_TRUE(Await([](const Snapshot& snapshot) {
    return std::ranges::any_of(snapshot.findings, [](const FindingView& finding) {
      return finding.kind == "drift" && finding.message.find("written by kernel_agent") != std::string::npos;
    });
  }));
  // Counters go on: programs are run and maps are read and written.
  const std::vector<Snapshot> seen = Measure(1, absl::Seconds(1));
  EXPECT_TRUE(seen.back().collectors.at(0).up) << AgentLog();
  EXPECT_EQ(seen.back().collectors.at(0).errors, 0U) << AgentLog();
  EXPECT_GT(Find(seen.back(), kDatabase, "database")->cpu_seconds,
            Find(seen.front(), kDatabase, "database")->cpu_seconds);
  EXPECT_EQ(ReadCgroupFile(database, "cpuset.cpus"), cpus);
  EXPECT_EQ(seen.back().lost_events, 0U);
  for (const ProbeView& probe : seen.back().probes) EXPECT_TRUE(probe.running || !probe.wanted) << probe.name;
}

}  // namespace
}  // namespace podfence
