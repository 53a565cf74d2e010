// The agent through an upgrade, and pods that come and go, on a real node.

#include <gmock/gmock.h>
#include <signal.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdlib>
#include <iostream>
#include <regex>
#include <string>
#include <string_view>

#include "absl/time/clock.h"
#include "agent/cgroup/unique_fd.h"
#include "agent/commands/api_client.h"
#include "agent/core/text.h"
#include "agent/core/unix_address.h"
#include "tests/e2e/node_fixture.h"
#include "tests/e2e/node_runtime.h"

namespace podfence {
namespace {

// Onto a CPU and off it again, all the time.
constexpr char kBursts[] = "while :; do dd if=/dev/zero of=/dev/null bs=1k count=100 2>/dev/null; sleep 0.3; done";

// In the emulated guest each takes seconds to start: 50 and more are for a run by hand.
int ChurnPods() {
  const char* text = std::getenv("PODFENCE_CHURN_PODS");
  return text == nullptr ? 20 : std::stoi(text);
}

class LifeTest : public NodeTest {
 protected:
  // How long the pod takes from its manifest until it runs.
  absl::Duration TimeToRun(const std::string& name, const std::string& manifest, absl::Duration patience) {
    const absl::Time begin = absl::Now();
    AddPod(name, manifest);
    EXPECT_TRUE(AwaitRunning(name, patience)) << PodStatus(name).dump(1);
    return absl::Now() - begin;
  }

  // Whether the agent says that the runtime asks it.
  static bool Connected() {
    const absl::StatusOr<std::string> exposition = FetchFromAgent(kAgent, "/metrics");
    return exposition.ok() && exposition->find("\npodfence_nri_connected 1") != std::string::npos;
  }

