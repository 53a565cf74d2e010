// `podfence verify` where nothing runs, and what it says of what was found. What runs needs a kernel: tests/kernel.

#include "agent/verification.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "agent/state/store.h"
#include "agent/verification_view.h"
#include "agent/verify_command.h"
#include "tests/unit/cgroup/cgroup_tree.h"
#include "tests/unit/enforcer/pods.h"

namespace podfence {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// A node of 24 CPUs that was just booted: an agent of before decided, none has started since.
class VerifyCommandTest : public ::testing::Test {
 protected:
  void Decide(const PodAllocation& pod) {
    absl::StatusOr<StateStore> store = StateStore::Open(tree_.path() + "/state");
    ASSERT_TRUE(store.ok()) << store.status();
    ASSERT_EQ(store->Commit(StateOf("0,4-23", {pod})), absl::OkStatus());
  }
  int Run(std::vector<std::string> arguments = {}) {
    out_.str("");
    err_.str("");
    CLI::App app("test");
    Invocation invocation{.out = out_, .err = err_};
    AddVerifyCommand(app, invocation);
    arguments.insert(arguments.begin(),
                     {"verify", "--machine", "numa:2(memory=24GiB) core:12 pu:1", "--state-dir",
                      tree_.path() + "/state", "--cgroup-hierarchy", tree_.path(), "--no-fence-host"});
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
    return invocation.exit_code;
  }
  int RunJson(json& answer) {
    const int code = Run({"--output", "json"});
    answer = json::parse(out_.str());
    return code;
  }

  CgroupTree tree_{{File("cgroup.controllers", "cpuset cpu memory"), File("cpuset.cpus.effective", "0-23"),
                    File("cpuset.mems.effective", "0-1")}};
  std::ostringstream out_;
  std::ostringstream err_;
};

TEST_F(VerifyCommandTest, WhatDoesNotRunIsSaidAndIsNoFinding) {
  Decide(MlWorkload());
  const std::map<std::string, std::string> before = tree_.Contents();
  json answer;
  EXPECT_EQ(RunJson(answer), 0);
  EXPECT_EQ(answer, json::parse(R"({"result": "clean", "containers": 0, "findings": [], "unknown": [], "not_running": [
      {"pod": "default/ml", "container": "service-mesh-sidecar"}, {"pod": "default/ml", "container": "ml-training"}]})"));
  EXPECT_EQ(Run(), 0);
  EXPECT_THAT(out_.str(), AllOf(HasSubstr("Not running\n"), EndsWith("\nverified 0 containers: clean\n")));
  EXPECT_EQ(tree_.Contents(), before) << "nothing is written, no lock taken";
}

TEST_F(VerifyCommandTest, FindingsAreNamedWithAllTheirFacts) {
  Decide(MlWorkload());
  tree_.Set("cpu.max", "800000 100000");
  json answer;
  EXPECT_EQ(RunJson(answer), 1);
  EXPECT_EQ(answer["result"], "findings");
  ASSERT_EQ(answer["findings"].size(), 1U);
  json& finding = answer["findings"][0];
  EXPECT_THAT(finding["message"].get<std::string>(), HasSubstr("throttles exclusive containers"));
  for (const char* key : {"message", "since", "last_seen"}) EXPECT_EQ(finding.erase(key), 1U) << key;
  EXPECT_EQ(finding, json({{"kind", "quota"},
                           {"pod", ""},
                           {"container", ""},
                           {"cgroup", tree_.path()},
                           {"file", "cpu.max"},
                           {"cpu", nullptr},
                           {"expected", "max 100000"},
                           {"seen", "800000 100000"},
                           {"class", ""},
                           {"by", nullptr},
                           {"duration_seconds", nullptr},
                           {"repaired", false},
                           {"count", 1},
                           {"active", true}}));
}

TEST_F(VerifyCommandTest, WhatTheMachineDoesNotHaveIsAFinding) {
  PodAllocation pod = MlWorkload();
  pod.Find("ml-training")->cpus = CpuSet{1, 2, 24};
  Decide(pod);
  EXPECT_EQ(Run(), 1);
  EXPECT_THAT(out_.str(), AllOf(HasSubstr("misfit"), HasSubstr("holds CPUs 24"), EndsWith(": 1 finding\n")));
}

TEST_F(VerifyCommandTest, WhatCannotBeLookedAtIsUnknown) {
  json answer;
  EXPECT_EQ(RunJson(answer), 3);
  EXPECT_EQ(answer["result"], "unknown");
  EXPECT_EQ(answer["unknown"][0]["what"], tree_.path() + "/state/state.json");
  EXPECT_THAT(answer["unknown"][0]["reason"].get<std::string>(), HasSubstr("name its --state-dir"));
  EXPECT_FALSE(std::filesystem::exists(tree_.path() + "/state"));
  Decide(MlWorkload());
  tree_.Remove("cgroup.controllers");
  EXPECT_EQ(Run(), 3);
  EXPECT_THAT(out_.str(), AllOf(HasSubstr("is not cgroup v2"), EndsWith("unknown: 1 thing could not be looked at\n")));
  tree_.Set("state/state.json", "damaged");
  EXPECT_EQ(RunJson(answer), 3);
  EXPECT_THAT(answer["unknown"][0]["reason"].get<std::string>(), HasSubstr("is not a podfence checkpoint"));
}

TEST_F(VerifyCommandTest, BadInputIsSaidAndNotAnswered) {
  for (const char* window : {"soon", "-1s", "2h", "inf"}) {
    EXPECT_EQ(Run({"--window", window}), 2) << window;
    EXPECT_THAT(err_.str(), HasSubstr(window));
  }
  EXPECT_EQ(Run({"--config", "/nowhere.yaml"}), 2);
  EXPECT_THAT(out_.str(), IsEmpty());
}

TEST(VerificationTest, AFindingOutweighsWhatIsNotKnownAndBothAreShown) {
  Verification verification;
  verification.containers = 2;
  verification.unknown.push_back({"affinities (affinity_sweep)", "not on this kernel"});
  EXPECT_EQ(verification.Result(), "unknown");
  EXPECT_EQ(verification.ExitCode(), 3);
  verification.findings.push_back(
      {.kind = "intrusion", .pod = "default/ml", .container = "ml-training", .message = "somebody ran on CPU 3"});
  EXPECT_EQ(verification.Result(), "findings");
  EXPECT_EQ(verification.ExitCode(), 1);
  EXPECT_EQ(RenderVerification(verification, {80, false}),
            "Findings\n"
            "Finding    Where                   What\n"
            "intrusion  default/ml ml-training  somebody ran on CPU 3\n"
            "\n"
            "Not known\n"
            "What                         Why\n"
            "affinities (affinity_sweep)  not on this kernel\n"
            "\n"
            "verified 2 containers: 1 finding; 1 thing could not be looked at\n");
}

}  // namespace
}  // namespace podfence
