// Podfence in mode audit on a node whose kubelet has its managers on: what the kubelet promises and does not keep is
// seen, and nothing is changed.

#include <gmock/gmock.h>
#include <sched.h>

#include <algorithm>
#include <filesystem>
#include <iostream>

#include "absl/time/clock.h"
#include "agent/commands/api_client.h"
#include "agent/core/text.h"
#include "tests/e2e/node_fixture.h"

namespace podfence {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::Contains;
using testing::Each;
using testing::Field;
using testing::HasSubstr;
using testing::Not;

constexpr char kCgroupRoot[] = "/sys/fs/cgroup/";
// See reference_test.cpp.
constexpr char kManagers[] = R"(cpuManagerPolicy: static
memoryManagerPolicy: Static
reservedMemory: [{numaNode: 0, limits: {memory: 612Mi}}]
topologyManagerPolicy: restricted
topologyManagerScope: container
featureGates: {PodLevelResourceManagers: true}
cpuManagerReconcilePeriod: 5s
)";

class AuditTest : public NodeTest {
 protected:
  void StartNode() {
    StartRuntime();
    ASSERT_FALSE(HasFatalFailure());
    StartKubelet(kManagers);
  }
  void StartAuditing() {
    StartAgent("", "audit");
    ASSERT_TRUE(Await([] { return FetchSnapshot(kAgent).ok(); }, absl::Seconds(60))) << Log("podfence");
  }
  std::vector<FindingView> Active() {
    std::vector<FindingView> findings = AgentNow().findings;
    std::erase_if(findings, [](const FindingView& finding) { return !finding.active; });
    return findings;
  }
  // Waits for a finding of this kind at this place; file: "" for one that is about no file.
  bool AwaitFinding(const std::string& kind, const std::string& cgroup, const std::string& file, FindingView& found) {
    return Await(
        [&] {
          for (const FindingView& finding : Active()) {
            if (finding.kind != kind || finding.cgroup != Cat(kCgroupRoot, cgroup) || finding.file != file) continue;
            found = finding;
            return true;
          }
          return false;
        },
        absl::Seconds(60));
  }
};

// The promise that the kubelet makes and does not keep: the exclusive container is throttled through its pod.
TEST_F(AuditTest, ThePodThatThrottlesItsExclusiveContainerIsNamed) {
  StartNode();
  ASSERT_FALSE(HasFatalFailure());
  AddExamplePod("ml-workload");
  ASSERT_TRUE(AwaitRunning("ml-workload")) << PodStatus("ml-workload").dump(1);
  const std::string training = CgroupOf("ml-workload", "ml-training");
  const std::string sidecar = CgroupOf("ml-workload", "service-mesh-sidecar");
  const std::string pod = training.substr(0, training.rfind('/'));
  const std::string own = ReadCgroup(training, "cpuset.cpus");
  ASSERT_EQ(CpuSet::Parse(own)->size(), 3) << own;
  const std::map<std::string, std::string> before = Fences();
  StartAuditing();

  FindingView throttling;
  ASSERT_TRUE(AwaitFinding("throttling", pod, "", throttling)) << Log("podfence");
  std::cout << throttling.message << '\n';
  EXPECT_EQ(throttling.pod, "default/ml-workload-lab");
  EXPECT_EQ(throttling.container, "ml-training");
  EXPECT_GT(throttling.duration_seconds.value_or(0), 0);
  EXPECT_THAT(throttling.message, HasSubstr(Cat("the cgroup above it, ", pod)));
  FindingView quota;
  ASSERT_TRUE(AwaitFinding("quota", pod, "cpu.max", quota)) << Log("podfence");
  EXPECT_EQ(quota.seen, "400000 100000");
  EXPECT_THAT(Active(), Not(Contains(Field(&FindingView::kind, "drift")))) << "all else is as the kubelet decided";
  const std::map<std::string, double> series = Scrape();
  EXPECT_GT(series.at("podfence_exclusive_throttled_seconds_total"), 0);
  EXPECT_EQ(series.at("podfence_verification_state{state=\"findings\"}"), 1);
  EXPECT_EQ(
      series.at("resource_manager_container_assignments{resource_name=\"cpu\",assignment_type=\"node_exclusive\"}"), 1);
  EXPECT_EQ(series.at("resource_manager_allocations_total{resource_name=\"cpu\",source=\"node\"}"), 0);
  EXPECT_EQ(Fences(), before) << "nothing was written";
  EXPECT_EQ(ProcessStatus("podfence", "CapEff"), "0000000000000000");

  // Someone widens the sidecar onto the exclusive CPUs. The kubelet does not look, and Podfence leaves it.
  ASSERT_TRUE(WriteCgroup(sidecar, "cpuset.cpus", "0-23"));
  FindingView drift;
  ASSERT_TRUE(AwaitFinding("drift", sidecar, "cpuset.cpus", drift)) << Log("podfence");
  EXPECT_EQ(drift.seen, "0-23");
  EXPECT_FALSE(drift.repaired);
  ASSERT_TRUE(drift.by) << drift.message;
  EXPECT_EQ(drift.by->comm, "e2e_audit");
  // Those CPUs are busy: of its own accord the scheduler may take long to try them. One of its loops goes there; the
  // others keep using up the pod's quota.
  cpu_set_t exclusive;
  CPU_ZERO(&exclusive);
  const absl::StatusOr<CpuSet> cpus = CpuSet::Parse(own);
  for (int cpu : *cpus) CPU_SET(cpu, &exclusive);
  const std::string processes = ReadCgroup(sidecar, "cgroup.procs");
  const pid_t loop = std::stoi(processes.substr(processes.rfind('\n') + 1));
  ASSERT_EQ(sched_setaffinity(loop, sizeof exclusive, &exclusive), 0);
  FindingView intrusion;
  EXPECT_TRUE(AwaitFinding("intrusion", training, "", intrusion)) << "its busy threads run there\n" << Log("podfence");
  absl::SleepFor(absl::Seconds(7));  // the kubelet comes round, and a sweep
  EXPECT_EQ(ReadCgroup(sidecar, "cpuset.cpus"), "0-23");
  std::string output;
  EXPECT_EQ(RunPodfence("verify --window 2s", output), 1) << output;
  EXPECT_THAT(output, AllOf(HasSubstr("drift"), HasSubstr("throttling"), HasSubstr("quota")));
  EXPECT_EQ(ReadCgroup(training, "cpuset.cpus"), own);
}

