// The agent ends and starts again at any moment without changing a decision; bad input takes nothing with it.

#include <gmock/gmock.h>
#include <signal.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "agent/state/state_json.h"
#include "tests/kernel/agent_fixture.h"

namespace podfence {
namespace {

using ::testing::HasSubstr;

constexpr char kDatabase[] = "tightly-coupled-database";
constexpr char kMl[] = "ml-workload";

class RestartTest : public AgentTest, public ::testing::WithParamInterface<int> {};

TEST_P(RestartTest, DecisionsAndProcessesGoOn) {
  AddExamplePods();
  StartAgent("pod");
  ASSERT_TRUE(AwaitRunning(2));
  const std::string decided = StateToJson(Now().state).dump();
  const std::string cgroup = CgroupOf(kDatabase, "database");
  const std::set<pid_t> processes = Processes(cgroup);
  const std::string cpus = ReadCgroupFile(cgroup, "cpuset.cpus.effective");

  const auto [code, said] = RunSecondAgent("pod");
  EXPECT_EQ(code, 1);
  EXPECT_THAT(said, HasSubstr("one agent a node"));

  EXPECT_EQ(EndAgent(GetParam()), GetParam() == SIGTERM ? 0 : -SIGKILL);
  EXPECT_EQ(Processes(cgroup), processes) << "containers go on without the agent";
  StartAgent("container");  // another configuration changes no decision either
  ASSERT_TRUE(AwaitRunning(2));
  EXPECT_EQ(StateToJson(Now().state).dump(), decided);
  EXPECT_EQ(Processes(cgroup), processes);
  EXPECT_EQ(ReadCgroupFile(cgroup, "cpuset.cpus.effective"), cpus);
  const Snapshot now = Now();
  for (const PodView& pod : now.pods) {
    for (const ContainerView& container : pod.containers) EXPECT_EQ(container.restarts, 0u) << container.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Signals, RestartTest, ::testing::Values(SIGTERM, SIGKILL),
                         [](const auto& info) { return info.param == SIGTERM ? "term" : "kill"; });

class ManifestTest : public AgentTest {};

TEST_F(ManifestTest, ARemovedManifestEndsItsPodAndABadOneTouchesNothing) {
  AddExamplePods();
  StartAgent("container");
  ASSERT_TRUE(AwaitRunning(2));
  const std::string cgroup = CgroupOf(kMl, "ml-training");
  const CpuSet shared = Now().state.shared_cpus;
  AddManifest("bad.yaml", "apiVersion: v1\nkind: Pod\nmetadata:\n  name: bad\nspec:\n  containers: 7\n");
  ASSERT_TRUE(Await([](const Snapshot& snapshot) { return snapshot.rejected.size() == 1; }));
  EXPECT_THAT(Now().rejected[0].message, HasSubstr("bad.yaml:6"));
  EXPECT_EQ(Now().pods.size(), 2u);
  RemoveManifest("bad.yaml");
  RemoveManifest("ml-workload.yaml");
  ASSERT_TRUE(Await([](const Snapshot& snapshot) { return snapshot.pods.size() == 1; }, absl::Seconds(60)));
  EXPECT_FALSE(std::filesystem::exists("/sys/fs/cgroup/" + cgroup));
  const Snapshot now = Now();
  EXPECT_TRUE(shared.IsSubsetOf(now.state.shared_cpus));
  EXPECT_EQ(now.state.shared_cpus.size(), shared.size() + 3);
  EXPECT_TRUE(now.rejected.empty());
}

TEST_F(ManifestTest, ADamagedCheckpointIsSetAsideAndThePodsGoOn) {
  AddExamplePods();
  StartAgent("pod");
  ASSERT_TRUE(AwaitRunning(2));
  const std::string cgroup = CgroupOf(kDatabase, "database");
  const std::set<pid_t> processes = Processes(cgroup);
  EndAgent(SIGKILL);
  {
    std::fstream file(work_ + "/state/state.json", std::ios::in | std::ios::out);
    file.seekp(200);
    file.put('#');
  }
  StartAgent("pod");
  ASSERT_TRUE(AwaitRunning(2));
  EXPECT_TRUE(std::filesystem::exists(work_ + "/state/state.damaged-1"));
  const Snapshot now = Now();
  EXPECT_TRUE(
      std::ranges::any_of(now.findings, [](const FindingView& finding) { return finding.kind == "checkpoint"; }));
  EXPECT_EQ(Processes(cgroup), processes);
  EXPECT_EQ(ReadCgroupFile(cgroup, "cpuset.cpus.effective"), Find(now, kDatabase, "database")->cpus.ToString());
}

}  // namespace
}  // namespace podfence
