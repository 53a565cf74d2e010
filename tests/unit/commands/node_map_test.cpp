#include "agent/commands/node_map.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

#include "agent/core/text.h"
#include "tests/unit/commands/shown.h"

namespace podfence {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

// `nodes` nodes of `cores` cores with two threads each: thread 1 of core i is CPU i + nodes * cores.
Machine Smt(int nodes, int cores) {
  Machine machine;
  machine.name = "test";
  for (int n = 0; n < nodes; ++n) {
    NumaNode node;
    node.id = n;
    node.memory = uint64_t{24} << 30;
    node.distances.assign(static_cast<size_t>(nodes), 20);
    for (int c = n * cores; c < (n + 1) * cores; ++c) node.cores.push_back({n, n, {c, c + nodes * cores}});
    machine.nodes.push_back(node);
  }
  return machine;
}

ContainerAllocation Exclusive(std::string name, std::string_view cpus) {
  ContainerAllocation container;
  container.name = std::move(name);
  container.cpus = Cpus(cpus);
  container.cpu_isolation = Isolation::kContainer;
  return container;
}

ContainerAllocation Shared(std::string name, std::string_view cpus) {
  ContainerAllocation container = Exclusive(std::move(name), cpus);
  container.cpu_isolation = Isolation::kPod;
  return container;
}

void AddPod(NodeState& state, const std::string& name, std::optional<CpuSet> bubble,
            std::vector<ContainerAllocation> containers) {
  const auto pod = std::make_shared<Pod>();
  pod->name = name;
  pod->uid = "uid-" + name;
  PodAllocation allocation;
  allocation.pod = pod;
  allocation.cpus = std::move(bubble);
  allocation.containers = std::move(containers);
  state.pods[pod->uid] = std::move(allocation);
}

// The two example pods under the pod scope.
NodeState TwoPods(const Machine& machine) {
  NodeState state;
  AddPod(state, "tightly-coupled-database", Cpus("1-4,13-16"),
         {Shared("metrics-exporter", "4,16"), Shared("backup-agent", "4,16"), Exclusive("database", "1-3,13-15")});
  AddPod(state, "ml-workload", Cpus("6-7,18-19"),
         {Shared("service-mesh-sidecar", "19"), Exclusive("ml-training", "6-7,18")});
  state.shared_cpus = machine.Cpus() - Cpus("1-4,13-16,6-7,18-19");
  return state;
}

std::vector<std::string> Owned(const std::vector<CpuOwner>& owners) {
  std::vector<std::string> lines;
  for (const CpuOwner& owner : owners) {
    std::string containers;
    for (const std::string& name : owner.containers) absl::StrAppend(&containers, containers.empty() ? "" : "+", name);
    lines.push_back(Cat(owner.pod, "|", containers, "|", OwnershipName(owner.ownership), "|", owner.cpus.ToString()));
  }
  return lines;
}

TEST(CpuOwners, EveryCpuHasOne) {
  const Machine machine = Smt(2, 6);
  const std::vector<CpuOwner> owners = CpuOwners(machine, TwoPods(machine), Cpus("0,12"));
  EXPECT_THAT(Owned(owners),
              ElementsAre("default/tightly-coupled-database|database|exclusive|1-3,13-15",
                          "default/tightly-coupled-database|metrics-exporter+backup-agent|pod shared pool|4,16",
                          "default/ml-workload|ml-training|exclusive|6-7,18",
                          "default/ml-workload|service-mesh-sidecar|pod shared pool|19", "||reserved|0,12",
                          "||node shared pool|5,8-11,17,20-23"));
  CpuSet all;
  for (const CpuOwner& owner : owners) {
    EXPECT_FALSE(all.Intersects(owner.cpus));
    all |= owner.cpus;
  }
  EXPECT_EQ(all, machine.Cpus());
}

TEST(CpuOwners, LaterContainersTakeOverAnInitContainersCpus) {
  const Machine machine = Smt(1, 4);
  NodeState state;
  AddPod(state, "p", std::nullopt, {Exclusive("init", "1-3"), Exclusive("side", "1"), Exclusive("app", "2")});
  state.shared_cpus = Cpus("0,4-7");
  EXPECT_THAT(Owned(CpuOwners(machine, state, {})),
              ElementsAre("default/p|init+side|exclusive|1", "default/p|init+app|exclusive|2",
                          "default/p|init|exclusive|3", "||node shared pool|0,4-7"));
}

TEST(CpuOwners, WithoutAPoolNobodyManages) {
  EXPECT_THAT(Owned(CpuOwners(Smt(1, 2), NodeState(), Cpus("0"))), ElementsAre("||reserved|0", "||not managed|1-3"));
}

TEST(NodeMap, DrawsCoresWithTheirSiblings) {
  Machine machine = Smt(2, 6);
  machine.offline = Cpus("24-25");
  NodeState state = TwoPods(machine);
  state.nodes = {{0, 1, NumaSet{0}, {{"memory", uint64_t{23} << 30, uint64_t{7} << 30, uint64_t{16} << 30}}}};
  const std::string map = RenderNodeMap(machine, state, Cpus("0,12"), {80, false});
  EXPECT_EQ(map,
            "NUMA node 0  socket 0, L3 0, 12 CPUs, 24 GiB (7 GiB of 23 GiB free for pods)\n"
            "  │  0 # │  1 A │  2 A │  3 A │  4 B │  5 · │\n"
            "  │ 12 # │ 13 A │ 14 A │ 15 A │ 16 B │ 17 · │\n"
            "NUMA node 1  socket 1, L3 1, 12 CPUs, 24 GiB\n"
            "  │  6 C │  7 C │  8 · │  9 · │ 10 · │ 11 · │\n"
            "  │ 18 C │ 19 D │ 20 · │ 21 · │ 22 · │ 23 · │\n"
            "\n"
            "     Who                             Assignment        Count  CPUs\n"
            "default/tightly-coupled-database\n"
            "  A  database                        exclusive             6  1-3,13-15\n"
            "  B  metrics-exporter, backup-agent  pod shared pool       2  4,16\n"
            "default/ml-workload\n"
            "  C  ml-training                     exclusive             3  6-7,18\n"
            "  D  service-mesh-sidecar            pod shared pool       1  19\n"
            "node\n"
            "  #  the system, all others          reserved              2  0,12\n"
            "  ·  all others                      node shared pool     10  5,8-11,17,20-23\n"
            "Offline CPUs: 24-25\n");
  EXPECT_EQ(RenderNodeMap(machine, state, Cpus("0,12"), {120, false}), map);
}

TEST(NodeMap, NeverExceedsTheWidth) {
  const Machine machine = Smt(2, 32);
  for (size_t width : {40, 80, 120, 200}) {
    const std::string map = RenderNodeMap(machine, TwoPods(machine), {}, {width, false});
    for (size_t begin = 0; begin < map.size();) {
      const size_t end = map.find('\n', begin);
      EXPECT_LE(DisplayWidth(map.substr(begin, end - begin)), width) << map.substr(begin, end - begin);
      begin = end + 1;
    }
  }
}

TEST(NodeMap, NamesL3GroupsAndUnequalCores) {
  Machine machine;
  machine.nodes = {{0, 0, {10, 20}, {}, {{0, 0, {0, 4}}, {0, 1, {1}}}}, {1, uint64_t{1} << 30, {20, 10}, {}, {}}};
  const std::string map = RenderNodeMap(machine, NodeState(), {}, {80, false});
  EXPECT_THAT(map, HasSubstr("NUMA node 0  3 CPUs, 0 B\n"
                             "  socket 0, L3 0\n"
                             "  │ 0 - │\n"
                             "  │ 4 - │\n"
                             "  socket 0, L3 1\n"
                             "  │ 1 - │\n"
                             "NUMA node 1  memory only, 1 GiB\n"));
}

TEST(NodeMap, ListsLargeMachinesAsRanges) {
  const Machine machine = Smt(2, 48);
  NodeState state;
  AddPod(state, "wide", std::nullopt, {Exclusive("app", "40-55,136-151")});
  state.shared_cpus = machine.Cpus() - Cpus("40-55,136-151");
  EXPECT_EQ(RenderNodeMap(machine, state, {}, {80, false}),
            "NUMA node 0  socket 0, L3 0, 96 CPUs, 24 GiB\n"
            "     Who         Assignment        Count  CPUs\n"
            "default/wide\n"
            "  A  app         exclusive            16  40-47,136-143\n"
            "node\n"
            "  ·  all others  node shared pool     80  0-39,96-135\n"
            "NUMA node 1  socket 1, L3 1, 96 CPUs, 24 GiB\n"
            "     Who         Assignment        Count  CPUs\n"
            "default/wide\n"
            "  A  app         exclusive            16  48-55,144-151\n"
            "node\n"
            "  ·  all others  node shared pool     80  56-95,152-191\n");
}

TEST(NodeMap, ListsMoreOwnersThanLettersAsRanges) {
  const Machine machine = Smt(1, 60);
  NodeState state;
  for (int i = 0; i < 60; ++i) AddPod(state, Cat("pod-", i), std::nullopt, {Exclusive("app", Cat(i))});
  const std::string map = RenderNodeMap(machine, state, {}, {80, false});
  EXPECT_THAT(map, Not(HasSubstr("│")));
  EXPECT_THAT(map, HasSubstr("default/pod-59\n"));
}

TEST(NodeMap, PaintsPodsOnATerminal) {
  const Machine machine = Smt(2, 6);
  const std::string map = RenderNodeMap(machine, TwoPods(machine), {}, {80, true});
  EXPECT_THAT(map, HasSubstr("│ \033[32m13 A\033[0m │"));
  EXPECT_THAT(map, HasSubstr("\033[36mdefault/ml-workload\033[0m\n"));
}

}  // namespace
}  // namespace podfence
