// Podfence on a node whose kubelet has its managers off.

#include <gmock/gmock.h>
#include <signal.h>

#include <algorithm>
#include <filesystem>
#include <iostream>

#include "agent/commands/api_client.h"
#include "agent/core/text.h"
#include "tests/e2e/node_fixture.h"
#include "tests/e2e/node_runtime.h"

namespace podfence {
namespace {

class ManageTest : public NodeTest {
 protected:
  // A word of what the kubelet says of a pod; empty where it says nothing there.
  static std::string StatusWord(const std::string& pod, const std::string& place) {
    const nlohmann::json status = PodStatus(pod);
    const nlohmann::json::json_pointer pointer(place);
    return status.is_object() && status.contains(pointer) ? status.at(pointer).get<std::string>() : "";
  }
  // What the exclusive container of an example pod gets, and that nothing and nobody held it up.
  void ExpectPromise(const std::string& pod, const std::string& container, double cpus) {
    const std::string cgroup = CgroupOf(pod, container);
    ASSERT_NE(cgroup, "");
    const uint64_t throttled = ThrottledUsec(cgroup);
    const double got = MedianCpus(cgroup, 3, absl::Seconds(10));
    std::cout << pod << '/' << container << ": " << got << " of " << cpus << " CPUs\n";
    EXPECT_GE(got, 0.98 * cpus) << cgroup;
    ExpectNeverThrottled(cgroup, throttled);
    EXPECT_EQ(ReadCgroup(cgroup, "cpuset.cpus.partition"), "root");
    // Nobody else of the pod may run there: under systemd CRI-O's monitors are in its cgroup.
    const CpuSet own = *CpuSet::Parse(ReadCgroup(cgroup, "cpuset.cpus"));
    const std::string parent = Cat("/sys/fs/cgroup/", cgroup.substr(0, cgroup.rfind('/')));
    for (const auto& entry : std::filesystem::recursive_directory_iterator(parent)) {
      const std::string other = entry.path().lexically_relative("/sys/fs/cgroup");
      if (!entry.is_directory() || other.starts_with(cgroup) || ReadCgroup(other, "cgroup.procs").empty()) continue;
      const CpuSet cpus = *CpuSet::Parse(ReadCgroup(other, "cpuset.cpus.effective"));
      std::cout << other << ": " << cpus.ToString() << '\n';
      EXPECT_FALSE(cpus.Intersects(own)) << other;
    }
  }
};

TEST_F(ManageTest, TheExampleWithAContainerScope) {
  StartManaged("topologyManagerScope: container\n");
  AddExamplePod("ml-workload");
  ASSERT_TRUE(AwaitRunning("ml-workload")) << PodStatus("ml-workload").dump(1);
  ExpectPromise("ml-workload", "ml-training", 3);
  const std::string sidecar = CgroupOf("ml-workload", "service-mesh-sidecar");
  EXPECT_LE(MedianCpus(sidecar, 3, absl::Seconds(5)), 1.02) << "the pod's limit less the exclusive CPUs";
  EXPECT_EQ(ReadCgroup(sidecar, "cpu.max"), "100000 100000");
  const std::map<std::string, double> series = Scrape();
  EXPECT_EQ(series.at("podfence_foreign_run_seconds_total{class=\"container\"}"), 0);
  EXPECT_EQ(series.at("podfence_foreign_run_seconds_total{class=\"host\"}"), 0);
  EXPECT_EQ(series.at("podfence_exclusive_throttled_seconds_total"), 0);
  // The kubelet writes the pod's cpu.max once more after its start, and says so before.
  EXPECT_EQ(series.at("podfence_findings_total{kind=\"drift\"}"), 0) << Log("podfence");
  EXPECT_EQ(
      series.at("resource_manager_container_assignments{resource_name=\"cpu\",assignment_type=\"node_exclusive\"}"), 1);

  // Several sidecars share what the exclusive CPUs leave.
  RemovePod("ml-workload");
  AddPod("mixed", R"(
apiVersion: v1
kind: Pod
metadata: {name: mixed}
spec:
  hostNetwork: true
  terminationGracePeriodSeconds: 1
  resources: {requests: {cpu: 3500m, memory: 256Mi}, limits: {cpu: 3500m, memory: 256Mi}}
  containers:
  - name: app
    image: test.local/work:1
    command: [sh, -c, "yes >/dev/null & yes >/dev/null"]
    resources: {limits: {cpu: 2, memory: 64Mi}}
  - {name: left, image: test.local/work:1, command: [sh, -c, "yes >/dev/null & yes >/dev/null"]}
  - {name: right, image: test.local/work:1, command: [sh, -c, "yes >/dev/null & yes >/dev/null"]}
)");
  ASSERT_TRUE(AwaitRunning("mixed")) << PodStatus("mixed").dump(1);
  const std::string app = CgroupOf("mixed", "app");
  const std::string left = CgroupOf("mixed", "left");
  const std::string right = CgroupOf("mixed", "right");
  const std::string group = left.substr(0, left.rfind('/'));
  EXPECT_EQ(group, right.substr(0, right.rfind('/')));
  EXPECT_NE(group, app.substr(0, app.rfind('/')));
  EXPECT_EQ(ReadCgroup(group, "cpu.max"), "150000 100000");
  EXPECT_EQ(ReadCgroup(left, "cpu.max"), "max 100000");
  const uint64_t throttled = ThrottledUsec(app);
  const std::vector<double> got = MedianCpus({app, left, right}, 3, absl::Seconds(5));
  std::cout << "app " << got[0] << ", left " << got[1] << ", right " << got[2] << " CPUs\n";
  EXPECT_GE(got[0], 0.98 * 2);
  EXPECT_LE(got[1] + got[2], 1.53);
  EXPECT_GE(got[1] + got[2], 1.3) << "and nearly all of it";
  ExpectNeverThrottled(app, throttled);
}

TEST_F(ManageTest, TheExampleWithAPodScope) {
  StartManaged("topologyManagerScope: pod\n");
  AddExamplePod("tightly-coupled-database");
  ASSERT_TRUE(AwaitRunning("tightly-coupled-database")) << PodStatus("tightly-coupled-database").dump(1);
  ExpectPromise("tightly-coupled-database", "database", 6);
  const CpuSet own = *CpuSet::Parse(ReadCgroup(CgroupOf("tightly-coupled-database", "database"), "cpuset.cpus"));
  const CpuSet rest = *CpuSet::Parse(ReadCgroup(CgroupOf("tightly-coupled-database", "backup-agent"), "cpuset.cpus"));
  EXPECT_EQ(own.size(), 6);
  EXPECT_EQ(rest.size(), 2) << "the pod shared pool";
  EXPECT_FALSE(own.Intersects(rest));
}

TEST_F(ManageTest, APodThatFitsNoNumaNodeIsRefusedWithItsReason) {
  StartManaged("topologyManagerPolicy: single-numa-node\n");
  AddPod("wide", Exclusive("wide", 14));
  AddPod("narrow", Exclusive("narrow", 2));
  ASSERT_TRUE(AwaitRunning("narrow")) << "others go on";
  ASSERT_TRUE(Await([&] { return !AgentNow().rejected.empty(); }, absl::Seconds(60)));
  const RejectedView rejected = AgentNow().rejected.front();
  EXPECT_EQ(rejected.reason, "TopologyAffinityError");
  EXPECT_THAT(rejected.pod, testing::HasSubstr("wide"));
  EXPECT_EQ(CgroupOf("wide", "app"), "") << "no container of it was made";
  EXPECT_TRUE(AwaitLog("kubelet", "wide", "TopologyAffinityError"));
}

TEST_F(ManageTest, DecisionsOutliveContainersAndTheAgent) {
  StartManaged();
  AddPod("first", Exclusive("first", 2));
  ASSERT_TRUE(AwaitRunning("first"));
  AddPod("steady", Exclusive("steady", 2));
  ASSERT_TRUE(AwaitRunning("steady"));
  RemovePod("first");
  const std::string before = CgroupOf("steady", "app");
  const std::string cpus = ReadCgroup(before, "cpuset.cpus");
  EXPECT_EQ(ReadCgroup(before, "cpuset.cpus.effective"), cpus);
  End("podfence", SIGTERM);
  EXPECT_EQ(ReadCgroup(before, "cpuset.cpus"), cpus) << "containers keep their fences";
  StartAgent("");
  ASSERT_TRUE(Await([&] { return FetchSnapshot(kAgent).ok(); }, absl::Seconds(30))) << Log("podfence");
  EXPECT_EQ(ReadCgroup(before, "cpuset.cpus"), cpus);
  // The container dies, and its next incarnation has the same CPUs.
  ASSERT_TRUE(WriteCgroup(before, "cgroup.kill", "1"));
  std::string after;
  ASSERT_TRUE(Await(
      [&] {
        after = CgroupOf("steady", "app");
        return !after.empty() && after != before && AwaitRunning("steady");
      },
      absl::Seconds(60)));
  EXPECT_EQ(ReadCgroup(after, "cpuset.cpus"), cpus);
  ASSERT_TRUE(AwaitGone("first"));
  ASSERT_TRUE(Await([] { return AgentNow().state.pods.size() == 1; }, absl::Seconds(30))) << "lower CPUs are free";
  // As after a boot: nothing runs, the checkpoint is older, and the kubelet has not told of its pods yet.
  End("podfence", SIGTERM);
  RemovePod("steady");
  ASSERT_TRUE(AwaitGone("steady"));
  const std::string pod = after.substr(0, after.rfind('/'));
  ASSERT_TRUE(Await([&] { return ReadCgroup(pod, "cgroup.events").empty(); }, absl::Seconds(60))) << "all of it";
  ASSERT_TRUE(Run(Cat("touch -d '1980-01-01 00:00:00' ", StateDirectory(), "/state.json")));
  StartAgent("podSource: kubelet\n");
  ASSERT_TRUE(Await([&] { return FetchSnapshot(kAgent).ok(); }, absl::Seconds(30))) << Log("podfence");
  absl::SleepFor(absl::Seconds(3));
  EXPECT_EQ(AgentNow().state.pods.size(), 1u);
  AddPod("steady", Exclusive("steady", 2));
  ASSERT_TRUE(AwaitRunning("steady")) << Log("podfence");
  EXPECT_EQ(ReadCgroup(CgroupOf("steady", "app"), "cpuset.cpus"), cpus);
  RemovePod("steady");
  ASSERT_TRUE(AwaitGone("steady"));
  EXPECT_TRUE(Await([&] { return AgentNow().state.pods.empty(); }, absl::Seconds(30))) << "its CPUs are free\n"
                                                                                       << Log("podfence");
}

TEST_F(ManageTest, OneLookWithoutTheAgentFindsWhatIsNotAsDecided) {
  StartManaged("topologyManagerScope: container\nrepairDrift: false\n");
  AddExamplePod("ml-workload");
  ASSERT_TRUE(AwaitRunning("ml-workload")) << PodStatus("ml-workload").dump(1);
  std::string answer;
  EXPECT_TRUE(Await([&] { return RunPodfence("verify", answer) == 0; }, absl::Seconds(30))) << answer;
  EXPECT_THAT(answer, testing::HasSubstr("2 containers"));
  ASSERT_TRUE(WriteCgroup(CgroupOf("ml-workload", "ml-training"), "cpu.max", "200000 100000"));
  End("podfence", SIGTERM);
  EXPECT_EQ(RunPodfence("verify", answer), 1) << answer;
  EXPECT_THAT(answer, testing::HasSubstr("cpu.max"));
}

TEST_F(ManageTest, PodsThatRunAlreadyAreTakenUp) {
  StartRuntime();
  StartKubelet();
  AddPod("first", Exclusive("first", 2));
  ASSERT_TRUE(AwaitRunning("first"));
  AddPod("wide", Exclusive("wide", 14));
  ASSERT_TRUE(AwaitRunning("wide"));
  std::string done = Exclusive("done", 4, "exit 0");
  AddPod("done", done.replace(done.find("hostNetwork"), 0, "restartPolicy: Never\n  "));
  ASSERT_TRUE(Await([] { return StatusWord("done", "/status/phase") == "Succeeded"; }, absl::Seconds(90)));
  const std::string cgroup = CgroupOf("first", "app");
  EXPECT_EQ(ReadCgroup(cgroup, "cpuset.cpus"), "");
  StartAgent("topologyManagerPolicy: single-numa-node\n");
  EXPECT_TRUE(Await([&] { return !ReadCgroup(cgroup, "cpuset.cpus").empty(); }, absl::Seconds(60))) << Log("podfence");
  EXPECT_EQ(CpuSet::Parse(ReadCgroup(cgroup, "cpuset.cpus"))->size(), 2);
  EXPECT_EQ(AgentNow().state.pods.size(), 1u)
      << "what has ended is given nothing, though the runtime knows its sandbox";
  EXPECT_TRUE(Await([&] { return ReadCgroup(cgroup, "cpu.max").starts_with("max"); }, absl::Seconds(10)));
  // The other fits no NUMA node: it runs on, shared, and that is said as long as it does.
  const auto said = [] {
    return std::ranges::any_of(AgentNow().findings, [](const FindingView& finding) {
      return finding.active && finding.kind == "misfit" && finding.pod.find("wide") != std::string::npos;
    });
  };
  EXPECT_TRUE(Await(said, absl::Seconds(30))) << Log("podfence");
  absl::SleepFor(absl::Seconds(12));  // two sweeps
  EXPECT_TRUE(said());
  EXPECT_EQ(Scrape().at("podfence_findings_total{kind=\"misfit\"}"), 1);
  const std::string shared = ReadCgroup(CgroupOf("wide", "app"), "cpuset.cpus.effective");
  EXPECT_FALSE(CpuSet::Parse(shared)->Intersects(*CpuSet::Parse(ReadCgroup(cgroup, "cpuset.cpus")))) << shared;
  std::string answer;
  RunPodfence("verify", answer);
  EXPECT_THAT(answer, testing::Not(testing::HasSubstr("drift"))) << "it is shared as others are";
}

TEST_F(ManageTest, UninstalledItGivesEverythingBack) {
  StartManaged("releaseOnExit: true\n");
  AddExamplePod("ml-workload");
  ASSERT_TRUE(AwaitRunning("ml-workload"));
  const std::string training = CgroupOf("ml-workload", "ml-training");
  EXPECT_NE(ReadCgroup(training, "cpuset.cpus"), "");
  End("podfence", SIGTERM);
  // The kernel does not let a set be emptied under a process: all CPUs are the same.
  EXPECT_THAT(ReadCgroup(training, "cpuset.cpus"), testing::AnyOf("", "0-23"));
  EXPECT_EQ(ReadCgroup(training, "cpuset.cpus.partition"), "member");
  EXPECT_EQ(ReadCgroup(training, "cpu.max"), "300000 100000");
  EXPECT_EQ(ReadCgroup(training.substr(0, training.rfind('/')), "cpu.max"), "400000 100000");
}

TEST_F(ManageTest, WhatIsCreatedWhileTheAgentHangsIsNotUnfenced) {
  StartManaged("topologyManagerPolicy: single-numa-node\n");
  AddPod("before", Exclusive("before", 2));
  ASSERT_TRUE(AwaitRunning("before"));
  // Its sandbox is admitted, and its container is next: that is the create which the agent is to hang in. A busy test
  // may come too late.
  std::string meanwhile;
  bool hung = false;
  for (int i = 0; i < 3 && !hung; ++i) {
    meanwhile = Cat("meanwhile", i);
    AddPod(meanwhile, Exclusive(meanwhile, 2));
    ASSERT_TRUE(AwaitLog(RuntimeOfNode().program, Cat(meanwhile, "-lab"), RuntimeOfNode().sandbox_runs));
    Signal("podfence", SIGSTOP);
    hung = AwaitLog("kubelet", "CreateContainer in sandbox from runtime service failed", "err=", absl::Seconds(40));
    if (!hung) Signal("podfence", SIGCONT);
  }
  ASSERT_TRUE(hung);
  AddPod("later", Exclusive("later", 2));
  std::string tolerated = PodOf("tolerated", "");
  tolerated.replace(tolerated.find("{name: tolerated}"), 17,
                    "{name: tolerated, annotations: {tolerate-missing-nri-plugins.noderesource.dev: \"true\"}}");
  AddPod("tolerated", tolerated);
  ASSERT_TRUE(AwaitRunning("tolerated")) << "what may do without the agent does\n" << Log(RuntimeOfNode().program);
  absl::SleepFor(absl::Seconds(10));
  for (const std::string& pod : {meanwhile, std::string("later")}) {
    EXPECT_EQ(CgroupOf(pod, "app"), "") << pod << ": nothing runs that was not decided on";
  }
  Signal("podfence", SIGCONT);
  for (const std::string& pod : {meanwhile, std::string("later")}) {
    ASSERT_TRUE(AwaitRunning(pod)) << pod << ": it recovers by itself\n" << Log("podfence");
    EXPECT_EQ(CpuSet::Parse(ReadCgroup(CgroupOf(pod, "app"), "cpuset.cpus"))->size(), 2) << pod;
  }
  // What does not fit does not begin because the agent was away.
  End("podfence", SIGKILL);
  AddPod("wide", Exclusive("wide", 14));
  ASSERT_TRUE(AwaitLog("kubelet", "wide-lab", "CreateContainerError")) << "its sandbox runs";
  StartAgent("topologyManagerPolicy: single-numa-node\n");
  const auto waits_for = [] { return StatusWord("wide", "/status/containerStatuses/0/state/waiting/message"); };
  EXPECT_TRUE(Await([&] { return waits_for().find("TopologyAffinityError") != std::string::npos; }, absl::Seconds(60)))
      << waits_for();
  EXPECT_EQ(CgroupOf("wide", "app"), "");
  EXPECT_THAT(AgentNow().findings, testing::Not(testing::Contains(testing::Field(&FindingView::kind, "misfit"))))
      << "it does not run since before";
}

// CRI-O goes on where a plugin refuses the start.
TEST_F(ManageTest, WhoseCpusAreStillSharedDoesNotStart) {
  StartManaged("cpusetPartitions: false\n");
  AddPod("first", Exclusive("first", 2));
  ASSERT_TRUE(AwaitRunning("first"));
  // A cgroup that takes no set: what is written to it goes elsewhere.
  const std::string first = CgroupOf("first", "app");
  const std::string stubborn = Cat("/sys/fs/cgroup/", first.substr(0, first.find('/')), "/stubborn");
  ASSERT_TRUE(Run(Cat("mkdir ", stubborn, " && touch /run/e2e/set && mount --bind /run/e2e/set ", stubborn,
                      "/cpuset.cpus && { sleep 1000 & echo $! >", stubborn, "/cgroup.procs; }")))
      << Log("run");
  AddPod("second", Exclusive("second", 2));
  const auto refused = [] { return Log("podfence").find("container app must not start") != std::string::npos; };
  EXPECT_TRUE(Await(refused, absl::Seconds(60))) << Log("podfence");
  EXPECT_FALSE(AwaitRunning("second", absl::Seconds(10)));
  EXPECT_TRUE(Run(Cat("umount ", stubborn, "/cpuset.cpus"))) << Log("run");
  EXPECT_TRUE(AwaitRunning("second", absl::Seconds(120))) << PodStatus("second").dump(1) << Log("podfence");
  EXPECT_EQ(CpuSet::Parse(ReadCgroup(CgroupOf("second", "app"), "cpuset.cpus"))->size(), 2);
  EXPECT_TRUE(Run(Cat("echo 1 >", stubborn, "/cgroup.kill; sleep 1; rmdir ", stubborn))) << Log("run");
}

}  // namespace
}  // namespace podfence