// What the kubelet keeps is no finding, also while its shared containers are still on their way to another pool, and
// while pods come and go. Only who runs on exclusive CPUs is: runc before it is in its container's set, kernel threads.
TEST_F(AuditTest, WhatTheKubeletKeepsIsNoFinding) {
  StartNode();
  ASSERT_FALSE(HasFatalFailure());
  AddPod("burstable", PodOf("burstable", "requests: {cpu: 100m}, limits: {cpu: 300m, memory: 64Mi}"));
  AddPod("besteffort", PodOf("besteffort", ""));
  AddPod("first", Exclusive("first", 2));
  for (const char* name : {"burstable", "besteffort", "first"}) {
    ASSERT_TRUE(AwaitRunning(name)) << PodStatus(name).dump(1);
  }
  StartAuditing();
  const auto pods = [&](size_t count) {
    return Await([&] { return AgentNow().state.pods.size() == count; }, absl::Seconds(30));
  };
  EXPECT_TRUE(pods(3)) << Log("podfence");
  AddPod("second", Exclusive("second", 2));
  ASSERT_TRUE(AwaitRunning("second"));
  const std::string second = CgroupOf("second", "app");
  const std::string cpus = ReadCgroup(second, "cpuset.cpus");
  EXPECT_TRUE(pods(4)) << Log("podfence");
  const std::string burstable = CgroupOf("burstable", "app");
  EXPECT_TRUE(
      Await([&] { return !CpuSet::Parse(ReadCgroup(burstable, "cpuset.cpus"))->Intersects(*CpuSet::Parse(cpus)); },
            absl::Seconds(30)))
      << "the kubelet comes round";
  std::string output;
  RunPodfence("verify --window 1s --output json", output);
  const json answer = json::parse(output, nullptr, /*allow_exceptions=*/false);
  ASSERT_TRUE(answer.is_object()) << output;
  EXPECT_EQ(answer["unknown"], json::array()) << output;
  for (const json& finding : answer["findings"]) EXPECT_EQ(finding["kind"], "intrusion") << finding;
  EXPECT_EQ(RunPodfence("preflight", output), 0) << output;

  // It dies, and is another cgroup, with the same CPUs.
  ASSERT_TRUE(WriteCgroup(second, "cgroup.kill", "1"));
  std::string after;
  ASSERT_TRUE(Await(
      [&] {
        after = CgroupOf("second", "app");
        return !after.empty() && after != second && AwaitRunning("second");
      },
      absl::Seconds(60)));
  const auto effective = [&] {
    for (const PodView& pod : AgentNow().pods) {
      for (const ContainerView& container : pod.containers) {
        if (container.assignment == "node_exclusive" && container.effective_cpus.ToString() == cpus) return true;
      }
    }
    return false;
  };
  EXPECT_TRUE(Await(effective, absl::Seconds(30))) << Log("podfence");
  RemovePod("second");
  ASSERT_TRUE(AwaitGone("second"));
  EXPECT_TRUE(pods(3)) << Log("podfence");
  absl::SleepFor(absl::Seconds(7));  // the kubelet comes round, and a sweep
  const Snapshot end = AgentNow();
  EXPECT_NE(end.verification.state, "unknown");
  EXPECT_THAT(end.findings, Each(Field(&FindingView::kind, "intrusion"))) << Log("podfence");
}

}  // namespace
}  // namespace podfence