  size_t Occurrences(const std::string& program, std::string_view text) {
    const std::string log = Log(program, std::string::npos);
    size_t count = 0;
    for (size_t at = log.find(text); at != std::string::npos; at = log.find(text, at + 1)) ++count;
    return count;
  }
};

// Registering anew would wait for the stop, and hold up every other call of the runtime meanwhile.
TEST_F(LifeTest, AnUpgradeWhileAPodStopsHoldsUpNobody) {
  StartManaged();
  AddPod("steady", Exclusive("steady", 2));
  // It takes its whole grace period.
  AddPod("slow", Exclusive("slow", 2, "trap : TERM; while :; do sleep 1; done", 240));
  ASSERT_TRUE(AwaitRunning("steady"));
  ASSERT_TRUE(AwaitRunning("slow"));
  const absl::Duration before = TimeToRun("usual", Exclusive("usual", 2), absl::Seconds(60));
  const std::string steady = CgroupOf("steady", "app");
  const std::string cpus = ReadCgroup(steady, "cpuset.cpus");
  const std::string slow = CgroupOf("slow", "app");
  RemovePod("slow");
  const auto stops = [] {
    return std::regex_search(Log(RuntimeOfNode().program), std::regex("with timeout 240|timeout: 240s"));
  };
  ASSERT_TRUE(Await(stops, absl::Seconds(30))) << Log(RuntimeOfNode().program);

  StartNextAgent();
  ASSERT_TRUE(
      Await([&] { return Log("podfence").find("handed over to process") != std::string::npos; }, absl::Seconds(60)))
      << Log("podfence") << Log("podfence-next");
  // The former one does nothing any more, and ends when it is told to.
  End("podfence", SIGTERM);
  // A pod that is held up waits for the grace period's end, and so do all; a burst of load holds up one.
  absl::Duration after = absl::InfiniteDuration();
  size_t others = 0;
  while (others < 3 && after > before + absl::Seconds(5)) {
    const std::string name = Cat("other", ++others);
    after = TimeToRun(name, Exclusive(name, 2), absl::Seconds(60));
    std::cout << "a pod runs after " << before << " usually, and after " << after
              << " behind an upgrade while another pod stops\n";
  }
  EXPECT_LE(after, before + absl::Seconds(5));
  EXPECT_NE(ReadCgroup(slow, "cgroup.procs"), "") << "it still stops";
  EXPECT_EQ(Occurrences(RuntimeOfNode().program, "connected and synchronized"), 1u) << "nothing was registered anew";
  EXPECT_EQ(ReadCgroup(steady, "cpuset.cpus"), cpus);
  EXPECT_EQ(ReadCgroup(steady, "cpuset.cpus.effective"), cpus);
  EXPECT_EQ(ReadCgroup(CgroupOf("other1", "app"), "cpuset.cpus.partition"), "root");
  const Snapshot now = AgentNow();
  EXPECT_EQ(now.state.pods.size(), 3 + others) << "the stopping pod keeps its CPUs";
  EXPECT_EQ(now.verification.state, "clean") << Log("podfence-next");
  EXPECT_TRUE(Connected());
}

// Who asks and is gone before it has the answer: everything comes back, and the agent goes on as if nobody had asked.
TEST_F(LifeTest, ASuccessorThatDiesWhileItAsksChangesNothing) {
  StartManaged();
  AddPod("steady", Exclusive("steady", 2));
  ASSERT_TRUE(AwaitRunning("steady"));
  const absl::StatusOr<sockaddr_un> address = UnixAddress(StateDirectory() + "/handover.sock");
  ASSERT_TRUE(address.ok()) << address.status();
  const auto asked_in_vain = [&] {
    const UniqueFd asker(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    EXPECT_EQ(connect(asker.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address), 0) << errno;
    return Occurrences("podfence", "was gone when it was to get it") > 0;
  };
  // While a call of the runtime's is in progress the answer is "not now".
  ASSERT_TRUE(Await(asked_in_vain, absl::Seconds(30))) << Log("podfence");
  EXPECT_TRUE(Await(Connected, absl::Seconds(10))) << "it answers, and the runtime asks it\n" << Log("podfence");
  AddPod("other", Exclusive("other", 2));
  ASSERT_TRUE(AwaitRunning("other")) << Log("podfence");
  EXPECT_EQ(AgentNow().state.pods.size(), 2u);
  EXPECT_EQ(Occurrences(RuntimeOfNode().program, "connected and synchronized"), 1u) << "nothing was registered anew";
}

TEST_F(LifeTest, RestartsOfTheNodesProgramsChangeNoDecision) {
  StartManaged();
  AddPod("steady", Exclusive("steady", 3));
  ASSERT_TRUE(AwaitRunning("steady"));
  const std::string cgroup = CgroupOf("steady", "app");
  const std::string cpus = ReadCgroup(cgroup, "cpuset.cpus");
  ASSERT_EQ(CpuSet::Parse(cpus)->size(), 3);
  End(RuntimeOfNode().program, SIGTERM);
  EXPECT_TRUE(Await([&] { return !Connected(); }, absl::Seconds(30))) << Log("podfence");
  EXPECT_EQ(ReadCgroup(cgroup, "cpuset.cpus"), cpus);
  StartRuntime(RuntimeOfNode().required);
  EXPECT_TRUE(Await(Connected, absl::Seconds(60))) << "it comes back by itself\n" << Log("podfence");
  EXPECT_EQ(ReadCgroup(cgroup, "cpuset.cpus"), cpus);

  End("kubelet", SIGTERM);
  StartKubelet();
  ASSERT_TRUE(AwaitRunning("steady"));
  EXPECT_EQ(CgroupOf("steady", "app"), cgroup) << "the same container";
  EXPECT_EQ(ReadCgroup(cgroup, "cpuset.cpus"), cpus);

  // An exec is in its container's cgroup, and so on its CPUs.
  EXPECT_EQ(ExecIn(cgroup, "grep Cpus_allowed_list /proc/self/status"), Cat("Cpus_allowed_list:\t", cpus));

  // The sandbox dies: another one, with the pod's same UID.
  const std::string pod = cgroup.substr(0, cgroup.rfind('/'));
  ASSERT_TRUE(WriteCgroup(pod, "cgroup.kill", "1"));
  std::string next;
  ASSERT_TRUE(Await(
      [&] {
        next = CgroupOf("steady", "app");
        return !next.empty() && next != cgroup && AwaitRunning("steady");
      },
      absl::Seconds(120)))
      << Log("podfence");
  EXPECT_EQ(ReadCgroup(next, "cpuset.cpus"), cpus);
  EXPECT_EQ(AgentNow().state.pods.size(), 1u);
  EXPECT_EQ(Scrape().at("podfence_findings_total{kind=\"drift\"}"), 0) << Log("podfence");
  // The runtime goes on telling of the sandbox that ended, in which nothing lives.
  End("podfence", SIGTERM);
  StartAgent();
  ASSERT_TRUE(Await([] { return FetchSnapshot(kAgent).ok(); }, absl::Seconds(30))) << Log("podfence");
  std::string answer;
  EXPECT_TRUE(Await([&] { return RunPodfence("verify", answer) == 0; }, absl::Seconds(30))) << answer;
  EXPECT_EQ(ReadCgroup(next, "cpuset.cpus"), cpus);
}

TEST_F(LifeTest, ALostCheckpointIsRebuiltFromWhatContainersCarry) {
  StartManaged();
  // Admitted one after the other; by age alone the second would get the first's CPUs once that is gone.
  AddPod("first", Exclusive("first", 2));
  ASSERT_TRUE(AwaitRunning("first"));
  AddPod("second", Exclusive("second", 2));
  ASSERT_TRUE(AwaitRunning("second"));
  const std::string cgroup = CgroupOf("second", "app");
  const std::string cpus = ReadCgroup(cgroup, "cpuset.cpus");
  RemovePod("first");
  ASSERT_TRUE(AwaitGone("first"));
  ASSERT_TRUE(Await([&] { return AgentNow().state.pods.size() == 1; }, absl::Seconds(30)));
  End("podfence", SIGKILL);
  LoseCheckpoint();
  StartAgent();
  ASSERT_TRUE(Await([&] { return Connected() && AgentNow().state.pods.size() == 1; }, absl::Seconds(60)))
      << Log("podfence");
  EXPECT_EQ(ReadCgroup(cgroup, "cpuset.cpus"), cpus) << Log("podfence");
  EXPECT_EQ(ReadCgroup(cgroup, "cpuset.cpus.effective"), cpus);
}

// Small pods of all kinds are started and ended while exclusive ones come and go, and one stays and is busy.
TEST_F(LifeTest, NobodyRunsOnExclusiveCpusWhilePodsComeAndGo) {
  constexpr int kAtOnce = 10;
  const int pods = ChurnPods();
  StartManaged();
  AddPod("busy", Exclusive("busy", 2, "yes >/dev/null & yes >/dev/null"));
  ASSERT_TRUE(AwaitRunning("busy"));
  const std::string busy = CgroupOf("busy", "app");
  const uint64_t throttled = ThrottledUsec(busy);
  const auto foreign = [&](const char* kind) {
    return Scrape().at(Cat("podfence_foreign_run_seconds_total{class=\"", kind, "\"}"));
  };
  // The ones come while the others go.
  std::vector<std::string> last;
  int made = 0;
  for (int wave = 0; made < pods; ++wave) {
    const std::string exclusive = Cat("exclusive-", wave);
    AddPod(exclusive, Exclusive(exclusive, 1 + wave % 3));
    std::vector<std::string> names = {exclusive};
    for (int i = 0; i < kAtOnce; ++i, ++made) {
      names.push_back(Cat("small-", made));
      const bool burstable = made % 2 == 0;
      AddPod(names.back(), PodOf(names.back(), burstable ? "limits: {memory: 64Mi}" : "", kBursts));
    }
    for (const std::string& name : last) RemovePod(name);
    for (const std::string& name : names) ASSERT_TRUE(AwaitRunning(name, absl::Seconds(180))) << name;
    for (const std::string& name : last) ASSERT_TRUE(AwaitGone(name, absl::Seconds(180))) << name;
    last = std::move(names);
  }
  for (const std::string& name : last) RemovePod(name);
  for (const std::string& name : last) ASSERT_TRUE(AwaitGone(name, absl::Seconds(180))) << name;
  EXPECT_EQ(foreign("container"), 0) << Log("podfence");
  EXPECT_EQ(foreign("host"), 0) << Log("podfence");
  EXPECT_EQ(foreign("pause"), 0) << Log("podfence");
  ExpectNeverThrottled(busy, throttled);
  EXPECT_TRUE(Await([&] { return AgentNow().state.pods.size() == 1; }, absl::Seconds(60))) << "the others' are free";
  const std::map<std::string, double> series = Scrape();
  EXPECT_EQ(series.at("podfence_findings_total{kind=\"intrusion\"}"), 0) << Log("podfence");
  EXPECT_EQ(series.at("podfence_findings_total{kind=\"escape\"}"), 0) << Log("podfence");
}

}  // namespace
}  // namespace podfence
