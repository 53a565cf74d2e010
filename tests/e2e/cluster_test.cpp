// Podfence as a cluster's administrator installs it: by helm, on a node that has joined, with pods that come from the
// API server.

#include <gmock/gmock.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <thread>

#include "absl/time/clock.h"
#include "agent/commands/api_client.h"
#include "agent/core/text.h"
#include "tests/e2e/cluster_fixture.h"

namespace podfence {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsSupersetOf;
using testing::Not;

constexpr char kContainerScope[] = "config: {podSource: apiserver}";
constexpr char kPodScope[] = "config: {podSource: auto, topologyManagerScope: pod}";

TEST_F(ClusterTest, WhatStandsInTheWayIsInThePodsStatus) {
  // As if the kubelet's own manager were on.
  std::filesystem::create_directories("/run/e2e/kubelet");
  std::ofstream("/run/e2e/kubelet/config.yaml") << "kind: KubeletConfiguration\ncpuManagerPolicy: static\n";
  Release("kubeletDirectory: /run/e2e/kubelet");
  ASSERT_FALSE(HasFatalFailure());
  nlohmann::json preflight;
  EXPECT_TRUE(Await(
      [&] {
        const nlohmann::json pod = AgentPod();
        for (const char* state : {"state", "lastState"}) {
          const nlohmann::json::json_pointer ended(Cat("/status/initContainerStatuses/0/", state, "/terminated"));
          if (pod.contains(ended)) preflight = pod.at(ended);
        }
        return !preflight.empty();
      },
      absl::Seconds(120)))
      << AgentPod().dump(1);
  EXPECT_EQ(preflight.value("exitCode", 0), 1);
  EXPECT_THAT(preflight.value("message", ""), HasSubstr("cpuManagerPolicy"));
}

TEST_F(ClusterTest, TheChartBringsAReadyAgentThatSeesEverything) {
  Install(kContainerScope);
  ASSERT_FALSE(HasFatalFailure());
  const nlohmann::json pod = AgentPod();
  EXPECT_EQ(pod.value("/status/initContainerStatuses/0/name"_json_pointer, ""), "preflight");
  EXPECT_EQ(pod.value("/status/initContainerStatuses/0/state/terminated/exitCode"_json_pointer, -1), 0) << pod.dump(1);
  const Snapshot now = AgentNow();
  EXPECT_EQ(now.verification.state, "clean");
  for (const VerificationView::Reason& reason : now.verification.reasons) {
    ADD_FAILURE() << reason.what << ": " << reason.reason;
  }
  for (const ProbeView& probe : now.probes) {
    EXPECT_EQ(probe.running, probe.wanted) << probe.name << ": " << probe.reason;
  }
  EXPECT_THAT(Scrape(), IsSupersetOf({std::pair<const std::string, double>("podfence_nri_connected", 1),
                                      {"podfence_pod_source_up{source=\"apiserver\"}", 1}}));
}

TEST_F(ClusterTest, TheExamplePodsGetWhatTheyArePromised) {
  Install(kContainerScope);
  ASSERT_FALSE(HasFatalFailure());
  const std::map<std::string, double> before = Scrape();
  CreatePod(ExamplePod("ml-workload"));
  CreatePod(ExamplePod("tightly-coupled-database"));
  ASSERT_TRUE(AwaitRunning("ml-workload")) << PodStatus("ml-workload").dump(1);
  ASSERT_TRUE(AwaitRunning("tightly-coupled-database")) << PodStatus("tightly-coupled-database").dump(1);
  const std::vector<std::string> exclusive = {CgroupOf("ml-workload", "ml-training"),
                                              CgroupOf("tightly-coupled-database", "database")};
  const std::vector<double> promised = {3, 6};
  const std::vector<uint64_t> throttled = {ThrottledUsec(exclusive[0]), ThrottledUsec(exclusive[1])};
  const std::vector<double> got = MedianCpus(exclusive, 3, absl::Seconds(10));
  for (size_t i = 0; i < exclusive.size(); ++i) {
    std::cout << exclusive[i] << " got " << got[i] << " of " << promised[i] << " CPUs\n";
    EXPECT_GE(got[i], 0.98 * promised[i]);
    ExpectNeverThrottled(exclusive[i], throttled[i]);
    EXPECT_EQ(ReadCgroup(exclusive[i], "cpuset.cpus.partition"), "root");
  }
  std::map<std::string, double> after = Scrape();
  for (const char* series :
       {"podfence_foreign_run_seconds_total{class=\"container\"}", "podfence_foreign_run_seconds_total{class=\"host\"}",
        "podfence_foreign_run_seconds_total{class=\"pause\"}", "podfence_exclusive_throttled_seconds_total",
        "podfence_escaped_run_seconds_total"}) {
    ASSERT_TRUE(after.contains(series)) << series;
    EXPECT_EQ(after[series], before.at(series)) << series;
  }
}

TEST_F(ClusterTest, APodThatFitsNoNumaNodeFailsWithItsReason) {
  Install(kContainerScope);
  ASSERT_FALSE(HasFatalFailure());
  CreatePod(Exclusive("wide", 14));
  nlohmann::json pod;
  EXPECT_TRUE(Await(
      [&] {
        pod = Get(Cat(kPods, "/wide"));
        return pod.value("/status/phase"_json_pointer, "") == "Failed";
      },
      absl::Seconds(90)))
      << pod.dump(1);
  EXPECT_EQ(pod.value("/status/reason"_json_pointer, ""), "TopologyAffinityError");
  EXPECT_THAT(pod.value("/status/message"_json_pointer, ""), HasSubstr("Pod was rejected"));
  std::string events;
  EXPECT_TRUE(Await(
      [&] {
        events = Get("/api/v1/namespaces/default/events?fieldSelector=involvedObject.name%3Dwide").dump(1);
        return events.find("\"TopologyAffinityError\"") != std::string::npos;
      },
      absl::Seconds(30)))
      << events;
  EXPECT_THAT(AgentLog(), Not(HasSubstr("orbidden"))) << "the chart's RBAC is enough";
  EXPECT_THAT(events, HasSubstr("It would fit if container app asked for 12 exclusive CPUs instead of 14."));
}

TEST_F(ClusterTest, AResizeIsMadeOrRefusedWithItsReason) {
  Install(kContainerScope);
  ASSERT_FALSE(HasFatalFailure());
  const auto resize = [](const std::string& name, size_t container, const char* cpu) {
    nlohmann::json pod = Get(Cat(kPods, "/", name));
    nlohmann::json& resources = pod.at("spec").at("containers").at(container).at("resources");
    // The QoS class must not change.
    if (resources["requests"]["cpu"] == resources["limits"]["cpu"]) resources["requests"]["cpu"] = cpu;
    resources["limits"]["cpu"] = cpu;
    Replace(Cat(kPods, "/", name, "/resize"), pod);
  };
  // What the exclusive CPUs leave of the budget is decided with them.
  CreatePod(R"(
apiVersion: v1
kind: Pod
metadata: {name: mixed}
spec:
  hostNetwork: true
  terminationGracePeriodSeconds: 1
  containers:
  - {name: app, image: test.local/work:1, command: [sleep, "1000000"], resources: {limits: {cpu: 2, memory: 64Mi}}}
  - {name: side, image: test.local/work:1, command: [sleep, "1000000"], resources: {limits: {cpu: 500m, memory: 64Mi}}}
)");
  CreatePod(PodOf("plain", "requests: {cpu: 100m}, limits: {cpu: 200m, memory: 64Mi}"));
  ASSERT_TRUE(AwaitRunning("mixed")) << PodStatus("mixed").dump(1);
  ASSERT_TRUE(AwaitRunning("plain")) << PodStatus("plain").dump(1);
  const std::string side = CgroupOf("mixed", "side");
  const std::string plain = CgroupOf("plain", "app");
  EXPECT_EQ(ReadCgroup(side, "cpu.max"), "50000 100000");
  EXPECT_EQ(ReadCgroup(plain, "cpu.max"), "20000 100000");
  resize("mixed", 1, "700m");
  resize("plain", 0, "150m");
  EXPECT_TRUE(Await([&] { return ReadCgroup(plain, "cpu.max") == "15000 100000"; }, absl::Seconds(60)))
      << Get(Cat(kPods, "/plain")).dump(1);
  std::string said;
  EXPECT_TRUE(Await(
      [&] {
        said = Get(Cat(kPods, "/mixed")).value("/status/conditions"_json_pointer, nlohmann::json()).dump(1);
        return said.find("cannot be resized") != std::string::npos;
      },
      absl::Seconds(60)))
      << said;
  EXPECT_EQ(ReadCgroup(side, "cpu.max"), "50000 100000");
  EXPECT_EQ(Scrape()["podfence_findings_active{kind=\"drift\"}"], 0) << AgentLog();
}

TEST_F(ClusterTest, PauseAndEphemeralContainersRunOnNoExclusiveCpu) {
  Install(kContainerScope);
  ASSERT_FALSE(HasFatalFailure());
  CreatePod(Idle(ExamplePod("tightly-coupled-database")));
  ASSERT_TRUE(AwaitRunning("tightly-coupled-database")) << PodStatus("tightly-coupled-database").dump(1);
  nlohmann::json pod = Get(Cat(kPods, "/tightly-coupled-database"));
  pod["spec"]["ephemeralContainers"] = {
      {{"name", "debugger"}, {"image", "test.local/work:1"}, {"command", {"sleep", "1000000"}}}};
  Replace(Cat(kPods, "/tightly-coupled-database/ephemeralcontainers"), pod);
  std::string debugger;
  EXPECT_TRUE(Await(
      [&] {
        debugger = CgroupOf("tightly-coupled-database", "debugger");
        return !debugger.empty();
      },
      absl::Seconds(60)));
  const CpuSet own = *CpuSet::Parse(ReadCgroup(CgroupOf("tightly-coupled-database", "database"), "cpuset.cpus"));
  EXPECT_EQ(own.size(), 6);
  const std::string shared = ReadCgroup(CgroupOf("tightly-coupled-database", "backup-agent"), "cpuset.cpus");
  const std::filesystem::path parent(std::filesystem::path("/sys/fs/cgroup") / debugger / "..");
  int others = 0;
  for (const auto& entry : std::filesystem::directory_iterator(parent)) {
    if (!entry.is_directory()) continue;
    const std::string cgroup = entry.path().lexically_normal().lexically_relative("/sys/fs/cgroup");
    const CpuSet cpus = *CpuSet::Parse(ReadCgroup(cgroup, "cpuset.cpus.effective"));
    if (cpus == own) continue;
    ++others;
    EXPECT_EQ(cpus.ToString(), shared) << cgroup;
  }
  EXPECT_EQ(others, 3) << "the group of the shared containers, the ephemeral one and the pause process";
}

TEST_F(ClusterTest, PodsAreKnownAgainAfterTheApiServerWasKilled) {
  Install(kContainerScope);
  ASSERT_FALSE(HasFatalFailure());
  CreatePod(Exclusive("before", 2));
  ASSERT_TRUE(AwaitRunning("before"));
  const std::string cpus = ReadCgroup(CgroupOf("before", "app"), "cpuset.cpus");
  RestartApiServer();
  ASSERT_FALSE(HasFatalFailure());
  CreatePod(Exclusive("after", 2));
  ASSERT_TRUE(AwaitRunning("after")) << PodStatus("after").dump(1);
  EXPECT_EQ(CpuSet::Parse(ReadCgroup(CgroupOf("after", "app"), "cpuset.cpus"))->size(), 2);
  EXPECT_EQ(ReadCgroup(CgroupOf("before", "app"), "cpuset.cpus"), cpus);
  EXPECT_EQ(Scrape()["podfence_pod_source_up{source=\"apiserver\"}"], 1);
  EXPECT_EQ(AgentNow().state.pods.size(), 2u);
  // And what happened there is heard of again.
  DeletePod("before");
  EXPECT_TRUE(Await([] { return AgentNow().state.pods.size() == 1; }, absl::Seconds(30)));
}

// The rules that users load, but for `for`, which is shorter (control_plane.sh).
TEST_F(ClusterTest, PrometheusAlertsWhenAFenceIsBroken) {
  Install(kContainerScope);
  ASSERT_FALSE(HasFatalFailure());
  CreatePod(Exclusive("victim", 3));
  ASSERT_TRUE(AwaitRunning("victim"));
  const std::string cgroup = CgroupOf("victim", "app");
  const std::string cpus = ReadCgroup(cgroup, "cpuset.cpus");
  ASSERT_EQ(CpuSet::Parse(cpus)->size(), 3);
  ASSERT_TRUE(Await(
      [] {
        const absl::StatusOr<std::string> up = FetchFromAgent(kPrometheus, "/api/v1/query?query=podfence_pods");
        return up.ok() && up->find("admitted") != std::string::npos;
      },
      absl::Seconds(60)))
      << "Prometheus scrapes the agent";
  absl::SleepFor(absl::Seconds(12));
  EXPECT_THAT(Alerts("firing"), Not(Contains("PodfenceFenceBroken")));
  EXPECT_THAT(Alerts("firing"), Not(Contains("PodfenceDriftRepeated")));

  // A program that has its own idea of the container's CPUs, and does not let go.
  std::atomic<bool> broken = true;
  std::thread writer([&] {
    const std::string others = Cat(CpuSet::Parse(cpus)->First());
    while (broken) {
      WriteCgroup(cgroup, "cpuset.cpus", others);
      absl::SleepFor(absl::Milliseconds(100));
    }
  });
  const absl::Time begin = absl::Now();
  EXPECT_TRUE(Await([] { return Alerts("firing").contains("PodfenceFenceBroken"); }, absl::Seconds(120)))
      << testing::PrintToString(Alerts("pending"));
  std::cout << "silent for 12 s, then PodfenceFenceBroken fired " << absl::ToInt64Seconds(absl::Now() - begin)
            << " s after the first write\n";
  broken = false;
  writer.join();
  EXPECT_TRUE(Await([&] { return ReadCgroup(cgroup, "cpuset.cpus") == cpus; }, absl::Seconds(60))) << "and is mended";
  EXPECT_TRUE(Await([] { return !Alerts("firing").contains("PodfenceFenceBroken"); }, absl::Seconds(60)));
}

TEST_F(ClusterTest, AnUpgradeRollsTheAgentAndChangesNoDecision) {
  Install(kContainerScope);
  ASSERT_FALSE(HasFatalFailure());
  CreatePod(Idle(ExamplePod("ml-workload")));
  ASSERT_TRUE(AwaitRunning("ml-workload"));
  const std::string training = CgroupOf("ml-workload", "ml-training");
  const std::string sidecar = CgroupOf("ml-workload", "service-mesh-sidecar");
  const std::vector<std::string> before = {ReadCgroup(training, "cpuset.cpus"), ReadCgroup(sidecar, "cpuset.cpus"),
                                           ReadCgroup(sidecar, "cpu.max")};
  const std::string agent = AgentPod().value("/metadata/uid"_json_pointer, "");
  Install(kPodScope);
  ASSERT_FALSE(HasFatalFailure());
  EXPECT_NE(AgentPod().value("/metadata/uid"_json_pointer, ""), agent) << "the changed configuration made a new pod";
  EXPECT_EQ(AgentNow().policy.topology_manager_scope, "pod");
  EXPECT_EQ(Scrape()["podfence_pod_source_up{source=\"podsapi\"}"], 1) << "auto takes the kubelet's own";
  EXPECT_EQ(CgroupOf("ml-workload", "ml-training"), training) << "the container ran on";
  EXPECT_EQ(before, (std::vector<std::string>{ReadCgroup(training, "cpuset.cpus"), ReadCgroup(sidecar, "cpuset.cpus"),
                                              ReadCgroup(sidecar, "cpu.max")}));
  EXPECT_EQ(ReadCgroup(training, "cpuset.cpus.effective"), before[0]);
}

// The steps of the chart's README.
TEST_F(ClusterTest, UninstalledTheNodeIsAsKubernetesAloneWouldHaveIt) {
  Install(kPodScope);
  ASSERT_FALSE(HasFatalFailure());
  CreatePod(Idle(ExamplePod("ml-workload")));
  ASSERT_TRUE(AwaitRunning("ml-workload"));
  const std::string training = CgroupOf("ml-workload", "ml-training");
  Install("config: {podSource: auto, topologyManagerScope: pod, releaseOnExit: true}");
  ASSERT_FALSE(HasFatalFailure());
  EXPECT_EQ(CpuSet::Parse(ReadCgroup(training, "cpuset.cpus"))->size(), 3) << "the last run fences too";
  Uninstall();
  ASSERT_FALSE(HasFatalFailure());
  EXPECT_EQ(CgroupOf("ml-workload", "ml-training"), training) << "the container ran on";
  // The kernel does not let a set be emptied under a process: all CPUs are the same.
  EXPECT_THAT(ReadCgroup(training, "cpuset.cpus"), testing::AnyOf("", "0-23"));
  EXPECT_EQ(ReadCgroup(training, "cpuset.cpus.partition"), "member");
  EXPECT_EQ(ReadCgroup(training, "cpu.max"), "300000 100000");
  EXPECT_EQ(ReadCgroup(training.substr(0, training.rfind('/')), "cpu.max"), "400000 100000");
  EXPECT_TRUE(Get("/apis/rbac.authorization.k8s.io/v1/clusterroles/podfence").empty());
}

}  // namespace
}  // namespace podfence
