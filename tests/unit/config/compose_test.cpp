#include "agent/config/config.h"
#include "agent/config/eviction.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace podfence {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uint64_t kGiB = uint64_t{1} << 30;

NumaNode NodeWith(int id, uint64_t memory, std::vector<HugePages> hugepages = {}) {
  NumaNode node;
  node.id = id;
  node.memory = memory;
  node.hugepages = std::move(hugepages);
  return node;
}

Machine MachineWith(std::vector<NumaNode> nodes) {
  Machine machine;
  machine.nodes = std::move(nodes);
  return machine;
}

Config ConfigOf(std::string_view text) {
  const absl::StatusOr<Config> config = ParseConfig(text, "podfence.yaml");
  EXPECT_TRUE(config.ok()) << config.status();
  return config.value_or(Config());
}

Policy Composed(std::string_view text, const Machine& machine) {
  const absl::StatusOr<Policy> policy = ComposePolicy(ConfigOf(text), machine);
  EXPECT_TRUE(policy.ok()) << policy.status();
  return policy.value_or(Policy());
}

TEST(ComposePolicy, SumsAllReservations) {
  const Policy policy = Composed(
      "systemReserved: {cpu: 500m, memory: 1Gi}\nkubeReserved: {cpu: 750m, memory: 512Mi, pid: 0}\n"
      "evictionHard: {memory.available: 100Mi, nodefs.available: 10%}\n",
      MachineWith({NodeWith(0, 16 * kGiB)}));
  EXPECT_EQ(policy.reserved,
            (ResourceList{{"cpu", Quantity::FromMilli(1250)}, {"memory", *Quantity::Parse("1636Mi")}}));
}

TEST(ComposePolicy, APercentageIsOfAllNodes) {
  const Policy policy = Composed("systemReserved: {cpu: 1}\nevictionHard: {memory.available: 5%}\n",
                                 MachineWith({NodeWith(0, 16 * kGiB), NodeWith(1, 24 * kGiB)}));
  // The share is a number in single precision, as in the reference.
  EXPECT_EQ(policy.reserved.at("memory").Value(),
            static_cast<int64_t>(40.0 * static_cast<double>(kGiB) * static_cast<double>(0.05F)));
}

TEST(ComposePolicy, ReservedCpusCountForThemselves) {
  const Policy policy = Composed("reservedSystemCPUs: 0,8-9\nsystemReserved: {cpu: 1}\nkubeReserved: {cpu: 4}\n",
                                 MachineWith({NodeWith(0, kGiB)}));
  EXPECT_EQ(policy.reserved.at("cpu").Value(), 3);
  EXPECT_EQ(policy.reserved_system_cpus, "0,8-9");
}

TEST(ComposePolicy, NothingReservedIsNothing) {
  const Policy policy =
      Composed("systemReserved: {}\nevictionHard: {memory.available: 0%}\n", MachineWith({NodeWith(0, kGiB)}));
  EXPECT_THAT(policy.reserved, IsEmpty());
  EXPECT_THAT(policy.reserved_memory, IsEmpty());
}

TEST(ComposePolicy, TheLowestNodesWithMemoryGiveTheReservation) {
  // Node 0 has 64 MiB beside its huge pages, node 1 no memory at all, ids are sparse.
  const Policy policy = Composed("", MachineWith({NodeWith(0, kGiB, {{2048, 480}}), NodeWith(1, 0),
                                                  NodeWith(4, 16 * kGiB), NodeWith(5, 16 * kGiB)}));
  ASSERT_EQ(policy.reserved_memory.size(), 2u);
  EXPECT_EQ(policy.reserved_memory[0].numa_node, 0);
  EXPECT_EQ(policy.reserved_memory[0].limits.at("memory").ToString(), "64Mi");
  EXPECT_EQ(policy.reserved_memory[1].numa_node, 4);
  EXPECT_EQ(policy.reserved_memory[1].limits.at("memory").ToString(), "548Mi");
  EXPECT_EQ(policy.reserved.at("memory").ToString(), "612Mi");
}

TEST(ComposePolicy, WhatTheOperatorGaveStays) {
  const Policy policy = Composed("reservedMemory: [{numaNode: 1, limits: {memory: 612Mi}}]\n",
                                 MachineWith({NodeWith(0, kGiB), NodeWith(1, kGiB)}));
  ASSERT_EQ(policy.reserved_memory.size(), 1u);
  EXPECT_EQ(policy.reserved_memory[0].numa_node, 1);
  EXPECT_THAT(Composed("memoryManagerPolicy: None\n", MachineWith({NodeWith(0, kGiB)})).reserved_memory, IsEmpty());
}

TEST(ComposePolicy, MoreThanTheMachineHasIsAnError) {
  const absl::StatusOr<Policy> policy = ComposePolicy(
      ConfigOf("systemReserved: {memory: 3Gi}\n"), MachineWith({NodeWith(0, kGiB), NodeWith(1, kGiB, {{2048, 1000}})}));
  EXPECT_EQ(policy.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(policy.status().message()), HasSubstr("reserve less"));
}

TEST(CheckThreshold, FollowsTheKubelet) {
  EXPECT_TRUE(CheckThreshold("memory.available", "100Mi").ok());
  EXPECT_TRUE(CheckThreshold("memory.available", "0%").ok());
  EXPECT_TRUE(CheckThreshold("nodefs.inodesFree", "5.5%").ok());
  for (const char* bad : {"", "%", "x%", "-1%", "101%", "nan%", "inf%", "0", "-1Gi", "5 %", "5%%"}) {
    EXPECT_FALSE(CheckThreshold("memory.available", bad).ok()) << bad;
  }
  EXPECT_FALSE(CheckThreshold("memory", "1Gi").ok());
}

}  // namespace
}  // namespace podfence
