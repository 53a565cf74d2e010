#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "agent/allocator/allocator.h"
#include "agent/commands/commands.h"
#include "agent/commands/policy_flags.h"
#include "agent/core/text.h"
#include "agent/pods/defaults.h"
#include "agent/pods/manifest.h"
#include "agent/state/store.h"
#include "agent/topology/topology.h"

namespace podfence {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr char kMachine[] = "numa:2(memory=64GiB) core:8 pu:2";

std::string PodText(std::string_view name, std::string_view cpus, std::string_view requested) {
  return Cat("apiVersion: v1\nkind: Pod\nmetadata: {name: ", name,
             "}\nspec:\n  containers:\n  - {name: c, image: i, resources: {limits: {cpu: '", cpus,
             "', memory: 4Gi}, requests: {cpu: '", requested, "'}}}\n");
}

class PlanTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "podfence-plan-XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string Write(const std::string& name, const std::string& text) const {
    std::string path = Cat(directory_, "/", name);
    std::ofstream(path) << text;
    return path;
  }

  int Run(std::vector<std::string> arguments) {
    out_.str("");
    err_.str("");
    CLI::App app("test");
    Invocation invocation{.out = out_, .err = err_};
    AddPlanCommand(app, invocation);
    // CLI11 takes them from the back.
    arguments.insert(arguments.begin(), {"plan", "--machine", kMachine});
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
    return invocation.exit_code;
  }

  std::string directory_;
  std::ostringstream out_;
  std::ostringstream err_;
};

TEST_F(PlanTest, EachPodIsPlacedBesideThoseBeforeIt) {
  const std::string file = Write("pods.yaml", Cat(PodText("one", "4", "4"), "---\n", PodText("two", "4", "4")));
  ASSERT_EQ(Run({file, "--reserved-cpus", "0", "--output", "json"}), 0) << err_.str();
  const nlohmann::json plan = nlohmann::json::parse(out_.str());
  ASSERT_EQ(plan["pods"].size(), 2U);
  const auto cpus = [&](size_t pod) {
    return *CpuSet::Parse(plan["pods"][pod]["containers"][0]["cpus"].get<std::string>());
  };
  EXPECT_EQ(cpus(0).size(), 4);
  EXPECT_EQ(cpus(1).size(), 4);
  EXPECT_EQ((cpus(0) | cpus(1)).size(), 8);
  EXPECT_EQ(plan["summary"], nlohmann::json({{"admitted", 2}, {"refused", 0}, {"invalid", 0}}));
}

TEST_F(PlanTest, ShowsWhereContainersLandAndTheNodeMap) {
  const std::string pods = Cat(PODFENCE_SOURCE_DIR, "/config/examples/pods/");
  ASSERT_EQ(Run({pods + "ml-workload.yaml", pods + "tightly-coupled-database.yaml", "--topology-manager-scope", "pod"}),
            0)
      << err_.str();
  EXPECT_THAT(out_.str(), AllOf(HasSubstr("default/ml-workload: fits"), HasSubstr("(the whole pod)"),
                                HasSubstr("metrics-exporter"), HasSubstr("NUMA node 1"), HasSubstr("2 of 2 pods fit")));
  EXPECT_THAT(err_.str(), IsEmpty());
}

TEST_F(PlanTest, APodThatDoesNotFitIsExplainedAndTheNextOneStillPlaced) {
  const std::string file = Write("pods.yaml", Cat(PodText("wide", "20", "20"), "---\n", PodText("small", "2", "2")));
  EXPECT_EQ(Run({file, "--topology-manager-policy", "single-numa-node"}), 1);
  EXPECT_THAT(out_.str(),
              AllOf(HasSubstr("default/wide: does not fit: TopologyAffinityError"), HasSubstr("instead of 20"),
                    HasSubstr("default/small: fits"), HasSubstr("1 of 2 pods fit")));
  EXPECT_EQ(Run({file, "--topology-manager-policy", "best-effort"}), 0);
}

