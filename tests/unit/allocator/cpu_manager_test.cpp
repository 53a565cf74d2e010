#include "agent/allocator/cpu_manager.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/allocator/cpu_fixture.h"

namespace podfence {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Options = std::map<std::string, std::string>;

Policy MakePolicy(const Options& options = {}, const std::string& reserved = "1") {
  Policy policy;
  policy.cpu_manager_policy_options = options;
  policy.reserved[std::string(kCpu)] = *Quantity::Parse(reserved);
  return policy;
}

CpuManager MakeManager(const Machine& machine, const Policy& policy) {
  absl::StatusOr<CpuManager> manager = CpuManager::Create(machine, policy);
  EXPECT_TRUE(manager.ok()) << manager.status();
  return *std::move(manager);
}

std::string ErrorOf(const Policy& policy, const Machine& machine = MakeMachine({})) {
  return std::string(CpuManager::Create(machine, policy).status().message());
}

Draft MakeDraft(std::shared_ptr<const Pod> pod, const CpuSet& shared) {
  Draft draft;
  draft.pod = std::move(pod);
  draft.shared_cpus = shared;
  draft.allocation.pod = draft.pod;
  ForEachContainer(*draft.pod, [&](const Container& container, bool) {
    draft.allocation.containers.emplace_back().name = container.name;
  });
  return draft;
}

std::string CpusOf(const Draft& draft, std::string_view container) {
  const std::optional<CpuSet>& cpus = draft.allocation.Find(container)->cpus;
  return cpus.has_value() ? cpus->ToString() : "none";
}

// Allocates every container in turn; the first refusal's reason, else "".
std::string AllocateAll(const CpuManager& manager, Draft& draft, const Hint& affinity = {}) {
  std::string reason;
  ForEachContainer(*draft.pod, [&](const Container& container, bool) {
    if (!reason.empty()) return;
    if (const std::optional<Refusal> refusal = manager.Allocate(draft, container, affinity)) reason = refusal->reason;
  });
  return reason;
}

TEST(CpuManagerCreate, RefusesWhatTheReferenceRefuses) {
  EXPECT_THAT(ErrorOf(MakePolicy({{"bogus", "true"}})),
              HasSubstr("cpuManagerPolicyOptions: unknown CPU Manager Policy option: \"bogus\""));
  EXPECT_THAT(ErrorOf(MakePolicy({{"full-pcpus-only", "maybe"}})), HasSubstr("bad value for option"));
  const std::string cores = "distribute-cpus-across-cores";
  const std::string numa = "distribute-cpus-across-numa";
  const std::string uncore = "prefer-align-cpus-by-uncorecache";
  const std::vector<std::pair<std::string, std::string>> clashes = {
      {"full-pcpus-only", cores}, {numa, cores}, {uncore, cores}, {uncore, numa}};
  for (const auto& [a, b] : clashes) {
    EXPECT_THAT(ErrorOf(MakePolicy({{a, "true"}, {b, "1"}})), HasSubstr("can not be used at the same time"));
    EXPECT_EQ(ErrorOf(MakePolicy({{a, "true"}, {b, "false"}})), "");
  }
  Policy single = MakePolicy({{"align-by-socket", "true"}});
  single.topology_manager_policy = "single-numa-node";
  EXPECT_THAT(ErrorOf(single), HasSubstr("single-numa-node"));
  Machine sockets = MakeMachine({.sockets = 2});
  sockets.nodes[0].cores.insert(sockets.nodes[0].cores.end(), sockets.nodes[1].cores.begin(),
                                sockets.nodes[1].cores.end());
  sockets.nodes.pop_back();
  EXPECT_THAT(ErrorOf(MakePolicy({{"align-by-socket", "true"}}), sockets), HasSubstr("number of sockets (2)"));

  Policy none = MakePolicy();
  none.cpu_manager_policy = "none";
  EXPECT_EQ(ErrorOf(none), "");
  none.cpu_manager_policy_options["full-pcpus-only"] = "true";
  EXPECT_THAT(ErrorOf(none), HasSubstr("unsupported options=map[full-pcpus-only:true]"));
  Policy unknown = MakePolicy();
  unknown.cpu_manager_policy = "dynamic";
  EXPECT_THAT(ErrorOf(unknown), HasSubstr("unknown policy: \"dynamic\""));
}

TEST(CpuManagerCreate, ReservesByNumberOrBySet) {
  const Machine machine = MakeMachine({});  // 0-7, siblings 4 apart
  EXPECT_EQ(MakeManager(machine, MakePolicy({}, "2")).reserved_cpus().ToString(), "0,4");
  EXPECT_EQ(MakeManager(machine, MakePolicy({}, "1500m")).reserved_cpus().ToString(), "0,4");
  Policy policy = MakePolicy({}, "2");
  policy.reserved_system_cpus = "3,5";
  EXPECT_EQ(MakeManager(machine, policy).reserved_cpus().ToString(), "3,5");
  EXPECT_EQ(MakeManager(machine, policy).InitialSharedCpus().ToString(), "0-7");
  policy.cpu_manager_policy_options = {{"strict-cpu-reservation", "true"}};
  EXPECT_EQ(MakeManager(machine, policy).InitialSharedCpus().ToString(), "0-2,4,6-7");
  policy.cpu_manager_policy_options.clear();
  policy.reserved_system_cpus = "3";
  EXPECT_THAT(ErrorOf(policy), HasSubstr("(size of 3 did not equal 2"));
  policy.reserved_system_cpus = "3,99";
  EXPECT_THAT(ErrorOf(policy), HasSubstr("unknown CPU ID: 99"));
  policy.reserved_system_cpus = "3-";
  EXPECT_THAT(ErrorOf(policy), HasSubstr("reservedSystemCPUs: cpulist"));
  EXPECT_THAT(ErrorOf(MakePolicy({}, "0")), HasSubstr("greater than zero"));
  EXPECT_THAT(ErrorOf(MakePolicy({}, "9")), HasSubstr("the machine has 8 CPUs"));
  policy.reserved.clear();
  EXPECT_THAT(ErrorOf(policy), HasSubstr("unable to determine reserved CPU resources"));
}

// One socket, one node: 0-7, siblings 4 apart; CPU 0 is reserved.
class CpuManagerTest : public ::testing::Test {
 protected:
  Draft DraftOf(std::shared_ptr<const Pod> pod) const { return MakeDraft(std::move(pod), CpuSet::Range(0, 7)); }
  const CpuManager manager_ = MakeManager(MakeMachine({}), MakePolicy());
};

TEST_F(CpuManagerTest, GivesWholeCpusOfGuaranteedContainers) {
  Draft draft = DraftOf(MakePod({}, {MakeContainer("two", "2"), MakeContainer("half", "1500m")}));
  EXPECT_EQ(AllocateAll(manager_, draft), "");
  EXPECT_EQ(CpusOf(draft, "two"), "1,5");
  EXPECT_EQ(CpusOf(draft, "half"), "none");
  EXPECT_EQ(draft.shared_cpus.ToString(), "0,2-4,6-7");
  EXPECT_EQ(draft.counters.Allocations(Resource::kCpu, Source::kNode), 1U);
  EXPECT_EQ(draft.counters.Assignments(Resource::kCpu, Assignment::kNodeExclusive), 1U);
  EXPECT_EQ(manager_.IsolationOf(draft, draft.pod->containers[0]), Isolation::kContainer);
  EXPECT_EQ(manager_.IsolationOf(draft, draft.pod->containers[1]), Isolation::kHost);
  manager_.Release(draft);
  EXPECT_EQ(draft.shared_cpus.ToString(), "0-7");
}

TEST_F(CpuManagerTest, GivesNothingToOtherPods) {
  auto pod = MakePod({}, {MakeContainer("two", "2")});
  pod->qos = QosClass::kBurstable;
  Draft draft = DraftOf(pod);
  EXPECT_EQ(AllocateAll(manager_, draft), "");
  EXPECT_EQ(CpusOf(draft, "two"), "none");
  EXPECT_TRUE(manager_.ContainerHints(draft, pod->containers[0]).empty());
}

TEST_F(CpuManagerTest, ReusesCpusOfOneShotInitContainersOnly) {
  Draft draft = DraftOf(MakePod({MakeContainer("setup", "4"), MakeSidecar("sidecar", "1")},
                                {MakeContainer("a", "2"), MakeContainer("b", "1")}));
  EXPECT_EQ(AllocateAll(manager_, draft), "");
  const CpuSet setup = *draft.allocation.Find("setup")->cpus;
  const CpuSet sidecar = *draft.allocation.Find("sidecar")->cpus;
  const CpuSet a = *draft.allocation.Find("a")->cpus;
  const CpuSet b = *draft.allocation.Find("b")->cpus;
  EXPECT_FALSE(sidecar.Intersects(a | b));
  EXPECT_FALSE(a.Intersects(b));
  EXPECT_TRUE(a.Intersects(setup));
  manager_.Release(draft);
  EXPECT_EQ(draft.shared_cpus.ToString(), "0-7");
}

TEST_F(CpuManagerTest, RefusesWhatIsNotThere) {
  Draft draft = DraftOf(MakePod({}, {MakeContainer("big", "8")}));
  const std::optional<Refusal> refusal = manager_.Allocate(draft, draft.pod->containers[0], {});
  ASSERT_TRUE(refusal.has_value());
  EXPECT_EQ(refusal->reason, "UnexpectedAdmissionError");
  EXPECT_EQ(refusal->message,
            "Allocate failed due to not enough cpus available to satisfy request: requested=8, available=7, which is "
            "unexpected");
  EXPECT_EQ(draft.counters.Errors(Resource::kCpu, Source::kNode), 1U);
  EXPECT_EQ(draft.shared_cpus.ToString(), "0-7");
}

TEST_F(CpuManagerTest, PartsThePodsBubble) {
  Draft draft =
      DraftOf(MakePod({MakeContainer("setup", "3"), MakeSidecar("sidecar", "1"), MakeContainer("warm-up", "")},
                      {MakeContainer("db", "2"), MakeContainer("log", "")}, "5"));
  EXPECT_FALSE(manager_.AllocatePod(draft, {}).has_value());
  const CpuSet bubble = *draft.allocation.cpus;
  const CpuSet sidecar = *draft.allocation.Find("sidecar")->cpus;
  const CpuSet db = *draft.allocation.Find("db")->cpus;
  EXPECT_EQ(bubble.size(), 5);
  EXPECT_EQ(draft.allocation.Find("setup")->cpus->size(), 3);
  EXPECT_EQ(draft.allocation.Find("warm-up")->cpus, bubble - sidecar);
  EXPECT_EQ(draft.allocation.Find("log")->cpus, bubble - sidecar - db);
  EXPECT_EQ(db.size(), 2);
  EXPECT_EQ(draft.counters.Allocations(Resource::kCpu, Source::kPod), 5U);
  EXPECT_EQ(draft.counters.Assignments(Resource::kCpu, Assignment::kPodExclusive), 3U);
  EXPECT_EQ(draft.counters.Assignments(Resource::kCpu, Assignment::kPodShared), 2U);
  EXPECT_EQ(manager_.IsolationOf(draft, draft.pod->containers[0]), Isolation::kContainer);
  EXPECT_EQ(manager_.IsolationOf(draft, draft.pod->containers[1]), Isolation::kPod);
  EXPECT_EQ(draft.shared_cpus, CpuSet::Range(0, 7) - bubble);
  manager_.Release(draft);
  EXPECT_EQ(draft.shared_cpus.ToString(), "0-7");
}

TEST_F(CpuManagerTest, NeverLeavesAPodSharedPoolEmpty) {
  Draft apps = DraftOf(MakePod({}, {MakeContainer("db", "4"), MakeContainer("log", "")}, "4"));
  EXPECT_EQ(manager_.AllocatePod(apps, {})->reason, "EmptyPodSharedPoolError");
  EXPECT_EQ(apps.counters.Errors(Resource::kCpu, Source::kPod), 1U);
  const ProviderHints hints = manager_.PodHints(apps);
  ASSERT_EQ(hints.size(), 1U);
  EXPECT_EQ(hints[0].kind, ResourceHints::Kind::kList);
  EXPECT_TRUE(hints[0].list.empty());
  Draft init = DraftOf(MakePod({MakeSidecar("sidecar", "4"), MakeContainer("warm-up", "")}, {}, "4"));
  EXPECT_EQ(manager_.AllocatePod(init, {})->message,
            "pod rejected, pod has shared init containers but no cpus available for them");
  Draft full = DraftOf(MakePod({}, {MakeContainer("a", "1"), MakeContainer("b", "3")}, "4"));
  EXPECT_FALSE(manager_.AllocatePod(full, {}).has_value());
}

TEST_F(CpuManagerTest, TracesWhatItTook) {
  TraceStep step;
  Draft draft = DraftOf(MakePod({}, {MakeContainer("three", "3")}));
  draft.trace = &step;
  EXPECT_EQ(AllocateAll(manager_, draft), "");
  EXPECT_THAT(step.notes, ElementsAre("took CPUs 1,4-5: 3 on NUMA node 0; 1 whole cores, 1 single threads"));
}

TEST(CpuManagerNone, HasNoSay) {
  Policy policy = MakePolicy();
  policy.cpu_manager_policy = "none";
  const CpuManager manager = MakeManager(MakeMachine({}), policy);
  EXPECT_TRUE(manager.InitialSharedCpus().empty());
  Draft draft = MakeDraft(MakePod({}, {MakeContainer("a", "2")}, "4"), {});
  EXPECT_EQ(AllocateAll(manager, draft), "");
  EXPECT_FALSE(manager.AllocatePod(draft, {}).has_value());
  EXPECT_EQ(CpusOf(draft, "a"), "none");
  EXPECT_TRUE(manager.PodHints(draft).empty());
}

TEST(CpuManagerFullPcpus, RefusesPartsOfCores) {
  Policy policy = MakePolicy({{"full-pcpus-only", "true"}});
  policy.reserved_system_cpus = "0";
  const CpuManager manager = MakeManager(MakeMachine({}), policy);
  Draft draft =
      MakeDraft(MakePod({}, {MakeContainer("odd", "3"), MakeContainer("most", "6"), MakeContainer("all", "8")}),
                CpuSet::Range(0, 7));
  EXPECT_EQ(manager.Allocate(draft, draft.pod->containers[0], {})->message,
            "SMT Alignment Error: requested 3 cpus not multiple cpus per core = 2");
  EXPECT_EQ(manager.Allocate(draft, draft.pod->containers[2], {})->message,
            "SMT Alignment Error: not enough free physical CPUs: available physical CPUs = 6, requested CPUs = 8, "
            "CPUs per core = 2");
  EXPECT_FALSE(manager.Allocate(draft, draft.pod->containers[1], {}).has_value());
  EXPECT_EQ(CpusOf(draft, "most"), "1-3,5-7");
  EXPECT_EQ(draft.counters.Errors(Resource::kCpu, Source::kNode), 2U);
}

// CPU 6, sibling of 2, is offline: core 2 has one thread, and is nobody's own.
TEST(CpuManagerFullPcpus, HoldsOnAsymmetricCores) {
  Machine machine = MakeMachine({});
  machine.nodes[0].cores[2].threads = {2};
  Policy policy = MakePolicy({{"full-pcpus-only", "true"}});
  policy.reserved_system_cpus = "0";
  const CpuManager manager = MakeManager(machine, policy);
  const CpuSet all = machine.Cpus();
  Draft draft =
      MakeDraft(MakePod({}, {MakeContainer("a", "2"), MakeContainer("b", "2"), MakeContainer("c", "2")}), all);
  EXPECT_EQ(AllocateAll(manager, draft), "SMTAlignmentError");
  const CpuSet a = *draft.allocation.Find("a")->cpus;
  const CpuSet b = *draft.allocation.Find("b")->cpus;
  EXPECT_FALSE(a.Intersects(b));
  for (const CpuSet& cpus : {a, b}) {
    EXPECT_TRUE(cpus == CpuSet({1, 5}) || cpus == CpuSet({3, 7})) << cpus.ToString();
  }
}

TEST(CpuManagerHints, DescribeEverySetWithEnoughCpus) {
  // Two sockets of two nodes with 4 CPUs each; CPU 0 is reserved.
  const MachineShape shape{.sockets = 2, .nodes_per_socket = 2, .cores_per_node = 2};
  const CpuManager manager = MakeManager(MakeMachine(shape), MakePolicy());
  Draft draft = MakeDraft(MakePod({MakeContainer("setup", "1")}, {MakeContainer("a", "5")}), CpuSet::Range(0, 15));
  ASSERT_FALSE(manager.Allocate(draft, draft.pod->init_containers[0], {NumaSet{2}, true}).has_value());
  EXPECT_EQ(CpusOf(draft, "setup"), "4");
  const ProviderHints hints = manager.ContainerHints(draft, draft.pod->containers[0]);
  ASSERT_EQ(hints.size(), 1U);
  EXPECT_EQ(hints[0].resource, kCpu);
  ASSERT_EQ(hints[0].kind, ResourceHints::Kind::kFamily);
  const HintFamily& family = hints[0].family;
  EXPECT_EQ(family.universe, (NumaSet{0, 1, 2, 3}));
  EXPECT_EQ(family.required, NumaSet{2});
  EXPECT_EQ(family.preferred_size, 2);
  ASSERT_EQ(family.thresholds.size(), 1U);
  EXPECT_EQ(family.thresholds[0].request, 5U);
  EXPECT_THAT(family.thresholds[0].amount, ElementsAre(3, 4, 4, 4));
  EXPECT_TRUE(family.sockets.empty());

  const CpuManager by_socket = MakeManager(MakeMachine(shape), MakePolicy({{"align-by-socket", "true"}}));
  const ProviderHints aligned = by_socket.ContainerHints(draft, draft.pod->containers[0]);
  EXPECT_THAT(aligned[0].family.sockets, ElementsAre(NumaSet{0, 1}, NumaSet{2, 3}));
  EXPECT_EQ(aligned[0].family.preferred_sockets, 1);
}

TEST(CpuManagerHints, AListWithoutHintsCannotBeMet) {
  const CpuManager manager = MakeManager(MakeMachine({}), MakePolicy());
  const Draft draft = MakeDraft(MakePod({}, {MakeContainer("big", "8")}), CpuSet::Range(0, 7));
  const ProviderHints hints = manager.PodHints(draft);
  ASSERT_EQ(hints.size(), 1U);
  EXPECT_EQ(hints[0].kind, ResourceHints::Kind::kList);
  EXPECT_TRUE(hints[0].list.empty());
}

TEST(CpuManagerAffinity, TakesAlignedCpusFirst) {
  const MachineShape shape{.sockets = 2, .nodes_per_socket = 2, .cores_per_node = 2};
  const auto allocate = [&](const Options& options, const std::string& cpus, NumaSet affinity) {
    const CpuManager manager = MakeManager(MakeMachine(shape), MakePolicy(options));
    Draft draft = MakeDraft(MakePod({}, {MakeContainer("a", cpus)}), CpuSet::Range(0, 15));
    EXPECT_EQ(AllocateAll(manager, draft, {affinity, true}), "");
    return CpusOf(draft, "a");
  };
  EXPECT_EQ(allocate({}, "4", NumaSet{3}), "6-7,14-15");
  EXPECT_EQ(allocate({}, "6", NumaSet{3}), "4,6-7,12,14-15");
  EXPECT_EQ(allocate({{"align-by-socket", "true"}}, "6", NumaSet{3}), "4-6,12-14");
  EXPECT_EQ(allocate({{"distribute-cpus-across-numa", "true"}}, "8", NumaSet{2, 3}), "4-7,12-15");
  EXPECT_EQ(allocate({{"distribute-cpus-across-cores", "true"}}, "3", NumaSet{1, 2}), "2-3,10");
}

// With strict-cpu-reservation the node shared pool may end up empty: a finding of the agent's, not a refusal.
TEST(CpuManagerStrict, MayEmptyTheNodeSharedPool) {
  const CpuManager manager = MakeManager(MakeMachine({}), MakePolicy({{"strict-cpu-reservation", "true"}}, "2"));
  Draft draft = MakeDraft(MakePod({}, {MakeContainer("all", "6")}), manager.InitialSharedCpus());
  EXPECT_EQ(AllocateAll(manager, draft), "");
  EXPECT_TRUE(draft.shared_cpus.empty());
  manager.Release(draft);
  EXPECT_EQ(draft.shared_cpus, manager.InitialSharedCpus());
}

}  // namespace
}  // namespace podfence
