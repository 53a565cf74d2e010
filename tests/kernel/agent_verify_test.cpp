// `podfence verify` says what is so, with an agent beside it or none, and lets everything be.

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>

#include "absl/time/clock.h"
#include "tests/kernel/agent_fixture.h"

namespace podfence {
namespace {

using nlohmann::json;

// A process in a cgroup among ours that nobody decided on.
class Stranger {
 public:
  static constexpr char kFolder[] = "/sys/fs/cgroup/podfence/stranger";

  Stranger() {
    std::filesystem::create_directory(kFolder);
    pid_ = fork();
    while (pid_ == 0) pause();
    EXPECT_TRUE(WriteCgroupFile("podfence/stranger", "cgroup.procs", std::to_string(pid_)));
  }
  Stranger(const Stranger&) = delete;
  Stranger& operator=(const Stranger&) = delete;
  ~Stranger() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    while (rmdir(kFolder) != 0 && errno == EBUSY) absl::SleepFor(absl::Milliseconds(10));
  }

 private:
  pid_t pid_ = -1;
};

class VerifyTest : public AgentTest {
 protected:
  void SetUp() override {
    AgentTest::SetUp();
    AddExamplePods(Loops::kOneEach);
    StartAgent("pod");
    ASSERT_TRUE(AwaitExamplePods());
    const Snapshot start = Now();
    ASSERT_NE(Find(start, kDatabase, "database"), nullptr);
    exclusive_ = Find(start, kDatabase, "database")->cpus;
    pool_ = Find(start, kDatabase, "backup-agent")->cpus;
    sidecar_ = CgroupOf(start, kDatabase, "backup-agent");
    ASSERT_FALSE(sidecar_.empty());
  }

  // The answer as JSON; the exit code must be the one expected.
  json Answer(int expected_code) {
    const auto [code, said] = Verify({"--output", "json"});
    EXPECT_EQ(code, expected_code) << said;
    json answer = json::parse(said, nullptr, /*allow_exceptions=*/false);
    EXPECT_TRUE(answer.is_object()) << said;
    return answer.is_object() ? answer : json{{"findings", json::array()}};
  }
  static bool Names(const json& answer, const std::string& kind, const std::string& container,
                    const std::string& cgroup, const std::string& file) {
    for (const json& finding : answer["findings"]) {
      if (finding["kind"] == kind && finding["container"] == container && finding["cgroup"] == cgroup &&
          finding["file"] == file) {
        return true;
      }
    }
    return false;
  }
  // Nobody repairs what the test does; at its end an agent gives the host back what it has.
  void WithoutAgent(const std::function<void()>& test) {
    ASSERT_EQ(EndAgent(SIGKILL), -SIGKILL);
    test();
    StartAgent("pod");
  }

  CpuSet exclusive_;     // the database's
  CpuSet pool_;          // its pod's shared pool
  std::string sidecar_;  // cgroup of the backup agent, which runs in that pool
};

TEST_F(VerifyTest, ExamplePodsAreCleanBesideTheAgentAndAfterItWasKilled) {
  const std::map<std::string, std::string> containers = Containers();
  json answer = Answer(0);
  EXPECT_EQ(answer["result"], "clean");
  EXPECT_EQ(answer["containers"], 5);
  EXPECT_EQ(Containers(), containers) << "nothing is touched";
  WithoutAgent([&] {
    const auto [code, said] = Verify({});
    EXPECT_EQ(code, 0);
    EXPECT_EQ(said, "verified 5 containers: clean\n");
  });
}

TEST_F(VerifyTest, WhatSomeoneChangedIsNamedAndNotRepaired) {
  WithoutAgent([&] {
    const std::string pod = std::filesystem::path(sidecar_).parent_path();
    ASSERT_TRUE(WriteCgroupFile(pod, "cpu.max", "200000 100000"));
    Stranger stranger;
    json answer = Answer(1);
    EXPECT_EQ(answer["result"], "findings");
    EXPECT_TRUE(Names(answer, "drift", "", "/sys/fs/cgroup/" + pod, "cpu.max")) << answer.dump(1);
    EXPECT_TRUE(Names(answer, "throttling", "database", "/sys/fs/cgroup/" + pod, "")) << answer.dump(1);
    EXPECT_TRUE(Names(answer, "drift", "", Stranger::kFolder, "cpuset.cpus")) << answer.dump(1);
    ASSERT_TRUE(WriteCgroupFile(pod, "cpu.max", "max 100000"));

    const CpuSet widened = pool_ | exclusive_;
    ASSERT_TRUE(WriteCgroupFile(sidecar_, "cpuset.cpus", widened.ToString()));
    answer = Answer(1);
    EXPECT_TRUE(Names(answer, "drift", "backup-agent", "/sys/fs/cgroup/" + sidecar_, "cpuset.cpus")) << answer.dump(1);
    EXPECT_EQ(ReadCgroupFile(sidecar_, "cpuset.cpus"), widened.ToString());
  });
}

}  // namespace
}  // namespace podfence
