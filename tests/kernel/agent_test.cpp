// The main job end to end: the example pods under both scopes, with every promise held against the kernel.

#include <gmock/gmock.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <iostream>

#include "absl/time/clock.h"
#include "agent/cgroup/task_stat.h"
#include "agent/commands/promises.h"
#include "agent/core/text.h"
#include "agent/enforcer/affinity.h"
#include "tests/kernel/agent_fixture.h"

namespace podfence {
namespace {

namespace fs = std::filesystem;

constexpr int kWindows = 3;
constexpr absl::Duration kWindow = absl::Seconds(10);

// An example pod: its exclusive container and what shares the rest of its budget.
struct Budget {
  std::string pod;
  std::string exclusive;
  int cpus;
  std::vector<std::string> sidecars;
  int rest;
};

struct Counters {
  std::string scope;
  double allocations_pod;
  double allocations_node;
  double node_exclusive;
  double pod_exclusive;
  double pod_shared;
};

// CPU time of a cgroup as cpu.stat tells it, and when it was read: both in seconds.
struct Usage {
  double time = 0;
  double used = 0;
};

double Monotonic() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

// A reader that loses its CPU between clock and file would mistake the rate: the closest pair of several is taken.
Usage ReadUsage(const std::string& cgroup) {
  Usage best;
  double closest = 1e9;
  for (int i = 0; i < 10; ++i) {
    const double before = Monotonic();
    const std::optional<uint64_t> used = CpuStatOf(cgroup, "usage_usec");
    const double after = Monotonic();
    EXPECT_TRUE(used.has_value()) << cgroup;
    if (after - before >= closest) continue;
    closest = after - before;
    best = {.time = (before + after) / 2, .used = static_cast<double>(used.value_or(0)) * 1e-6};
  }
  return best;
}

// CPUs' worth of time in the middle one of the windows between the readings.
double MedianRate(const std::vector<Usage>& readings) {
  std::vector<double> rates;
  for (size_t i = 1; i < readings.size(); ++i) {
    rates.push_back((readings[i].used - readings[i - 1].used) / (readings[i].time - readings[i - 1].time));
  }
  std::ranges::sort(rates);
  return rates[rates.size() / 2];
}

class MainJobTest : public AgentTest, public ::testing::WithParamInterface<Counters> {
 protected:
  // What the kernel has of a container is what was decided.
  void CheckDecision(const Snapshot& now, const Budget& budget) {
    const ContainerView* view = Find(now, budget.pod, budget.exclusive);
    ASSERT_NE(view, nullptr);
    EXPECT_EQ(view->cpus.size(), budget.cpus);
    EXPECT_EQ(view->mems.size(), 1) << "on one NUMA node";
    const NumaNode* node = now.machine.FindNode(view->mems.First());
    ASSERT_NE(node, nullptr);
    EXPECT_TRUE(view->cpus.IsSubsetOf(now.machine.CpusOf(*node))) << "CPUs and memory on the same NUMA node";
    const std::string cgroup = CgroupOf(now, budget.pod, budget.exclusive);
    ASSERT_FALSE(cgroup.empty());
    EXPECT_EQ(ReadCgroupFile(cgroup, "cpuset.cpus.effective"), view->cpus.ToString());
    EXPECT_EQ(ReadCgroupFile(cgroup, "cpuset.mems.effective"), view->mems.ToString());
    CheckNobodyElseMayRun(cgroup, view->cpus);
    for (const std::string& sidecar : budget.sidecars) {
      const ContainerView* shared = Find(now, budget.pod, sidecar);
      ASSERT_NE(shared, nullptr);
      EXPECT_EQ(shared->assignment, GetParam().scope == "pod" ? "pod_shared" : "node_shared");
      EXPECT_EQ(ReadCgroupFile(CgroupOf(now, budget.pod, sidecar), "cpuset.cpus.effective"),
                (shared->cpus.empty() ? now.state.shared_cpus : shared->cpus).ToString());
    }
  }

