#include "agent/allocator/cpu_packed.h"

#include <gtest/gtest.h>

#include <random>

#include "agent/allocator/cpu_distributed.h"
#include "tests/unit/allocator/cpu_fixture.h"

namespace podfence {
namespace {

CpuSet Cpus(std::string_view list) { return *CpuSet::Parse(list); }

std::string Packed(const CpuTopology& topology, const CpuSet& available, int count, const PackedOptions& options = {}) {
  const absl::StatusOr<CpuSet> taken = TakePacked(topology, available, count, options);
  return taken.ok() ? taken->ToString() : std::string(taken.status().message());
}

TEST(CpuTopology, CompilesSymmetricMachines) {
  const CpuTopology topology(MakeMachine({.sockets = 2, .nodes_per_socket = 2, .cores_per_node = 2}));
  EXPECT_EQ(topology.cpu_count, 16);
  EXPECT_EQ(topology.threads_per_core, 2);
  EXPECT_EQ(topology.cpus_per_socket, 8);
  EXPECT_FALSE(topology.numa_first);
  EXPECT_EQ(topology.sockets[1].cpus, Cpus("4-7,12-15"));
  EXPECT_EQ(topology.nodes[3].cores.size(), 2U);
  EXPECT_TRUE(topology.Knows(15));
  EXPECT_FALSE(topology.Knows(16));
}

TEST(CpuTopology, LeavesMemoryOnlyNodesOutAndTakesTheSocketForAnUnknownCache) {
  Machine machine = MakeMachine({.sockets = 2, .cores_per_node = 1});
  for (NumaNode& node : machine.nodes) node.cores[0].l3.reset();
  machine.nodes.push_back({.id = 2, .memory = 1 << 20, .distances = {10, 10, 10}, .hugepages = {}, .cores = {}});
  const CpuTopology topology(machine);
  EXPECT_EQ(topology.nodes.size(), 2U);
  ASSERT_EQ(topology.uncores.size(), 2U);
  EXPECT_EQ(topology.uncores[1].id, 1);
}

// 2 sockets of one NUMA node, 4 cores each: 0-3,8-11 and 4-7,12-15.
class PackedTest : public ::testing::Test {
 protected:
  const CpuTopology topology_{MakeMachine({.sockets = 2, .cores_per_node = 4})};
  const CpuSet all_ = topology_.cpus;
};

TEST_F(PackedTest, TakesWholeNodesThenCoresThenThreads) {
  EXPECT_EQ(Packed(topology_, all_, 8), "0-3,8-11");
  EXPECT_EQ(Packed(topology_, all_, 11), "0-5,8-12");
  EXPECT_EQ(Packed(topology_, all_, 1), "0");
  EXPECT_EQ(Packed(topology_, all_, 16), "0-15");
  EXPECT_EQ(Packed(topology_, all_, 0), "");
}

TEST_F(PackedTest, FillsTheFullestNodeFirst) { EXPECT_EQ(Packed(topology_, all_ - Cpus("4,12"), 4), "5-6,13-14"); }

TEST_F(PackedTest, PrefersHalfUsedCoresForSingleThreads) {
  EXPECT_EQ(Packed(topology_, all_ - Cpus("3"), 1), "11");
  EXPECT_EQ(Packed(topology_, all_ - Cpus("3"), 3), "0,8,11");
}

TEST_F(PackedTest, SaysWhenThereAreTooFew) {
  EXPECT_EQ(Packed(topology_, Cpus("1,2"), 3),
            "not enough cpus available to satisfy request: requested=3, available=2");
}

TEST_F(PackedTest, SpreadsAcrossCores) {
  EXPECT_EQ(Packed(topology_, all_, 4, {.spread_across_cores = true}), "0-3");
  EXPECT_EQ(Packed(topology_, all_, 6, {.spread_across_cores = true}), "0-3,8-9");
}

TEST(CpuPacked, TakesWholeSocketsBeforeNodes) {
  // Sockets of two nodes with 4 CPUs: 0-1,8-9 | 2-3,10-11 and 4-5,12-13 | 6-7,14-15.
  const CpuTopology topology(MakeMachine({.sockets = 2, .nodes_per_socket = 2, .cores_per_node = 2}));
  EXPECT_EQ(Packed(topology, topology.cpus - Cpus("0"), 8), "4-7,12-15");
  EXPECT_EQ(Packed(topology, topology.cpus - Cpus("0"), 4), "2-3,10-11");
}

TEST(CpuPacked, PrefersOneUncoreCache) {
  // One node with two L3 of 4 CPUs: 0-1,4-5 and 2-3,6-7.
  const CpuTopology topology(MakeMachine({.cores_per_node = 4, .l3_per_node = 2}));
  const CpuSet available = topology.cpus - Cpus("0,4");
  EXPECT_EQ(Packed(topology, available, 4), "1-2,5-6");
  EXPECT_EQ(Packed(topology, available, 4, {.align_by_uncore = true}), "2-3,6-7");
  EXPECT_EQ(Packed(topology, available, 2, {.align_by_uncore = true}), "1,5");
  EXPECT_EQ(Packed(topology, available, 3, {.align_by_uncore = true}), "2-3,6");
}

// Sockets of 6 and 2 CPUs: the average is 4, so a socket with 4 free counts as free.
TEST(CpuPacked, TakesAnUnequalSocketWholeOnlyWithCpusThatNobodyOwns) {
  Machine machine = MakeMachine({.sockets = 2, .cores_per_node = 3});
  machine.nodes[1].cores.resize(1);
  const CpuTopology topology(machine);
  ASSERT_EQ(topology.cpus_per_socket, 4);
  const CpuSet all = topology.cpus;
  const CpuSet available = all - Cpus("0,6");
  EXPECT_EQ(Packed(topology, available, 6, {.unowned = &all}), "1-3,7-9");
  const CpuSet seven = all - Cpus("0,1");
  EXPECT_EQ(TakePacked(topology, seven, 6, {})->IntersectionSize(Cpus("0,1")), 0);
}

TEST(CpuDistributed, SharesEvenlyInGroups) {
  const CpuTopology topology(MakeMachine({.sockets = 2, .cores_per_node = 4}));
  EXPECT_EQ(TakeDistributed(topology, topology.cpus, 10, 1, false, nullptr)->ToString(), "0-2,4-6,8-9,12-13");
  EXPECT_EQ(TakeDistributed(topology, topology.cpus, 12, 2, false, nullptr)->ToString(), "0-2,4-6,8-10,12-14");
  EXPECT_EQ(TakeDistributed(topology, topology.cpus, 6, 2, false, nullptr)->ToString(), "0-2,8-10");
  // No multiple of the group: packed.
  EXPECT_EQ(TakeDistributed(topology, topology.cpus, 9, 2, false, nullptr)->ToString(), "0-4,8-11");
}

// Whatever is asked of whatever is free: exactly as many CPUs, all of them free, and the same each time.
TEST(CpuPicks, KeepWithinWhatIsAvailable) {
  std::mt19937 random(7);
  const auto pick = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
  for (int round = 0; round < 4000; ++round) {
    Machine machine = MakeMachine({.sockets = pick(1, 3),
                                   .nodes_per_socket = pick(1, 3),
                                   .cores_per_node = pick(1, 5),
                                   .threads = pick(1, 3),
                                   .l3_per_node = pick(1, 2)});
    for (NumaNode& node : machine.nodes) {  // missing cores, offline siblings
      if (pick(0, 3) == 0 && node.cores.size() > 1) node.cores.pop_back();
      for (Core& core : node.cores) {
        if (pick(0, 4) == 0 && core.threads.size() > 1) core.threads.pop_back();
      }
    }
    const CpuTopology topology(machine);
    CpuSet available;
    for (int cpu : topology.cpus) {
      if (pick(0, 3) != 0) available.Add(cpu);
    }
    const int count = pick(0, available.size() + 1);
    const int group = pick(1, 3);
    const bool by_socket = pick(0, 1) == 0;
    const PackedOptions options{.spread_across_cores = pick(0, 1) == 0, .align_by_uncore = pick(0, 1) == 0};
    for (bool distributed : {false, true}) {
      const auto take = [&] {
        return distributed ? TakeDistributed(topology, available, count, group, by_socket, nullptr)
                           : TakePacked(topology, available, count, options);
      };
      const absl::StatusOr<CpuSet> taken = take();
      ASSERT_EQ(taken.ok(), count <= available.size()) << taken.status();
      if (!taken.ok()) continue;
      ASSERT_EQ(taken->size(), count);
      ASSERT_TRUE(taken->IsSubsetOf(available)) << taken->ToString() << " of " << available.ToString();
      ASSERT_EQ(*taken, *take());
    }
  }
}

}  // namespace
}  // namespace podfence
