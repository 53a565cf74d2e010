// What mode audit puts together: the kubelet's checkpoints and pods to a state, pods to cgroups.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/audit_state.h"
#include "agent/core/text.h"
#include "agent/kube_places.h"
#include "agent/ledger.h"
#include "agent/verification.h"
#include "tests/unit/cgroup/cgroup_tree.h"
#include "tests/unit/enforcer/pods.h"

namespace podfence {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;

PodRecordPtr Record(Pod pod, std::vector<ContainerStatus> statuses = {}) {
  auto record = std::make_shared<PodObject>();
  record->uid = record->api_uid = pod.uid;
  record->ns = pod.ns;
  record->name = pod.name;
  record->statuses = std::move(statuses);
  record->pod = std::make_shared<const Pod>(std::move(pod));
  return record;
}

Pod TwoContainers() { return NewPod("pod", "4", "8Gi", {Sidecar("mesh")}, {App("training", "3", "6Gi")}); }

KubeletState State() {
  KubeletState kubelet;
  kubelet.cpu.policy = "static";
  kubelet.cpu.shared = *CpuSet::Parse("0,4-23");
  kubelet.memory.policy = "Static";
  kubelet.memory.nodes = {{.id = 0, .assignments = 1, .cells = NumaSet{0}, .memory = {}}};
  return kubelet;
}

const std::vector<MemoryBlock> kBlocks = {{NumaSet{0}, "memory", uint64_t{6} << 30}};

TEST(ComposeStateTest, OfTheContainerScope) {
  KubeletState kubelet = State();
  kubelet.cpu.containers["pod"]["training"] = *CpuSet::Parse("1-3");
  kubelet.cpu.containers["gone"]["app"] = *CpuSet::Parse("12");
  kubelet.memory.containers["pod"]["training"] = kBlocks;
  const NodeState state = ComposeState(kubelet, {Record(TwoContainers())});
  EXPECT_EQ(state.shared_cpus.ToString(), "0,4-23");
  EXPECT_EQ(state.nodes, kubelet.memory.nodes);
  ASSERT_EQ(state.pods.size(), 1u) << "whoever is gone holds nothing any more";
  const PodAllocation& pod = state.pods.at("pod");
  EXPECT_FALSE(pod.cpus);
  ASSERT_EQ(pod.containers.size(), 2u);
  EXPECT_EQ(pod.Find("training")->cpus->ToString(), "1-3");
  EXPECT_EQ(pod.Find("training")->cpu_isolation, Isolation::kContainer);
  EXPECT_EQ(pod.Find("training")->memory, kBlocks);
  EXPECT_EQ(pod.Find("training")->memory_isolation, Isolation::kContainer);
  EXPECT_FALSE(pod.Find("mesh")->cpus);
  EXPECT_EQ(pod.Find("mesh")->cpu_isolation, Isolation::kHost);
}

// The checkpoint says of both containers which CPUs are theirs, but not whose alone.
TEST(ComposeStateTest, OfThePodScope) {
  KubeletState kubelet = State();
  kubelet.cpu.pods["pod"] = *CpuSet::Parse("1-4");
  kubelet.cpu.containers["pod"] = {{"training", *CpuSet::Parse("1-3")}, {"mesh", *CpuSet::Parse("4")}};
  kubelet.memory.pods["pod"] = kBlocks;
  kubelet.memory.containers["pod"] = {{"training", kBlocks}, {"mesh", kBlocks}};
  const NodeState state = ComposeState(kubelet, {Record(TwoContainers())});
  const PodAllocation& pod = state.pods.at("pod");
  EXPECT_EQ(pod.cpus->ToString(), "1-4");
  EXPECT_EQ(pod.Find("training")->cpu_isolation, Isolation::kContainer);
  EXPECT_EQ(pod.Find("training")->memory_isolation, Isolation::kContainer);
  EXPECT_EQ(pod.Find("mesh")->cpu_isolation, Isolation::kPod);
  EXPECT_EQ(pod.Find("mesh")->cpus->ToString(), "4");
  EXPECT_EQ(pod.Find("mesh")->memory_isolation, Isolation::kPod);
}

TEST(TakenBackTest, APodThatLosesWhatItHeldIsLeftOut) {
  KubeletState kubelet = State();
  kubelet.cpu.containers["pod"] = {{"training", *CpuSet::Parse("1-3")}, {"mesh", *CpuSet::Parse("4")}};
  const std::vector<PodRecordPtr> pods = {Record(TwoContainers()), Record(NewPod("shared", {}, {App("app")}))};
  TakenBack taken_back;
  EXPECT_EQ(taken_back.LeaveOut(kubelet, pods), pods);
  const KubeletState whole = kubelet;
  kubelet.cpu.containers["pod"].erase("mesh");
  const std::vector<PodRecordPtr> rest = {pods[1]};
  EXPECT_EQ(taken_back.LeaveOut(kubelet, pods), rest) << "the first of its entries is gone";
  kubelet.cpu.containers.clear();
  EXPECT_EQ(taken_back.LeaveOut(kubelet, pods), rest);
  EXPECT_EQ(taken_back.LeaveOut(whole, pods), pods) << "the kubelet has decided again";
  EXPECT_EQ(taken_back.LeaveOut(kubelet, pods), rest);
  EXPECT_EQ(taken_back.LeaveOut(kubelet, rest), rest);
  EXPECT_EQ(taken_back.LeaveOut(kubelet, pods), pods) << "one that was gone meanwhile is another";
}

TEST(TakenBackTest, AnInitContainersCpusPassOn) {
  KubeletState kubelet = State();
  Pod pod = NewPod("pod", {App("warm-up", "2", "1Gi")}, {App("app", "2", "1Gi")});
  const std::vector<PodRecordPtr> pods = {Record(pod)};
  kubelet.cpu.containers["pod"] = {{"warm-up", *CpuSet::Parse("1-2")}, {"app", *CpuSet::Parse("1-2")}};
  TakenBack taken_back;
  EXPECT_EQ(taken_back.LeaveOut(kubelet, pods), pods);
  kubelet.cpu.containers["pod"].erase("warm-up");
  EXPECT_EQ(taken_back.LeaveOut(kubelet, pods), pods);
}

TEST(ComposeStateTest, AKubeletThatDoesNotDecideIsNamed) {
  KubeletState kubelet = State();
  EXPECT_THAT(WithoutManagers(kubelet), IsEmpty());
  kubelet.cpu.policy = "none";
  ASSERT_EQ(WithoutManagers(kubelet).size(), 1u);
  EXPECT_THAT(WithoutManagers(kubelet)[0].reason, HasSubstr("cpuManagerPolicy: static"));
}

TEST(FollowingLedgerTest, DecidesNothing) {
  Machine machine;
  machine.nodes = {{.id = 0, .memory = uint64_t{8} << 30, .distances = {10}, .hugepages = {}, .cores = {}}};
  for (int cpu = 0; cpu < 8; ++cpu) machine.nodes[0].cores.push_back({.socket = 0, .l3 = 0, .threads = {cpu}});
  Policy policy;
  policy.reserved = {{"cpu", Quantity::FromInt(1)}};
  policy.memory_manager_policy = "None";
  Ledger ledger = Ledger::Following(*Allocator::Create(machine, policy));
  KubeletState kubelet = State();
  kubelet.cpu.pods["pod"] = *CpuSet::Parse("1-4");
  kubelet.cpu.containers["pod"] = {{"training", *CpuSet::Parse("1-3")}, {"mesh", *CpuSet::Parse("4")}};
  const NodeState state = ComposeState(kubelet, {Record(TwoContainers())});
  for (int i = 0; i < 2; ++i) ledger.Follow(state);
  EXPECT_EQ(ledger.state().pods.size(), 1u);
  CounterGrowth counters;
  counters.Assignments(Resource::kCpu, Assignment::kPodExclusive) = 1;
  counters.Assignments(Resource::kCpu, Assignment::kPodShared) = 1;
  EXPECT_EQ(ledger.counters(), counters) << "each once";
  Trace trace;
  const Pod other = NewPod("other", {}, {App("app", "1", "1Gi")});
  EXPECT_EQ(ledger.Admit(std::make_shared<const Pod>(other), trace).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ledger.Remove("pod", true).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ledger.state().pods.size(), 1u);
}

TEST(FindPlacesTest, ByTheIdsThatTheKubeletTells) {
  Pod burstable = NewPod("b-1", {}, {App("app")});
  burstable.qos = QosClass::kBurstable;
  auto broken = std::make_shared<PodObject>();
  broken->uid = "x";
  broken->ns = "default";
  broken->name = "broken";
  broken->error = absl::InvalidArgumentError("no containers");
  const std::vector<PodRecordPtr> pods = {Record(TwoContainers(), {{.name = "training", .id = "containerd://aaa"},
                                                                   {.name = "mesh", .id = ""},
                                                                   {.name = "debugger", .id = "containerd://ddd"}}),
                                          Record(burstable, {{.name = "app", .id = "cri-o://ccc"}}),
                                          Record(NewPod("none", {}, {App("app")})), broken};
  {
    CgroupTree tree({Dir("kubepods", {Dir("podpod", {Dir("aaa", {}), Dir("ddd", {}), Dir("bbb", {})}),
                                      Dir("burstable", {Dir("podb-1", {Dir("crio-ccc", {})})})})});
    std::vector<Unseen> unseen;
    const Places places = FindPlaces(tree.path(), pods, unseen);
    EXPECT_EQ(places.top, "kubepods");
    ASSERT_EQ(places.pods.size(), 2u);
    EXPECT_THAT(places.pods.at("pod").containers, ElementsAre(Pair("training", "podpod/aaa")));
    EXPECT_THAT(places.pods.at("b-1").containers, ElementsAre(Pair("app", "burstable/podb-1/crio-ccc")));
    EXPECT_THAT(unseen, ElementsAre(Unseen{"default/broken", "no containers"}));
  }
  CgroupTree tree({Dir("kubepods.slice", {Dir("kubepods-podpod.slice", {Dir("cri-containerd-aaa.scope", {})}),
                                          Dir("kubepods-burstable.slice",
                                              {Dir("kubepods-burstable-podb_1.slice",
                                                   {Dir("crio-conmon-ccc.scope", {}), Dir("crio-ccc.scope", {})})})})});
  std::vector<Unseen> unseen;
  const Places places = FindPlaces(tree.path(), pods, unseen);
  EXPECT_EQ(places.top, "kubepods.slice");
  EXPECT_THAT(places.pods.at("pod").containers,
              ElementsAre(Pair("training", "kubepods-podpod.slice/cri-containerd-aaa.scope")));
  EXPECT_THAT(places.pods.at("b-1").containers,
              ElementsAre(Pair("app", "kubepods-burstable.slice/kubepods-burstable-podb_1.slice/crio-ccc.scope")));
}

TEST(VerifyAuditTest, WhatTheKubeletDoesNotTellIsUnknown) {
  CgroupTree tree({});
  Config config;
  config.mode = "audit";
  config.kubelet_state_directory = tree.path();
  config.node_name = "node";
  config.pod_source = "kubelet";
  config.machine = "numa:2(memory=24GiB) core:12 pu:1";
  Machine machine;
  machine.nodes = {{.id = 0, .memory = uint64_t{8} << 30, .distances = {10}, .hugepages = {}, .cores = {}}};
  machine.nodes[0].cores = {{.socket = 0, .l3 = 0, .threads = {0}}, {.socket = 0, .l3 = 0, .threads = {1}}};
  Policy policy;
  policy.reserved = {{"cpu", Quantity::FromInt(1)}};
  policy.memory_manager_policy = "None";
  const Allocator allocator = *Allocator::Create(machine, policy);
  Verification answer = VerifyNode(config, allocator, absl::ZeroDuration());
  EXPECT_EQ(answer.ExitCode(), 3);
  ASSERT_EQ(answer.unknown.size(), 1u);
  EXPECT_THAT(answer.unknown[0].reason, HasSubstr("cpu_manager_state: is not there"));
  tree.Set("cpu_manager_state", R"({"policyName": "none", "defaultCpuSet": ""})");
  tree.Set("memory_manager_state", R"({"policyName": "None", "machineState": {}})");
  answer = VerifyNode(config, allocator, absl::ZeroDuration());
  EXPECT_EQ(answer.ExitCode(), 3);
  EXPECT_THAT(answer.unknown[0].what, HasSubstr("CPU manager"));
}

}  // namespace
}  // namespace podfence