  // No user task outside the cgroup is allowed on any of its CPUs.
  void CheckNobodyElseMayRun(const std::string& cgroup, const CpuSet& cpus) {
    int looked_at = 0;
    for (const auto& process : fs::directory_iterator("/proc")) {
      const std::string name = process.path().filename();
      if (!std::ranges::all_of(name, [](unsigned char c) { return std::isdigit(c) != 0; })) continue;
      const absl::StatusOr<TaskStat> stat = ReadTaskStat("/proc", std::stoi(name));
      if (!stat.ok() || stat->IsKernelThread()) continue;
      std::string its_cgroup;
      std::ifstream(process.path() / "cgroup") >> its_cgroup;
      if (its_cgroup == "0::/" + cgroup) continue;
      std::ifstream status(process.path() / "status");
      for (std::string line; std::getline(status, line);) {
        if (!line.starts_with("Cpus_allowed_list:")) continue;
        ++looked_at;
        const std::string list = line.substr(line.find_first_not_of(" \t", line.find(':') + 1));
        EXPECT_FALSE(ParseCpus(list).Intersects(cpus)) << "process " << name << " of " << its_cgroup << ": " << list;
      }
    }
    EXPECT_GT(looked_at, 2) << "at least the agent, the test and the containers";
  }

  // Neither the cgroup nor any ancestor has a quota or was ever held by one. The root has no such files.
  static void CheckNeverThrottled(std::string cgroup) {
    ASSERT_FALSE(cgroup.empty());
    for (; !cgroup.empty(); cgroup = fs::path(cgroup).parent_path()) {
      EXPECT_EQ(CpuStatOf(cgroup, "nr_throttled"), 0u) << cgroup;
      EXPECT_EQ(CpuStatOf(cgroup, "throttled_usec"), 0u) << cgroup;
      EXPECT_THAT(ReadCgroupFile(cgroup, "cpu.max"), ::testing::StartsWith("max ")) << cgroup;
    }
    EXPECT_EQ(CpuStatOf("", "nr_throttled").value_or(0), 0u);
  }

  // All containers' CPU time over the windows, read from cgroupfs, with the agent's snapshots beside.
  void MeasureBoth(const Snapshot& now) {
    std::map<std::string, std::string> cgroups;
    for (const Budget& budget : budgets_) {
      cgroups[budget.exclusive] = CgroupOf(now, budget.pod, budget.exclusive);
      for (const std::string& sidecar : budget.sidecars) cgroups[sidecar] = CgroupOf(now, budget.pod, sidecar);
    }
    for (int i = 0; i <= kWindows; ++i) {
      if (i > 0) absl::SleepFor(kWindow);
      for (const auto& [container, cgroup] : cgroups) usage_[container].push_back(ReadUsage(cgroup));
      snapshots_.push_back(Now());
    }
  }

  void CheckCpuTime(const Budget& budget) {
    const double got = MedianRate(usage_[budget.exclusive]);
    EXPECT_GE(got, 0.98 * budget.cpus) << budget.exclusive;
    double rest = 0;
    for (const std::string& sidecar : budget.sidecars) rest += MedianRate(usage_[sidecar]);
    EXPECT_LE(rest, 1.02 * budget.rest) << budget.pod << ": sidecars are held to the rest of the budget";
    EXPECT_GE(rest, 0.5 * budget.rest) << budget.pod << ": the sidecars are busy, or they prove nothing";
    std::cout << budget.pod << ": " << budget.exclusive << " got " << got << " of " << budget.cpus << " CPUs, sidecars "
              << rest << " of " << budget.rest << '\n';
  }

  static void CheckCounters(const std::map<std::string, double>& metrics, const Counters& counters) {
    const auto expect = [&](const std::string& family, const std::string& label, double value) {
      for (const char* resource : {"cpu", "memory"}) {
        const std::string series = Cat("resource_manager_", family, "{resource_name=\"", resource, "\",", label, "\"}");
        const auto found = metrics.find(series);
        ASSERT_NE(found, metrics.end()) << series;
        EXPECT_EQ(found->second, value) << series;
      }
    };
    expect("allocations_total", "source=\"pod", counters.allocations_pod);
    expect("allocations_total", "source=\"node", counters.allocations_node);
    expect("allocation_errors_total", "source=\"pod", 0);
    expect("allocation_errors_total", "source=\"node", 0);
    expect("container_assignments", "assignment_type=\"node_exclusive", counters.node_exclusive);
    expect("container_assignments", "assignment_type=\"pod_exclusive", counters.pod_exclusive);
    expect("container_assignments", "assignment_type=\"pod_shared", counters.pod_shared);
  }

