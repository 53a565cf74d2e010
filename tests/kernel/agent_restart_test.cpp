// The agent ends and starts again at any moment without changing a decision; bad input takes nothing with it.

#include <gmock/gmock.h>
#include <signal.h>

#include <filesystem>
#include <fstream>

#include "agent/commands/promises.h"
#include "agent/state/state_json.h"
#include "tests/kernel/agent_fixture.h"

namespace podfence {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;

// What was decided, as text.
std::string Decisions(const Snapshot& snapshot) { return StateToJson(snapshot.state).dump(1); }

void ExpectNoRestarts(const Snapshot& snapshot) {
  for (const PodView& pod : snapshot.pods) {
    for (const ContainerView& container : pod.containers) EXPECT_EQ(container.restarts, 0u) << container.name;
  }
}

class RestartTest : public AgentTest, public ::testing::WithParamInterface<int> {};

TEST_P(RestartTest, DecisionsAndProcessesGoOn) {
  AddExamplePods(Loops::kOneEach);
  StartAgent("pod");
  ASSERT_TRUE(AwaitExamplePods());
  const std::string decided = Decisions(Now());
  const std::map<std::string, std::string> containers = Containers();

  const auto [code, said] = RunSecondAgent("container");
  EXPECT_EQ(code, 1);
  EXPECT_THAT(said, HasSubstr("one agent a node"));
  EXPECT_EQ(Containers(), containers) << "the second agent touches nothing";
  EXPECT_EQ(Decisions(Now()), decided) << "and the first goes on";

  EXPECT_EQ(EndAgent(GetParam()), GetParam() == SIGTERM ? 0 : -SIGKILL);
  EXPECT_EQ(Containers(), containers) << "containers go on without the agent, on their CPUs";
  StartAgent("container");  // another configuration changes no decision either
  ASSERT_TRUE(AwaitExamplePods());
  EXPECT_EQ(Decisions(Now()), decided);
  EXPECT_EQ(Containers(), containers);
  ExpectNoRestarts(Now());
}

INSTANTIATE_TEST_SUITE_P(Signals, RestartTest, ::testing::Values(SIGTERM, SIGKILL),
                         [](const auto& info) { return info.param == SIGTERM ? "term" : "kill"; });

class ManifestTest : public AgentTest {};

TEST_F(ManifestTest, ARemovedManifestEndsItsPodAndABadOneTouchesNothing) {
  AddExamplePods();
  StartAgent("container");
  ASSERT_TRUE(AwaitExamplePods());
  const std::map<std::string, std::string> containers = Containers();
  const Snapshot before = Now();

  AddManifest("bad.yaml", "apiVersion: v1\nkind: Pod\nmetadata:\n  name: bad\nspec:\n  containers: 7\n");
  ASSERT_TRUE(Await([](const Snapshot& snapshot) { return !snapshot.rejected.empty(); }));
  const Snapshot beside = Now();
  EXPECT_THAT(beside.rejected, ElementsAre(AllOf(Field(&RejectedView::message, HasSubstr("/bad.yaml:6")),
                                                 Field(&RejectedView::source, HasSubstr("/bad.yaml")))));
  EXPECT_EQ(Decisions(beside), Decisions(before));
  EXPECT_EQ(Containers(), containers);
  RemoveManifest("bad.yaml");
  EXPECT_TRUE(Await([](const Snapshot& snapshot) { return snapshot.rejected.empty(); }));

  const std::string ml = std::filesystem::path(CgroupOf(before, kMl, "ml-training")).parent_path();
  ASSERT_TRUE(std::filesystem::exists("/sys/fs/cgroup/" + ml));
  const std::string database = CgroupOf(before, kDatabase, "database");
  const std::set<pid_t> processes = Processes(database);
  const CpuSet freed = Find(before, kMl, "ml-training")->cpus;
  RemoveManifest("ml-workload.yaml");
  ASSERT_TRUE(Await([](const Snapshot& snapshot) { return snapshot.pods.size() == 1; }, absl::Seconds(60)));
  EXPECT_FALSE(std::filesystem::exists("/sys/fs/cgroup/" + ml));
  EXPECT_EQ(freed.size(), 3);
  EXPECT_EQ(Now().state.shared_cpus, before.state.shared_cpus | freed);
  EXPECT_EQ(Processes(database), processes);
  for (const Promise& promise : JudgePromises(Measure(3, absl::Seconds(5)), /*busy=*/true)) {
    EXPECT_TRUE(promise.kept) << promise.pod << "/" << promise.container << ": " << promise.what << ": expected "
                              << promise.expected << ", seen " << promise.seen;
  }
}

TEST_F(ManifestTest, ADamagedCheckpointIsSetAsideAndThePodsGoOn) {
  AddExamplePods(Loops::kOneEach);
  StartAgent("pod");
  ASSERT_TRUE(AwaitExamplePods());
  const std::map<std::string, std::string> containers = Containers();
  const std::string decided = Decisions(Now());
  EXPECT_EQ(EndAgent(SIGKILL), -SIGKILL);
  {
    std::fstream file(work_ + "/state/state.json", std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(200);
    const int byte = file.get();
    ASSERT_NE(byte, EOF);
    file.seekp(200);
    file.put(static_cast<char>(byte ^ 1));
    ASSERT_TRUE(file.flush().good());
  }
  StartAgent("pod");
  ASSERT_TRUE(AwaitExamplePods());
  EXPECT_TRUE(std::filesystem::exists(work_ + "/state/state.damaged-1"));
  const Snapshot now = Now();
  EXPECT_THAT(now.findings, Contains(Field(&FindingView::kind, "checkpoint")));
  EXPECT_GT(Scrape()["podfence_findings_total{kind=\"checkpoint\"}"], 0);
  // The manifests are admitted in the same order, to the same places: nothing of what runs moves.
  EXPECT_EQ(Decisions(now), decided);
  EXPECT_EQ(Containers(), containers);
  ExpectNoRestarts(now);
}

}  // namespace
}  // namespace podfence
