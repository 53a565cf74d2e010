#include "agent/allocator/allocator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <utility>

#include "tests/unit/allocator/cpu_fixture.h"

namespace podfence {
namespace {

using ::testing::HasSubstr;

Policy PolicyOf(std::string topology_policy, std::string scope = "container") {
  Policy policy;
  policy.topology_manager_policy = std::move(topology_policy);
  policy.topology_manager_scope = std::move(scope);
  policy.reserved[std::string(kCpu)] = Quantity::FromInt(2);
  policy.reserved[std::string(kMemory)] = Quantity::FromInt(int64_t{1} << 30);
  policy.reserved_memory.push_back({.numa_node = 0, .limits = {{std::string(kMemory), policy.reserved["memory"]}}});
  return policy;
}

// Two NUMA nodes of 8 CPUs (4 cores) and 8Gi; 2 CPUs and 1Gi of node 0 are reserved.
Machine TwoNodes() { return MakeMachine({.sockets = 2}); }

Allocator MustCreate(Machine machine, Policy policy) {
  absl::StatusOr<Allocator> allocator = Allocator::Create(std::move(machine), std::move(policy));
  if (!allocator.ok()) ADD_FAILURE() << allocator.status();
  return *std::move(allocator);
}

std::shared_ptr<const Pod> PodOf(const std::string& uid, const std::string& cpu) {
  std::shared_ptr<Pod> pod = MakePod({}, {MakeContainer("app", cpu)});
  pod->uid = uid;
  pod->name = uid;
  return pod;
}

TEST(AllocatorCreate, SaysWhatIsWrongByItsKey) {
  const auto error = [](Policy policy, Machine machine = TwoNodes()) {
    return std::string(Allocator::Create(std::move(machine), std::move(policy)).status().message());
  };
  EXPECT_THAT(error(PolicyOf("strict")), HasSubstr("topologyManagerPolicy: unknown policy: \"strict\""));
  EXPECT_THAT(error(PolicyOf("restricted", "node")), HasSubstr("topologyManagerScope: unknown scope: \"node\""));
  EXPECT_THAT(error(PolicyOf("restricted"), MakeMachine({.sockets = 9, .cores_per_node = 1})),
              HasSubstr("more than 8 NUMA nodes"));
  Policy options = PolicyOf("best-effort");
  options.topology_manager_policy_options = {{"max-allowable-numa-nodes", "7"}};
  EXPECT_THAT(error(options), HasSubstr("the minimum value of \"max-allowable-numa-nodes\" is 8, not 7"));
  options.topology_manager_policy_options = {{"prefer-closest-numa-nodes", "yes"}};
  EXPECT_THAT(error(options), HasSubstr("bad value \"yes\""));
  options.topology_manager_policy_options = {{"closest", "true"}};
  EXPECT_THAT(error(options), HasSubstr("unknown Topology Manager Policy option: \"closest\""));
  // The topology manager is made first, so what is wrong with it is said first.
  options.cpu_manager_policy = "dynamic";
  EXPECT_THAT(error(options), HasSubstr("topologyManagerPolicyOptions"));
  // Under policy none its options and scope are not looked at.
  options = PolicyOf("none", "node");
  options.topology_manager_policy_options = {{"closest", "true"}};
  EXPECT_EQ(error(options), "");
}

TEST(AllocatorCreate, MoreNodesWhereTheOptionAllowsThem) {
  Policy policy = PolicyOf("best-effort");
  policy.topology_manager_policy_options = {{"max-allowable-numa-nodes", "16"}};
  EXPECT_TRUE(Allocator::Create(MakeMachine({.sockets = 16, .cores_per_node = 1}), policy).ok());
}

TEST(AllocatorTest, AdmitThenRemoveLeavesNothing) {
  const Allocator allocator = MustCreate(TwoNodes(), PolicyOf("single-numa-node"));
  const NodeState empty = allocator.InitialState();
  NodeState state = empty;
  AdmitResult result = allocator.Admit(state, PodOf("a", "4"));
  ASSERT_TRUE(result.admitted());
  Apply(std::get<StateChange>(result.outcome), state);
  const ContainerAllocation& app = state.pods.at("a").containers.front();
  EXPECT_EQ(app.cpus->ToString(), "1-2,9-10");
  EXPECT_EQ(app.cpu_isolation, Isolation::kContainer);
  EXPECT_EQ(app.memory_isolation, Isolation::kContainer);

  absl::StatusOr<StateChange> removed = allocator.Remove(state, "a");
  ASSERT_TRUE(removed.ok()) << removed.status();
  Apply(*removed, state);
  EXPECT_EQ(state.shared_cpus, empty.shared_cpus);
  EXPECT_EQ(state.nodes, empty.nodes);
  EXPECT_TRUE(state.pods.empty());
}

TEST(AllocatorTest, NobodyIsAdmittedTwice) {
  const Allocator allocator = MustCreate(TwoNodes(), PolicyOf("none"));
  NodeState state = allocator.InitialState();
  Apply(std::get<StateChange>(allocator.Admit(state, PodOf("a", "1")).outcome), state);
  const AdmitResult again = allocator.Admit(state, PodOf("a", "1"));
  ASSERT_FALSE(again.admitted());
  EXPECT_EQ(std::get<Rejection>(again.outcome).reason, "AlreadyAdmitted");
  EXPECT_EQ(again.counters, CounterGrowth());
}

TEST(AllocatorTest, UnknownPodsAndContainersAreNotFound) {
  const Allocator allocator = MustCreate(TwoNodes(), PolicyOf("none"));
  NodeState state = allocator.InitialState();
  EXPECT_TRUE(absl::IsNotFound(allocator.Remove(state, "a").status()));
  EXPECT_TRUE(absl::IsNotFound(allocator.Start(state, "a", "app").status()));
  Apply(std::get<StateChange>(allocator.Admit(state, PodOf("a", "1")).outcome), state);
  EXPECT_TRUE(absl::IsNotFound(allocator.Start(state, "a", "other").status()));
  EXPECT_TRUE(allocator.Start(state, "a", "app").ok());
}

TEST(AllocatorTest, DevicesDecideTheNode) {
  const Allocator allocator = MustCreate(TwoNodes(), PolicyOf("restricted"));
  DeviceHints device;
  device.container = "app";
  ResourceHints& hints = device.hints.emplace_back();
  hints.resource = "example.com/nic";
  hints.kind = ResourceHints::Kind::kList;
  hints.list = {{NumaSet{1}, true}, {NumaSet{0, 1}, false}};
  const AdmitResult result = allocator.Admit(allocator.InitialState(), PodOf("a", "2"), {device});
  ASSERT_TRUE(result.admitted());
  EXPECT_EQ(std::get<StateChange>(result.outcome).pod->containers.front().cpus->ToString(), "4,12");
}

TEST(AllocatorTest, ARefusalCountsWhatWasDoneBeforeIt) {
  const Allocator allocator = MustCreate(TwoNodes(), PolicyOf("none"));
  const std::shared_ptr<const Pod> pod = MakePod({}, {MakeContainer("first", "4"), MakeContainer("second", "12")});
  AdmitResult result = allocator.Admit(allocator.InitialState(), pod);
  ASSERT_FALSE(result.admitted());
  EXPECT_EQ(std::get<Rejection>(result.outcome).container, "second");
  EXPECT_EQ(result.counters.Allocations(Resource::kCpu, Source::kNode), 1u);
  EXPECT_EQ(result.counters.Errors(Resource::kCpu, Source::kNode), 1u);
  EXPECT_FALSE(result.books_after_refusal.has_value());
}

TEST(AllocatorExplains, WhichNodeLackedWhatAndWhatWouldHelp) {
  const Allocator allocator = MustCreate(TwoNodes(), PolicyOf("single-numa-node"));
  const AdmitResult result = allocator.Admit(allocator.InitialState(), PodOf("a", "10"));
  ASSERT_FALSE(result.admitted());
  const Rejection& rejection = std::get<Rejection>(result.outcome);
  EXPECT_EQ(rejection.reason, "TopologyAffinityError");
  EXPECT_EQ(rejection.reference_message, "Resources cannot be allocated with Topology locality");
  EXPECT_EQ(rejection.container, "app");
  ASSERT_EQ(rejection.asked.size(), 2u);
  EXPECT_EQ(rejection.asked[0], std::pair(std::string("cpu"), uint64_t{10}));
  ASSERT_EQ(rejection.nodes.size(), 4u);
  EXPECT_EQ(rejection.nodes[0].free, 6u);
  EXPECT_EQ(rejection.nodes[1].free, 8u);
  EXPECT_EQ(rejection.nodes[1].capacity, 8u);
  EXPECT_EQ(rejection.remedy, "It would fit if container app asked for 8 exclusive CPUs instead of 10");
  EXPECT_EQ(rejection.message,
            "container app of pod default/a asks for 10 exclusive CPUs and 64Mi of memory: cpu needs NUMA nodes 0-1, "
            "and topologyManagerPolicy single-numa-node admits one NUMA node only. Free: NUMA node 0 6 of 6 CPUs and "
            "7Gi of 7Gi memory; NUMA node 1 8 of 8 CPUs and 8Gi of 8Gi memory. It would fit if container app asked for "
            "8 exclusive CPUs instead of 10.");
}

TEST(AllocatorExplains, WhatIsShortInAll) {
  const Allocator allocator = MustCreate(TwoNodes(), PolicyOf("restricted"));
  NodeState state = allocator.InitialState();
  Apply(std::get<StateChange>(allocator.Admit(state, PodOf("a", "8")).outcome), state);
  const AdmitResult short_now = allocator.Admit(state, PodOf("b", "9"));
  EXPECT_THAT(std::get<Rejection>(short_now.outcome).message, HasSubstr("cpu lacks 3 exclusive CPUs"));
  const AdmitResult short_ever = allocator.Admit(state, PodOf("b", "15"));
  EXPECT_THAT(std::get<Rejection>(short_ever.outcome).message, HasSubstr("more than the whole node has"));
}

TEST(AllocatorExplains, ALaxerPolicyIsNamedWhereItWouldAdmit) {
  const Allocator allocator = MustCreate(TwoNodes(), PolicyOf("single-numa-node", "pod"));
  const std::shared_ptr<const Pod> pod = MakePod({}, {MakeContainer("first", "6"), MakeContainer("second", "6")});
  const AdmitResult result = allocator.Admit(allocator.InitialState(), pod);
  ASSERT_FALSE(result.admitted());
  // Memory would do with one NUMA node, CPUs need two: restricted does not admit that either.
  EXPECT_EQ(std::get<Rejection>(result.outcome).remedy, "It would fit under topologyManagerPolicy best-effort");
}

TEST(AllocatorExplains, WholeCoresAreAskedForWhereOnlyTheseAreGiven) {
  Policy policy = PolicyOf("none");
  policy.cpu_manager_policy_options = {{"full-pcpus-only", "true"}};
  const Allocator allocator = MustCreate(TwoNodes(), policy);
  const AdmitResult one = allocator.Admit(allocator.InitialState(), PodOf("a", "3"));
  ASSERT_FALSE(one.admitted());
  EXPECT_EQ(std::get<Rejection>(one.outcome).reason, "SMTAlignmentError");
  EXPECT_EQ(std::get<Rejection>(one.outcome).remedy,
            "It would fit if container app asked for 2 exclusive CPUs instead of 3");
  // Where several containers are wrong no single change helps, but the rule can be said.
  const std::shared_ptr<const Pod> pod = MakePod({}, {MakeContainer("first", "3"), MakeContainer("second", "5")});
  EXPECT_EQ(std::get<Rejection>(allocator.Admit(allocator.InitialState(), pod).outcome).remedy,
            "full-pcpus-only gives whole cores of 2 CPUs: ask for 2 or 4");
}

TEST(AllocatorExplains, TheTraceShowsHintsMergeAndPicks) {
  const Allocator allocator = MustCreate(TwoNodes(), PolicyOf("restricted"));
  Trace trace;
  ASSERT_TRUE(allocator.Admit(allocator.InitialState(), PodOf("a", "7"), {}, &trace).admitted());
  ASSERT_EQ(trace.steps.size(), 1u);
  const TraceStep& step = trace.steps.front();
  EXPECT_EQ(step.container, "app");
  EXPECT_TRUE(step.admitted);
  EXPECT_TRUE(step.preferred);
  EXPECT_EQ(step.merged.ToString(), "1");
  ASSERT_EQ(step.hints.size(), 2u);
  EXPECT_EQ(step.hints[0].resource, "cpu");
  const std::vector<std::pair<NumaSet, bool>> cpu = {{NumaSet{1}, true}, {NumaSet{0, 1}, false}};
  EXPECT_EQ(step.hints[0].hints, cpu);
  EXPECT_EQ(step.hints[0].total, 2u);
  EXPECT_FALSE(step.notes.empty());
}

TEST(AllocatorExplains, HintsOfManyNodesAreNotAllListed) {
  Policy policy = PolicyOf("best-effort");
  policy.topology_manager_policy_options = {{"max-allowable-numa-nodes", "64"}};
  const Allocator allocator = MustCreate(MakeMachine({.sockets = 34, .cores_per_node = 1}), policy);
  Trace trace;
  ASSERT_TRUE(allocator.Admit(allocator.InitialState(), PodOf("a", "5"), {}, &trace).admitted());
  EXPECT_EQ(trace.steps.front().hints.front().hints.size(), ShownHints::kMaxShownHints);
  // CPUs take four nodes with node 0, memory any three of them: what they meet in is the lowest three.
  EXPECT_EQ(trace.steps.front().merged.ToString(), "0-2");
}

}  // namespace
}  // namespace podfence