  const std::array<Budget, 2> budgets_ = {Budget{kDatabase, "database", 6, {"metrics-exporter", "backup-agent"}, 2},
                                          Budget{kMl, "ml-training", 3, {"service-mesh-sidecar"}, 1}};
  std::map<std::string, std::vector<Usage>> usage_;
  std::vector<Snapshot> snapshots_;
};

TEST_P(MainJobTest, EveryPromiseIsKeptBesideBusySidecars) {
  AddExamplePods();
  StartAgent(GetParam().scope);
  ASSERT_TRUE(AwaitExamplePods());
  const Snapshot now = Now();
  for (const Budget& budget : budgets_) CheckDecision(now, budget);
  MeasureBoth(now);
  for (const Promise& promise : JudgePromises(snapshots_, /*busy=*/true)) {
    EXPECT_TRUE(promise.kept) << promise.pod << "/" << promise.container << ": " << promise.what << ": expected "
                              << promise.expected << ", seen " << promise.seen;
  }
  for (const Budget& budget : budgets_) {
    CheckCpuTime(budget);
    CheckNeverThrottled(CgroupOf(now, budget.pod, budget.exclusive));
  }
  std::map<std::string, double> metrics = Scrape();
  // Not only while it was measured: from each container's first instruction on.
  for (const char* foreign : {"container", "host", "pause"}) {
    const std::string series = Cat("podfence_foreign_run_seconds_total{class=\"", foreign, "\"}");
    ASSERT_TRUE(metrics.contains(series)) << series;
    EXPECT_EQ(metrics[series], 0) << series;
  }
  CheckCounters(metrics, GetParam());
}

// The scheduler compares whole cores: with a busy sidecar on the SMT sibling of the third CPU it would leave two
// threads on one CPU and that one idle, for as long as all of them are busy.
TEST_F(AgentTest, NoThreadWaitsWhileAnExclusiveCpuIsIdle) {
  AddExamplePods();
  StartAgent("pod");
  ASSERT_TRUE(AwaitExamplePods());
  const Snapshot now = Now();
  const std::string cgroup = CgroupOf(now, kMl, "ml-training");
  if (!fs::exists(Cat("/sys/fs/cgroup/", cgroup, "/cpuset.cpus.exclusive"))) {
    GTEST_SKIP() << "this kernel has no remote partitions (Linux 6.7): the scheduler may do so";
  }
  const CpuSet cpus = Find(now, kMl, "ml-training")->cpus;
  const std::vector<int> cpu(cpus.begin(), cpus.end());
  ASSERT_EQ(cpu.size(), 3);
  ASSERT_TRUE(Find(now, kMl, "service-mesh-sidecar")->cpus.Contains(cpu[2] + 1)) << "on the third CPU's sibling";
  const std::set<pid_t> processes = Processes(cgroup);
  ASSERT_EQ(processes.size(), 4u) << "a shell and its three loops";
  const std::vector<pid_t> loops(std::next(processes.begin()), processes.end());
  ASSERT_EQ(SetAffinity(loops[0], CpuSet{cpu[0]}), absl::OkStatus());
  for (const size_t i : {1, 2}) ASSERT_EQ(SetAffinity(loops[i], CpuSet{cpu[1]}), absl::OkStatus());
  absl::SleepFor(absl::Milliseconds(500));
  for (const pid_t loop : loops) ASSERT_EQ(SetAffinity(loop, cpus), absl::OkStatus());
  absl::SleepFor(absl::Seconds(1));
  const Usage before = ReadUsage(cgroup);
  absl::SleepFor(absl::Seconds(5));
  const Usage after = ReadUsage(cgroup);
  EXPECT_GE((after.used - before.used) / (after.time - before.time), 0.98 * 3);
}

// The counters are those of the scenarios seed-… of the recorded decisions.
INSTANTIATE_TEST_SUITE_P(Scopes, MainJobTest,
                         ::testing::Values(Counters{"pod", 5, 0, 0, 2, 3}, Counters{"container", 0, 2, 2, 0, 0}),
                         [](const auto& info) { return info.param.scope; });

}  // namespace
}  // namespace podfence
