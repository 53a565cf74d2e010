// What the agent says of a fence that nobody wrote, or that it is not to mend.

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <optional>

#include "absl/time/clock.h"
#include "agent/core/text.h"
#include "tests/kernel/agent_fixture.h"

namespace podfence {
namespace {

class FindingsTest : public AgentTest {
 protected:
  void Start() {
    AddExamplePods();
    StartAgent("pod");
    ASSERT_TRUE(AwaitExamplePods());
    database_ = CgroupOf(Now(), kDatabase, "database");
    ASSERT_FALSE(database_.empty());
    cpus_ = ParseCpus(ReadCgroupFile(database_, "cpuset.cpus"));
    ASSERT_GT(cpus_.size(), 1);
  }
  static std::optional<FindingView> FindIn(const Snapshot& snapshot, const std::string& kind, const std::string& file,
                                           const std::string& cgroup) {
    const auto found = std::ranges::find_if(snapshot.findings, [&](const FindingView& finding) {
      return finding.kind == kind && finding.file == file && finding.cgroup == "/sys/fs/cgroup/" + cgroup;
    });
    return found == snapshot.findings.end() ? std::nullopt : std::optional(*found);
  }
  static bool SwitchCpu(int cpu, bool on) {
    std::ofstream file(Cat("/sys/devices/system/cpu/cpu", cpu, "/online"));
    file << (on ? "1" : "0") << std::flush;
    return file.good();
  }

  std::string database_;  // cgroup
  CpuSet cpus_;           // its own
};

TEST_F(FindingsTest, ACpuThatIsSwitchedOffIsNamedUntilItIsBackAndNothingFights) {
  Start();
  const int cpu = *(++cpus_.begin());
  const std::string list = cpus_.ToString();
  ASSERT_TRUE(SwitchCpu(cpu, false));
  EXPECT_TRUE(Await([&](const Snapshot& snapshot) {
    const std::optional<FindingView> finding = FindIn(snapshot, "cpu_offline", "", database_);
    return finding && finding->active && finding->container == "database" && finding->expected == list;
  }));
  const double repairs = Scrape()["podfence_drift_repairs_total"];
  absl::SleepFor(absl::Seconds(6));  // sweeps
  const Snapshot off = Now();
  EXPECT_EQ(FindIn(off, "drift", "cpuset.cpus.partition", database_), std::nullopt) << "nobody did it";
  EXPECT_EQ(Scrape()["podfence_drift_repairs_total"], repairs);
  EXPECT_EQ(ReadCgroupFile(database_, "cpuset.cpus"), list);
  EXPECT_EQ(Scrape()["podfence_verification_state{state=\"findings\"}"], 1);
  ASSERT_TRUE(SwitchCpu(cpu, true));
  EXPECT_TRUE(Await([&](const Snapshot& snapshot) {
    const std::optional<FindingView> finding = FindIn(snapshot, "cpu_offline", "", database_);
    return finding && !finding->active;
  }));
  EXPECT_TRUE(
      AwaitCgroupFile(database_, "cpuset.cpus.effective", [&](const std::string& text) { return text == list; }));
  if (std::filesystem::exists(Cat("/sys/fs/cgroup/", database_, "/cpuset.cpus.exclusive"))) {
    EXPECT_TRUE(
        AwaitCgroupFile(database_, "cpuset.cpus.partition", [](const std::string& text) { return text == "root"; }));
  }
}

TEST_F(FindingsTest, WithFindingsOnlyDriftIsToldOfAndStays) {
  AddSetting("repairDrift: false");
  Start();
  ASSERT_TRUE(WriteCgroupFile(database_, "cpu.max", "900000 100000"));
  const auto stands = [&](const Snapshot& snapshot) {
    const std::optional<FindingView> finding = FindIn(snapshot, "drift", "cpu.max", database_);
    return finding && finding->active && !finding->repaired && finding->seen == "900000 100000" && finding->count > 1;
  };
  EXPECT_TRUE(Await(stands)) << "at one sweep after the other";
  EXPECT_EQ(ReadCgroupFile(database_, "cpu.max"), "900000 100000");
  EXPECT_EQ(Scrape()["podfence_drift_repairs_total"], 0);
  EXPECT_NE(AgentLog().find("finding kind=drift"), std::string::npos);
  // Whoever looks first tells of it in the log: a reading of the scheduler's books, or the sweep that lets it be.
  EXPECT_TRUE(Await([&](const Snapshot& snapshot) {
    const std::optional<FindingView> finding = FindIn(snapshot, "drift", "cpu.max", database_);
    return finding && finding->message.find("not repaired: repairDrift is false") != std::string::npos;
  }));
  ASSERT_TRUE(WriteCgroupFile(database_, "cpu.max", "max"));
  EXPECT_TRUE(Await([&](const Snapshot& snapshot) {
    const std::optional<FindingView> finding = FindIn(snapshot, "drift", "cpu.max", database_);
    return finding && !finding->active;
  })) << "until someone takes it back";
}

}  // namespace
}  // namespace podfence
