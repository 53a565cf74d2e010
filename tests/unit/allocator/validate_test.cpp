#include "agent/allocator/validate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/allocator/memory_testing.h"

namespace podfence {
namespace {

using memory_testing::Equal;
using memory_testing::GuaranteedPod;
using memory_testing::kGi;
using memory_testing::MachineOf;
using memory_testing::SetBudget;
using memory_testing::Sidecar;
using testing::HasSubstr;

constexpr uint64_t kNode = 16 * kGi;

NumaNodeMemory Book(int id, int assignments, NumaSet cells, uint64_t reserved) {
  return {
      .id = id, .assignments = assignments, .cells = cells, .memory = {{"memory", kNode, kNode - reserved, reserved}}};
}

NodeState Initial() {
  NodeState state;
  state.shared_cpus = CpuSet::Range(0, 15);
  state.nodes = {Book(0, 0, NumaSet{0}, 0), Book(1, 0, NumaSet{1}, 0)};
  return state;
}

ContainerAllocation Slice(const char* name, CpuSet cpus, std::vector<MemoryBlock> memory = {}) {
  return {.name = name,
          .cpus = std::move(cpus),
          .memory = std::move(memory),
          .cpu_isolation = Isolation::kContainer,
          .memory_isolation = Isolation::kHost};
}
ContainerAllocation Shares(const char* name, CpuSet cpus) {
  ContainerAllocation allocation = Slice(name, std::move(cpus));
  allocation.cpu_isolation = Isolation::kPod;
  return allocation;
}

// A pod of one container with two CPUs and 4 GiB of node 1.
PodAllocation Simple(const char* uid, CpuSet cpus) {
  auto pod = GuaranteedPod({Equal("app", {{"cpu", "2"}, {"memory", "4Gi"}})});
  pod->uid = pod->name = uid;
  return {.pod = pod,
          .containers = {Slice("app", std::move(cpus), {{NumaSet{1}, "memory", 4 * kGi}})},
          .cpus = std::nullopt,
          .memory = {}};
}

// A pod with a bubble of CPUs 4-11: an exclusive sidecar, an exclusive init container, one that shares, and the same
// two kinds of app containers.
PodAllocation Bubble() {
  auto pod = GuaranteedPod({Equal("own", {{"cpu", "3"}, {"memory", "1Gi"}}), Equal("shared", {})},
                           {Equal("early", {{"cpu", "6"}, {"memory", "1Gi"}}),
                            Sidecar(Equal("sidecar", {{"cpu", "2"}, {"memory", "1Gi"}})), Equal("late", {})});
  pod->uid = pod->name = "bubble";
  SetBudget(*pod, {{"cpu", "8"}, {"memory", "8Gi"}});
  return {.pod = pod,
          .containers = {Slice("early", CpuSet::Range(4, 9)), Slice("sidecar", {4, 5}),
                         Shares("late", CpuSet::Range(6, 11)), Slice("own", {6, 7, 8}),
                         Shares("shared", CpuSet::Range(9, 11))},
          .cpus = CpuSet::Range(4, 11),
          .memory = {{NumaSet{0, 1}, "memory", 8 * kGi}}};
}

NodeState With(PodAllocation pod) {
  NodeState state = Initial();
  state.shared_cpus -= pod.cpus ? *pod.cpus : *pod.containers[0].cpus;
  if (pod.memory.empty()) {
    state.nodes[1] = Book(1, 1, NumaSet{1}, 4 * kGi);
  } else {
    state.nodes = {Book(0, 1, NumaSet{0, 1}, 8 * kGi), Book(1, 1, NumaSet{0, 1}, 0)};
  }
  state.pods.emplace(pod.pod->uid, std::move(pod));
  return state;
}

// The change that admits the one pod of a state.
StateChange Admission(const NodeState& after) {
  const auto& [uid, pod] = *after.pods.begin();
  return {.uid = uid, .pod = pod, .shared_cpus = after.shared_cpus, .nodes = after.nodes};
}

std::string StateError(const NodeState& state, const CpuSet& reserved = {}) {
  return std::string(ValidateState(Initial(), reserved, state).message());
}
std::string ChangeError(const NodeState& before, const StateChange& change, const CpuSet& reserved = {}) {
  return std::string(ValidateChange(reserved, before, change).message());
}

TEST(ValidateTest, SoundStatesAndChangesPass) {
  for (const NodeState& after : {With(Simple("a", {2, 3})), With(Bubble())}) {
    EXPECT_EQ(StateError(after, {0}), "");
    EXPECT_EQ(ChangeError(Initial(), Admission(after), {0}), "");
    const StateChange removal = {.uid = after.pods.begin()->first,
                                 .pod = std::nullopt,
                                 .shared_cpus = Initial().shared_cpus,
                                 .nodes = Initial().nodes};
    EXPECT_EQ(ChangeError(after, removal, {0}), "");
  }
}

TEST(ValidateTest, ACpuOfAnotherPodIsNamedWithBothOwners) {
  const NodeState before = With(Simple("a", {2, 3}));
  NodeState after = before;
  after.shared_cpus.Remove(4);
  after.pods.emplace("b", Simple("b", {3, 4}));
  EXPECT_EQ(StateError(after),
            "invariant violated: CPU 3 is held by container app of pod default/b (uid b) and by container app of pod "
            "default/a (uid a)");
  const StateChange change = {.uid = "b",
                              .pod = Simple("b", {3, 4}),
                              .shared_cpus = before.shared_cpus - CpuSet{4},
                              .nodes = {before.nodes[0], Book(1, 2, NumaSet{1}, 8 * kGi)}};
  EXPECT_EQ(ChangeError(before, change),
            "invariant violated: CPU 3 goes to container app of pod default/b (uid b) but is owned by container app of "
            "pod default/a (uid a)");
}

TEST(ValidateTest, TheNodeSharedPoolLosesWhatIsTakenAndNoMore) {
  NodeState after = With(Simple("a", {2, 3}));
  after.shared_cpus.Add(3);
  EXPECT_THAT(StateError(after), HasSubstr("CPU 3 is held by container app of pod default/a (uid a) and is in the node "
                                           "shared pool"));
  EXPECT_THAT(ChangeError(Initial(), Admission(after)), HasSubstr("the node shared pool is 0-1,3-15 but 0-1,4-15"));
  after.shared_cpus -= CpuSet{3, 9};
  EXPECT_THAT(StateError(after), HasSubstr("CPUs 9 have neither an owner nor are they shared"));
  EXPECT_THAT(ChangeError(Initial(), Admission(after)), HasSubstr("the node shared pool is"));
  after.shared_cpus |= CpuSet{9, 40};
  EXPECT_THAT(StateError(after), HasSubstr("CPUs 40 are in the state but never were assignable"));
}

TEST(ValidateTest, ReservedCpusAreNotExclusive) {
  const NodeState after = With(Simple("a", {2, 3}));
  EXPECT_THAT(StateError(after, {3}), HasSubstr("CPU 3 is held by container app"));
  EXPECT_THAT(ChangeError(Initial(), Admission(after), {3}), HasSubstr("is reserved for the system"));
}

TEST(ValidateTest, OnlyUnequalSocketsLiftTheReservation) {
  Machine machine = MachineOf({4, 4});
  EXPECT_EQ(NeverExclusive(machine, {1}), CpuSet{1});
  machine.nodes[1].cores.push_back({.socket = 1, .l3 = std::nullopt, .threads = {7}});
  EXPECT_EQ(NeverExclusive(machine, {1}), CpuSet());
}

TEST(ValidateTest, AContainerHoldsWhatItAskedFor) {
  const NodeState after = With(Simple("a", {2, 3, 4}));
  EXPECT_THAT(StateError(after), HasSubstr("holds 3 exclusive CPUs and asked for 2"));
  EXPECT_THAT(ChangeError(Initial(), Admission(after)), HasSubstr("holds 3 exclusive CPUs and asked for 2"));
}

TEST(ValidateTest, SlicesOfABubbleAreApartWhileBothRun) {
  const auto error = [](size_t container, CpuSet cpus) {
    PodAllocation pod = Bubble();
    pod.containers[container].cpus = std::move(cpus);
    std::string of_state = StateError(With(pod));
    EXPECT_EQ(of_state, ChangeError(Initial(), Admission(With(pod))));
    return of_state;
  };
  EXPECT_THAT(error(3, {5, 6, 7}), HasSubstr("CPU 5 is held by container own of pod default/bubble (uid bubble) and by "
                                             "container"));
  EXPECT_THAT(error(4, {8, 9}), HasSubstr("CPU 8 is held by container shared"));
  EXPECT_THAT(error(2, {5, 11}), HasSubstr("CPU 5 is held by container late"));
  EXPECT_THAT(error(4, {}), HasSubstr("the pod shared pool of container shared of pod default/bubble (uid bubble) is "
                                      "empty"));
  EXPECT_THAT(error(4, {12}), HasSubstr("CPU 12 is held by container shared"));
  EXPECT_EQ(error(0, CpuSet::Range(6, 11)), "");  // the first init container is gone before anything else runs
}

TEST(ValidateTest, BooksConserveBytesAndCountBlocks) {
  const NodeState good = With(Simple("a", {2, 3}));
  const auto error = [&](const NumaNodeMemory& book) {
    NodeState after = good;
    after.nodes[1] = book;
    return std::pair(StateError(after), ChangeError(Initial(), Admission(after)));
  };
  NumaNodeMemory lost = good.nodes[1];
  lost.memory[0].free -= 1;
  EXPECT_THAT(error(lost).first, HasSubstr("NUMA node 1 had"));
  EXPECT_THAT(error(lost).second, HasSubstr("NUMA node 1 had"));
  EXPECT_THAT(error(Book(1, 2, NumaSet{1}, 4 * kGi)).first, HasSubstr("though the pod has 1 more"));
  EXPECT_THAT(error(Book(1, 2, NumaSet{1}, 4 * kGi)).second, HasSubstr("though the pod has 1 more"));
  EXPECT_THAT(error(Book(1, 1, NumaSet{0}, 4 * kGi)).second, HasSubstr("serves in the group 0"));
  EXPECT_THAT(error(Book(1, 1, NumaSet{1}, 3 * kGi)).first, HasSubstr("that no NUMA node has reserved"));
  EXPECT_THAT(error(Book(1, 1, NumaSet{1}, 3 * kGi)).second, HasSubstr("more reserved than the blocks"));
  // The reference may leave bytes reserved when it returns blocks, but not when it takes them.
  EXPECT_EQ(error(Book(1, 1, NumaSet{1}, 5 * kGi)).first, "");
  EXPECT_THAT(error(Book(1, 1, NumaSet{1}, 5 * kGi)).second, HasSubstr("more reserved than the blocks"));
}

TEST(ValidateTest, BlocksFitTheirNodes) {
  PodAllocation pod = Simple("a", {2, 3});
  pod.containers[0].memory[0].bytes = kNode + 1;
  EXPECT_THAT(StateError(With(pod)), HasSubstr("on NUMA nodes 1, which have 17179869184"));
  pod = Bubble();
  pod.containers[4].memory = {{NumaSet{1}, "memory", kGi}};
  EXPECT_THAT(StateError(With(pod)), HasSubstr("container shared of pod default/bubble (uid bubble) has memory on NUMA "
                                               "nodes 1, its pod on 0-1"));
}

// What a smaller machine or an older version left behind does not keep pods from leaving.
TEST(ValidateTest, AChangeIsNotBlamedForWhatWasAmissBefore) {
  NodeState before = With(Simple("a", {2, 3}));
  before.nodes[0].memory[0].allocatable /= 2;
  before.nodes[0].memory[0].free = 0;
  StateChange removal = {.uid = "a", .pod = std::nullopt, .shared_cpus = Initial().shared_cpus, .nodes = before.nodes};
  removal.nodes[1] = Initial().nodes[1];
  EXPECT_EQ(ChangeError(before, removal), "");
}

}  // namespace
}  // namespace podfence
