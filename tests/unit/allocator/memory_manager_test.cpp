#include "agent/allocator/memory_manager.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/allocator/memory_testing.h"

namespace podfence {
namespace {

using memory_testing::DraftOf;
using memory_testing::Equal;
using memory_testing::GuaranteedPod;
using memory_testing::kGi;
using memory_testing::MachineOf;
using memory_testing::SetBudget;
using memory_testing::Sidecar;
using memory_testing::StaticPolicy;
using testing::HasSubstr;
using testing::IsEmpty;

MemoryManager Manager(const Machine& machine) { return *MemoryManager::Create(machine, StaticPolicy()); }

std::vector<MemoryBlock> Memory(NumaSet numa, uint64_t gib) { return {{numa, "memory", gib * kGi}}; }

// The whole of an admission without a topology manager.
std::optional<Refusal> AllocateAll(const MemoryManager& manager, Draft& draft) {
  std::optional<Refusal> refusal;
  ForEachContainer(*draft.pod, [&](const Container& container, bool) {
    if (!refusal) refusal = manager.Allocate(draft, container, Hint{});
  });
  return refusal;
}

TEST(MemoryManagerTest, PoliciesAreTheReferences) {
  Policy policy = StaticPolicy();
  policy.memory_manager_policy = "static";
  EXPECT_THAT(MemoryManager::Create(MachineOf({4}), policy).status().message(),
              HasSubstr("memoryManagerPolicy: unknown policy: \"static\""));
  policy.memory_manager_policy = "BestEffort";
  EXPECT_THAT(MemoryManager::Create(MachineOf({4}), policy).status().message(),
              HasSubstr("not available for platform \"linux\""));
}

TEST(MemoryManagerTest, NoneKeepsNoBooksAndGivesNothing) {
  Policy policy;
  policy.memory_manager_policy = "None";
  const MemoryManager manager = *MemoryManager::Create(MachineOf({4}), policy);
  EXPECT_THAT(manager.InitialNodes(), IsEmpty());
  Draft draft = DraftOf(GuaranteedPod({Equal("app", {{"cpu", "1"}, {"memory", "1Gi"}})}), {});
  EXPECT_THAT(manager.ContainerHints(draft, draft.pod->containers[0]), IsEmpty());
  EXPECT_FALSE(AllocateAll(manager, draft));
  EXPECT_THAT(draft.allocation.containers[0].memory, IsEmpty());
  EXPECT_THAT(manager.Requests(*draft.pod), IsEmpty());
}

TEST(MemoryManagerTest, OnlyGuaranteedPodsHoldMemory) {
  const MemoryManager manager = Manager(MachineOf({4}));
  auto pod = GuaranteedPod({Equal("app", {{"cpu", "1"}, {"memory", "1Gi"}})});
  pod->qos = QosClass::kBurstable;
  Draft draft = DraftOf(pod, manager.InitialNodes());
  EXPECT_FALSE(AllocateAll(manager, draft));
  EXPECT_EQ(draft.nodes, manager.InitialNodes());
  EXPECT_EQ(manager.IsolationOf(draft, pod->containers[0]), Isolation::kHost);
}

TEST(MemoryManagerTest, TheDefaultIsTheLowestOfTheSmallestSets) {
  const MemoryManager manager = Manager(MachineOf({4, 4, 4}));
  Draft draft = DraftOf(GuaranteedPod({Equal("app", {{"cpu", "1"}, {"memory", "7Gi"}})}), manager.InitialNodes());
  EXPECT_FALSE(AllocateAll(manager, draft));
  EXPECT_EQ(draft.allocation.containers[0].memory, Memory(NumaSet{0, 1}, 7));
  EXPECT_EQ(draft.nodes[1].cells, (NumaSet{0, 1}));
  EXPECT_EQ(draft.counters.Allocations(Resource::kMemory, Source::kNode), 1u);
  EXPECT_EQ(draft.counters.Assignments(Resource::kMemory, Assignment::kNodeExclusive), 1u);
  EXPECT_EQ(manager.IsolationOf(draft, draft.pod->containers[0]), Isolation::kContainer);
  manager.Release(draft);
  EXPECT_EQ(draft.nodes, manager.InitialNodes());
}

TEST(MemoryManagerTest, AnAffinityThatDoesNotSufficeIsExtended) {
  const MemoryManager manager = Manager(MachineOf({4, 4, 4}));
  const auto pod = GuaranteedPod({Equal("app", {{"cpu", "1"}, {"memory", "7Gi"}})});
  Draft draft = DraftOf(pod, manager.InitialNodes());
  EXPECT_FALSE(manager.Allocate(draft, pod->containers[0], {NumaSet{2}, true}));
  EXPECT_EQ(draft.allocation.containers[0].memory, Memory(NumaSet{0, 2}, 7));
}

TEST(MemoryManagerTest, RefusalsHaveTheReferencesWords) {
  const MemoryManager manager = Manager(MachineOf({4, 4, 4}));
  const auto refuse = [&](const char* memory, const std::vector<NumaSet>& used, Hint affinity) {
    const auto pod = GuaranteedPod({Equal("app", {{"cpu", "1"}, {"memory", memory}})});
    Draft draft = DraftOf(pod, manager.InitialNodes());
    for (NumaSet set : used) {
      const auto user = GuaranteedPod({Equal("app", {{"cpu", "1"}, {"memory", set.size() == 1 ? "1Gi" : "5Gi"}})});
      Draft before = DraftOf(user, draft.nodes);
      EXPECT_FALSE(manager.Allocate(before, user->containers[0], {set, false}));
      draft.nodes = before.nodes;
    }
    const std::vector<NumaNodeMemory> nodes = draft.nodes;
    const std::optional<Refusal> refusal = manager.Allocate(draft, pod->containers[0], affinity);
    EXPECT_EQ(draft.nodes, nodes);
    EXPECT_EQ(draft.counters.Errors(Resource::kMemory, Source::kNode), refusal ? 1u : 0u);
    return refusal ? refusal->reason + ": " + refusal->message : "";
  };
  EXPECT_EQ(refuse("20Gi", {}, {}),
            "UnexpectedAdmissionError: Allocate failed due to [memorymanager] failed to get the default NUMA affinity, "
            "no NUMA nodes with enough memory is available, which is unexpected");
  EXPECT_THAT(refuse("20Gi", {}, {NumaSet{1}, false}),
              HasSubstr("[memorymanager] failed to find NUMA nodes to extend the current topology hint"));
  // One node would do on an empty machine; here only the group has enough, and it is wider.
  EXPECT_THAT(refuse("3Gi", {{0}, {1, 2}}, {NumaSet{}, true}),
              HasSubstr("[memorymanager] failed to find the default preferred hint"));
  EXPECT_THAT(refuse("3Gi", {{0}, {1, 2}}, {NumaSet{1}, true}),
              HasSubstr("[memorymanager] failed to find the extended preferred hint"));
  EXPECT_THAT(refuse("9Gi", {{1}}, {NumaSet{0, 1}, false}),
              HasSubstr("[memorymanager] failed to find NUMA nodes to extend the current topology hint"));
  EXPECT_THAT(refuse("4Gi", {{1}}, {NumaSet{0, 1}, false}),
              HasSubstr("[memorymanager] preferred hint violates NUMA node allocation"));
}

TEST(MemoryManagerTest, LaterContainersReuseTheMemoryOfOneShotInitContainers) {
  const MemoryManager manager = Manager(MachineOf({8}));
  const auto pod = GuaranteedPod(
      {Equal("app", {{"cpu", "1"}, {"memory", "2Gi"}})},
      {Equal("init", {{"cpu", "1"}, {"memory", "4Gi"}}), Sidecar(Equal("sidecar", {{"cpu", "1"}, {"memory", "1Gi"}}))});
  Draft draft = DraftOf(pod, manager.InitialNodes());
  EXPECT_FALSE(AllocateAll(manager, draft));
  EXPECT_EQ(draft.nodes[0].memory[0].reserved, 4 * kGi);  // init 4, of which sidecar 1 and app 2 are reused
  EXPECT_EQ(draft.nodes[0].assignments, 3);
  EXPECT_EQ(draft.allocation.Find("init")->memory, Memory(NumaSet{0}, 1));
  EXPECT_EQ(draft.allocation.Find("sidecar")->memory, Memory(NumaSet{0}, 1));
  EXPECT_EQ(draft.allocation.Find("app")->memory, Memory(NumaSet{0}, 2));

  manager.Start(draft, pod->init_containers[1]);
  EXPECT_THAT(draft.allocation.Find("init")->memory, IsEmpty());
  EXPECT_EQ(draft.nodes[0].memory[0].reserved, 3 * kGi);
  manager.Start(draft, pod->containers[0]);
  EXPECT_EQ(draft.allocation.Find("sidecar")->memory, Memory(NumaSet{0}, 1));
  EXPECT_EQ(manager.IsolationOf(draft, pod->init_containers[0]), Isolation::kHost);
  manager.Release(draft);
  EXPECT_EQ(draft.nodes, manager.InitialNodes());
}

TEST(MemoryManagerTest, ABudgetIsPartedAmongTheContainers) {
  const MemoryManager manager = Manager(MachineOf({16, 16}));
  auto pod = GuaranteedPod({Equal("own", {{"cpu", "1"}, {"memory", "3Gi"}}), Equal("shared", {})},
                           {Equal("early", {}), Sidecar(Equal("sidecar", {{"cpu", "1"}, {"memory", "2Gi"}})),
                            Equal("late", {}), Equal("big", {{"cpu", "1"}, {"memory", "7Gi"}})});
  SetBudget(*pod, {{"cpu", "4"}, {"memory", "10Gi"}});
  Draft draft = DraftOf(pod, manager.InitialNodes());
  EXPECT_FALSE(manager.AllocatePod(draft, {NumaSet{1}, true}));
  EXPECT_EQ(draft.allocation.memory, Memory(NumaSet{1}, 10));
  EXPECT_EQ(draft.allocation.Find("early")->memory, Memory(NumaSet{1}, 10));
  EXPECT_EQ(draft.allocation.Find("sidecar")->memory, Memory(NumaSet{1}, 2));
  EXPECT_EQ(draft.allocation.Find("late")->memory, Memory(NumaSet{1}, 8));
  EXPECT_EQ(draft.allocation.Find("big")->memory, Memory(NumaSet{1}, 7));
  EXPECT_EQ(draft.allocation.Find("own")->memory, Memory(NumaSet{1}, 3));
  EXPECT_EQ(draft.allocation.Find("shared")->memory, Memory(NumaSet{1}, 5));
  EXPECT_EQ(draft.nodes[1].memory[0].reserved, 10 * kGi);
  EXPECT_EQ(draft.nodes[1].assignments, 1);
  EXPECT_EQ(draft.counters.Allocations(Resource::kMemory, Source::kPod), 6u);
  EXPECT_EQ(draft.counters.Assignments(Resource::kMemory, Assignment::kPodExclusive), 3u);
  EXPECT_EQ(draft.counters.Assignments(Resource::kMemory, Assignment::kPodShared), 3u);
  EXPECT_EQ(manager.IsolationOf(draft, pod->containers[0]), Isolation::kContainer);
  EXPECT_EQ(manager.IsolationOf(draft, pod->containers[1]), Isolation::kPod);

  manager.Start(draft, pod->containers[0]);  // the parts are not booked: nothing is freed
  EXPECT_THAT(draft.allocation.Find("early")->memory, IsEmpty());
  EXPECT_EQ(draft.nodes[1].memory[0].reserved, 10 * kGi);
  manager.Release(draft);
  EXPECT_EQ(draft.nodes, manager.InitialNodes());
}

TEST(MemoryManagerTest, ABudgetThatLeavesNothingToShareIsRefused) {
  const MemoryManager manager = Manager(MachineOf({16}));
  auto pod = GuaranteedPod({Equal("own", {{"cpu", "1"}, {"memory", "4Gi"}}), Equal("shared", {})});
  SetBudget(*pod, {{"cpu", "4"}, {"memory", "4Gi"}});
  Draft draft = DraftOf(pod, manager.InitialNodes());
  const ProviderHints hints = manager.PodHints(draft);
  ASSERT_EQ(hints.size(), 1u);
  EXPECT_EQ(hints[0].kind, ResourceHints::Kind::kList);
  EXPECT_THAT(hints[0].list, IsEmpty());
  const std::optional<Refusal> refusal = manager.AllocatePod(draft, Hint{});
  ASSERT_TRUE(refusal.has_value());
  EXPECT_EQ(refusal->reason, "EmptyPodSharedPoolError");
  EXPECT_EQ(draft.counters.Errors(Resource::kMemory, Source::kPod), 1u);
}

TEST(MemoryManagerTest, EveryResourceGetsTheSameFamily) {
  Machine machine = MachineOf({8, 8});
  for (NumaNode& node : machine.nodes) node.hugepages = {{.page_size_kb = 1048576, .count = 2}};
  const MemoryManager manager = Manager(machine);
  const auto pod = GuaranteedPod({Equal("app", {{"cpu", "1"}, {"memory", "1Gi"}, {"hugepages-1Gi", "2Gi"}})});
  const Draft draft = DraftOf(pod, manager.InitialNodes());
  const ProviderHints hints = manager.ContainerHints(draft, pod->containers[0]);
  ASSERT_EQ(hints.size(), 2u);
  EXPECT_EQ(hints[0].resource, "hugepages-1Gi");
  EXPECT_EQ(hints[1].resource, "memory");
  for (const ResourceHints& resource : hints) {
    EXPECT_EQ(resource.kind, ResourceHints::Kind::kFamily);
    EXPECT_EQ(resource.family.universe, (NumaSet{0, 1}));
    EXPECT_EQ(resource.family.thresholds.size(), 2u);
    EXPECT_EQ(resource.family.preferred_size, 1);
  }
}

}  // namespace

}  // namespace podfence