TEST_F(PlanTest, AnInvalidPodIsBadInputAndTheOthersAreStillShown) {
  const std::string file = Write("pods.yaml", Cat(PodText("broken", "2", "3"), "---\n", PodText("good", "2", "2")));
  const std::string unreadable = Write("list.yaml", "kind: Pod\nmetadata: [\n");
  EXPECT_EQ(Run({unreadable, file, "/nonexistent/pod.yaml"}), 2);
  EXPECT_THAT(err_.str(),
              AllOf(HasSubstr(Cat(file, ": pod default/broken: spec.containers[0].resources.requests")),
                    HasSubstr(Cat(unreadable, ":")), HasSubstr("/nonexistent/pod.yaml: No such file or directory")));
  EXPECT_THAT(out_.str(), AllOf(HasSubstr("default/good: fits"), HasSubstr("3 invalid"), Not(HasSubstr("broken"))));
}

TEST_F(PlanTest, WrongPoliciesAreBadInput) {
  const std::string file = Write("pod.yaml", PodText("one", "2", "2"));
  EXPECT_EQ(Run({file, "--topology-manager-policy", "strict"}), 2);
  EXPECT_THAT(err_.str(), HasSubstr("topologyManagerPolicy"));
  EXPECT_THAT(out_.str(), IsEmpty());
  EXPECT_EQ(Run({file, "--state", directory_ + "/none"}), 2);
  EXPECT_THAT(err_.str(), HasSubstr(directory_ + "/none"));
}

TEST_F(PlanTest, FlagsWinOverTheFile) {
  PolicyFlags flags;
  flags.config_file = Write("podfence.yaml", "topologyManagerPolicy: restricted\ntopologyManagerScope: pod\n");
  flags.topology_policy = "none";
  const absl::StatusOr<Config> config = ConfigFromFlags(flags);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->policy.topology_manager_policy, "none");
  EXPECT_EQ(config->policy.topology_manager_scope, "pod");
}

TEST_F(PlanTest, CommandsAboutThisNodeTakeItsAgentsConfiguration) {
  const std::string nodes = Write("node.yaml", "mode: manage\nstateDirectory: /run/nodes\n");
  NodeFlags flags;
  EXPECT_EQ(ConfigFromFlags(flags, nodes)->mode, "manage");
  EXPECT_EQ(ConfigFromFlags(flags, nodes + ".none")->mode, "local") << "there is none";
  flags.state_dir = "/run/flags";
  EXPECT_EQ(ConfigFromFlags(flags, nodes)->state_directory, "/run/flags");
  const std::string broken = Write("broken.yaml", "mode: mange\n");
  EXPECT_THAT(std::string(ConfigFromFlags(flags, broken).status().message()), HasSubstr(broken));
  flags.policy.config_file = Write("named.yaml", "mode: audit\n");
  EXPECT_EQ(ConfigFromFlags(flags, broken)->mode, "audit") << "the file that is named";
}

TEST_F(PlanTest, PodsOfACheckpointKeepTheirCpusAndTheCheckpointIsNotTouched) {
  PolicyFlags flags;
  flags.machine = kMachine;
  const absl::StatusOr<Config> config = ConfigFromFlags(flags);
  absl::StatusOr<Machine> machine = LoadMachine(kMachine);
  ASSERT_TRUE(config.ok() && machine.ok());
  absl::StatusOr<Policy> policy = ComposePolicy(*config, *machine);
  ASSERT_TRUE(policy.ok());
  const absl::StatusOr<Allocator> allocator = Allocator::Create(*machine, *policy);
  ASSERT_TRUE(allocator.ok()) << allocator.status();
  std::vector<Pod> pods = *LoadManifests(PodText("there", "4", "4"), "there.yaml");
  DefaultPod(pods[0]);
  NodeState state = allocator->InitialState();
  const AdmitResult result = allocator->Admit(state, std::make_shared<const Pod>(pods[0]));
  ASSERT_TRUE(result.admitted());
  Apply(std::get<StateChange>(result.outcome), state);
  ASSERT_TRUE(StateStore::Open(directory_)->Commit(state).ok());
  const std::string checkpoint = directory_ + "/state.json";
  const auto written = std::filesystem::last_write_time(checkpoint);

  const std::string file = Write("pod.yaml", PodText("new", "4", "4"));
  ASSERT_EQ(Run({file, "--state", checkpoint, "--output", "json"}), 0) << err_.str();
  const nlohmann::json plan = nlohmann::json::parse(out_.str());
  const CpuSet planned = *CpuSet::Parse(plan["pods"][0]["containers"][0]["cpus"].get<std::string>());
  EXPECT_TRUE((planned & *state.pods.begin()->second.containers[0].cpus).empty());
  EXPECT_EQ(std::filesystem::last_write_time(checkpoint), written);
}

}  // namespace
}  // namespace podfence
