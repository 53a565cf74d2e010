#include "agent/enforcer/order.h"

#include <gmock/gmock.h>

#include <random>

namespace podfence {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

const CpuSet kAll = CpuSet::Range(0, 7);

CpusetChange Shared(const CpuSet& present, const CpuSet& wanted) { return {false, present, wanted}; }
CpusetChange Owner(const CpuSet& present, const CpuSet& wanted) { return {true, present, wanted}; }

TEST(OrderTest, SharedCgroupsLeaveBeforeTheOwnerComes) {
  const CpusetOrder order = OrderCpusets({Owner({}, {2, 3}), Shared(kAll, {0, 1, 4, 5, 6, 7})}, kAll);
  EXPECT_THAT(order.vacate, ElementsAre(CpusetWrite{1, {0, 1, 4, 5, 6, 7}}, CpusetWrite{0, {2, 3}}));
  EXPECT_THAT(order.hand_over, IsEmpty());
  EXPECT_THAT(order.grow, IsEmpty());
}

TEST(OrderTest, OnReleaseSharedCgroupsGrowLast) {
  const CpusetOrder order = OrderCpusets({Shared({0, 1}, kAll), Owner({4}, {4, 5})}, kAll);
  EXPECT_THAT(order.vacate, IsEmpty());
  EXPECT_THAT(order.hand_over, ElementsAre(CpusetWrite{1, {4, 5}}));
  EXPECT_THAT(order.grow, ElementsAre(CpusetWrite{0, kAll}));
}

TEST(OrderTest, ASwapKeepsOnlyWhatStays) {
  const CpusetOrder order = OrderCpusets({Shared({0, 1, 2}, {0, 3})}, kAll);
  EXPECT_THAT(order.vacate, ElementsAre(CpusetWrite{0, {0}}));
  EXPECT_THAT(order.grow, ElementsAre(CpusetWrite{0, {0, 3}}));
}

TEST(OrderTest, WhatKeepsNothingMovesAtOnceIfSharedAndLastIfOwner) {
  const CpusetOrder order = OrderCpusets({Shared({4}, {0}), Owner({0}, {4})}, kAll);
  EXPECT_THAT(order.vacate, ElementsAre(CpusetWrite{0, {0}}));
  EXPECT_THAT(order.hand_over, ElementsAre(CpusetWrite{1, {4}}));
}

TEST(OrderTest, WhatIsRightIsNotWritten) {
  const CpusetOrder order = OrderCpusets({Shared({0}, {0}), Owner({1}, {1}), Shared({}, {})}, kAll);
  EXPECT_THAT(order.vacate, IsEmpty());
  EXPECT_THAT(order.hand_over, IsEmpty());
  EXPECT_THAT(order.grow, IsEmpty());
}

// Any number of cgroups in any state: replayed write by write, nobody ever has a CPU of an owner that has got its own,
// nobody gets an empty set who should have one, and all end where they shall.
TEST(OrderTest, ReplayedWriteByWriteNobodySharesWithAnOwner) {
  std::mt19937 random(20260901);
  for (int round = 0; round < 2000; ++round) {
    std::vector<CpusetChange> changes;
    CpuSet pool = kAll;
    for (int owner = 0; owner < 2; ++owner) {
      CpuSet own;
      for (int cpu : kAll) {
        if (pool.Contains(cpu) && pool.size() > 1 && random() % 4 == 0) {
          own.Add(cpu);
          pool.Remove(cpu);
        }
      }
      if (!own.empty()) changes.push_back(Owner({}, own));
    }
    const size_t owners = changes.size();
    for (int shared = 0; shared < 3; ++shared) changes.push_back(Shared({}, pool));
    for (CpusetChange& change : changes) {
      for (int cpu : kAll) {
        if (random() % 2 == 0) change.present.Add(cpu);
      }
    }
    const CpusetOrder order = OrderCpusets(changes, kAll);
    std::vector<CpuSet> now;
    now.reserve(changes.size());
    for (const CpusetChange& change : changes) now.push_back(change.present.empty() ? kAll : change.present);
    const auto replay = [&](const std::vector<CpusetWrite>& writes) {
      for (const CpusetWrite& write : writes) {
        ASSERT_FALSE(write.cpus.empty());
        now[write.cgroup] = write.cpus;
      }
    };
    replay(order.vacate);
    for (size_t i = owners; i < changes.size(); ++i) EXPECT_TRUE(now[i].IsSubsetOf(pool)) << round;
    replay(order.hand_over);
    for (size_t i = 0; i < owners; ++i) EXPECT_EQ(now[i], changes[i].wanted) << round;
    for (size_t i = owners; i < changes.size(); ++i) EXPECT_TRUE(now[i].IsSubsetOf(pool)) << round;
    replay(order.grow);
    for (size_t i = 0; i < changes.size(); ++i) EXPECT_EQ(now[i], changes[i].wanted) << round;
  }
}

}  // namespace
}  // namespace podfence
