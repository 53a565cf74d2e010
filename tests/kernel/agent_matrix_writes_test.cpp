// Whoever writes a control file of a fence is found and undone at once, on the container, the pod and the top cgroup.

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "absl/time/clock.h"
#include "agent/core/text.h"
#include "tests/kernel/agent_matrix.h"

namespace podfence {
namespace {

constexpr char kTop[] = "podfence";
constexpr int kTimes = 3;

TEST_F(MatrixTest, AWriteToAFenceIsFoundAndUndoneAtOnce) {
  Start("60s");  // no sweep helps
  const std::string quota = "50000 100000";
  const std::string other = std::to_string(other_);
  const int free = (all_ - own_ - pool_).First();
  const std::string wider_pod = (own_ | pool_ | CpuSet{free}).ToString();
  const std::vector<Injection> writes = {
      Write(main_, "cpuset.cpus", std::to_string(own_.First())),
      Write(main_, "cpuset.mems", other),
      Write(main_, "cpu.max", quota),
      Write(main_, "cpu.weight", "7"),
      Write(main_, "memory.max", "1073741824"),
      Write(helper_, "cpuset.cpus", (pool_ | own_).ToString()),
      Write(helper_, "cpuset.mems", other),
      Write(helper_, "cpu.max", quota),
      Write(pod_, "cpuset.cpus", wider_pod),
      Write(pod_, "cpuset.mems", std::to_string(home_)),
      Write(pod_, "cpu.max", quota),
      Write(kTop, "cpuset.cpus", (all_ - CpuSet{free}).ToString()),
      Write(kTop, "cpuset.mems", std::to_string(home_)),
      Write(kTop, "cpu.max", quota),
      Write("init.scope", "cpuset.cpus", (ParseCpus(ReadCgroupFile("init.scope", "cpuset.cpus")) | own_).ToString()),
  };
  for (const Injection& write : writes) Inject(write, kTimes);

  if (partitioned_) {
    Inject(Write(main_, "cpuset.cpus.partition", "member"), kTimes);
    for (const std::string& cgroup : {pod_, std::string(kTop)}) {
      Injection partition = Write(cgroup, "cpuset.cpus.partition", "root");
      partition.refusable = true;
      // The kernel says beside the word whether it could keep it.
      partition.names = [this, cgroup](const FindingView& finding) {
        return finding.kind == "drift" && finding.cgroup == kRoot + cgroup && finding.file == "cpuset.cpus.partition" &&
               finding.seen.starts_with("root") && ByUs(finding, "cgroup_write");
      };
      Inject(partition, kTimes);
    }
    EXPECT_TRUE(AwaitCgroupFile(main_, "cpuset.cpus.partition", [](const std::string& text) { return text == "root"; }))
        << ReadCgroupFile(main_, "cpuset.cpus.partition");
  }

  Injection controller = Write(pod_, "cgroup.subtree_control", "-cpu");
  controller.names = [this](const FindingView& finding) {
    return finding.kind == "drift" && finding.cgroup == kRoot + pod_ && finding.file == "cgroup.subtree_control" &&
           finding.seen == "no cpu" && ByUs(finding, "cgroup_write");
  };
  Inject(controller, kTimes);
  EXPECT_TRUE(AwaitCgroupFile(helper_, "cpu.max", [](const std::string& text) { return !text.empty(); }));
  Finish();
}

TEST_F(MatrixTest, WhoFightsRepairsIsToldOf) {
  Start("2s");
  std::atomic<bool> fights = true;
  std::thread writer;
  Injection fight = Write(main_, "cpu.max", "50000 100000");
  fight.deed = "main: cpu.max, written again every 20 ms";
  const auto write = fight.act;
  fight.act = [&] {
    writer = std::thread([&] {
      while (fights) {
        write();
        absl::SleepFor(absl::Milliseconds(20));
      }
    });
    return absl::Now();
  };
  fight.names = [](const FindingView& finding) {
    return finding.kind == "drift" && finding.message.starts_with("someone undoes repairs again and again");
  };
  const auto repaired = std::exchange(fight.undone, nullptr);
  Inject(fight, 1);
  fights = false;
  writer.join();
  EXPECT_TRUE(AwaitCgroupFile(main_, "cpu.max", [](const std::string& max) { return max == "max 100000"; }))
      << "it wins in the end";
  EXPECT_TRUE(repaired());
  Finish();
}

}  // namespace
}  // namespace podfence
