#include "agent/verifier/tables.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace podfence {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

ExpectedFence MakeFence(FenceKind kind, uint64_t id, CpuSet cpus, std::string pod) {
  return {.cgroup = "c" + std::to_string(id),
          .cgroup_id = id,
          .kind = kind,
          .cpus = std::move(cpus),
          .pod = std::move(pod),
          .container = "app"};
}

TEST(SlotBookTest, KeepsTheSlotOfACgroupAndReusesFreedOnesLast) {
  SlotBook book({.cpus = 4, .max_fences = 3});
  const ExpectedFence a = MakeFence(FenceKind::kShared, 11, {0}, "p");
  const ExpectedFence b = MakeFence(FenceKind::kShared, 12, {0}, "p");
  const ExpectedFence c = MakeFence(FenceKind::kShared, 13, {0}, "p");

  auto first = book.Assign({a, b});
  ASSERT_TRUE(first.ok());
  EXPECT_THAT(first->slots, ElementsAre(1, 2));
  EXPECT_THAT(first->added, ElementsAre(1, 2));

  auto second = book.Assign({b, c});
  ASSERT_TRUE(second.ok());
  EXPECT_THAT(second->slots, ElementsAre(2, 3)) << "slot 1 is still to be read";
  EXPECT_THAT(second->ended, ElementsAre(1));

  auto third = book.Assign({a, b, c});
  ASSERT_TRUE(third.ok());
  EXPECT_THAT(third->slots, ElementsAre(1, 2, 3));
  EXPECT_THAT(third->ended, IsEmpty());
}

TEST(SlotBookTest, ARecreatedCgroupIsAnotherOne) {
  SlotBook book({.cpus = 4, .max_fences = 4});
  ExpectedFence fence = MakeFence(FenceKind::kShared, 11, {0}, "p");
  ASSERT_TRUE(book.Assign({fence}).ok());
  fence.cgroup_id = 99;
  auto change = book.Assign({fence});
  ASSERT_TRUE(change.ok());
  EXPECT_THAT(change->slots, ElementsAre(2));
  EXPECT_THAT(change->ended, ElementsAre(1));
}

TEST(SlotBookTest, SaysWhenThereIsNoRoom) {
  SlotBook book({.cpus = 4, .max_fences = 1});
  const auto change = book.Assign({MakeFence(FenceKind::kShared, 1, {0}, "p"),  //
                                   MakeFence(FenceKind::kShared, 2, {0}, "p")});
  EXPECT_TRUE(absl::IsResourceExhausted(change.status())) << change.status();
}

TEST(EncodeTablesTest, WritesOwnersKindsAndMasks) {
  const std::vector<ExpectedFence> fences = {MakeFence(FenceKind::kExclusive, 11, {1, 65}, "p"),
                                             MakeFence(FenceKind::kShared, 12, {2}, "q"),
                                             MakeFence(FenceKind::kPause, 13, {}, "p")};
  const TableSizes sizes{.cpus = 66, .max_fences = 4};
  auto image = EncodeTables(fences, {2, 1, 3}, sizes);
  ASSERT_TRUE(image.ok()) << image.status();

  EXPECT_THAT(image->cgroups, ElementsAre(Pair(11, 2), Pair(12, 1), Pair(13, 3)));
  EXPECT_EQ(image->owners[1].slot, 2U);
  EXPECT_EQ(image->owners[65].slot, 2U);
  EXPECT_EQ(image->owners[2].slot, 0U) << "a pool owns nothing";
  EXPECT_EQ(image->fences[2].kind, PODFENCE_EXCLUSIVE);
  EXPECT_EQ(image->fences[1].kind, PODFENCE_SHARED);
  EXPECT_EQ(image->fences[3].kind, PODFENCE_PAUSE);
  EXPECT_EQ(image->fences[3].has_mask, 0U);
  EXPECT_EQ(image->fences[3].pod, image->owners[1].pod) << "the pause belongs to the owner's pod";
  EXPECT_NE(image->fences[1].pod, image->owners[1].pod);
  EXPECT_EQ(image->masks[2 * 2 + 0], uint64_t{1} << 1);
  EXPECT_EQ(image->masks[2 * 2 + 1], uint64_t{1} << 1);
  EXPECT_EQ(image->masks[1 * 2 + 0], uint64_t{1} << 2);
}

TEST(EncodeTablesTest, ChargesASharedExclusiveCpuToTheFirstFence) {
  auto image = EncodeTables({MakeFence(FenceKind::kExclusive, 11, {1}, "p"),  //
                             MakeFence(FenceKind::kExclusive, 12, {1, 2}, "p")},
                            {1, 2}, {.cpus = 4, .max_fences = 2});
  ASSERT_TRUE(image.ok());
  EXPECT_EQ(image->owners[1].slot, 1U);
  EXPECT_EQ(image->owners[2].slot, 2U);
}

TEST(EncodeTablesTest, AFenceWhoseCgroupIsGoneStillOwnsItsCpus) {
  auto image = EncodeTables({MakeFence(FenceKind::kExclusive, 0, {1}, "p")}, {1}, {.cpus = 4, .max_fences = 2});
  ASSERT_TRUE(image.ok());
  EXPECT_EQ(image->owners[1].slot, 1U);
  EXPECT_THAT(image->cgroups, IsEmpty());
}

TEST(EncodeTablesTest, RefusesCpusThatDoNotExist) {
  auto image = EncodeTables({MakeFence(FenceKind::kShared, 11, {4}, "p")}, {1}, {.cpus = 4, .max_fences = 2});
  EXPECT_TRUE(absl::IsInvalidArgument(image.status())) << image.status();
}

TEST(ValidateExpectationsTest, NamesTheFenceAtFault) {
  const ExpectedFence good = MakeFence(FenceKind::kExclusive, 1, {1}, "p");
  EXPECT_TRUE(ValidateExpectations({{good, MakeFence(FenceKind::kPods, 2, {}, "")}}).ok());
  EXPECT_TRUE(absl::IsInvalidArgument(ValidateExpectations({{good, good}})));
  EXPECT_TRUE(absl::IsInvalidArgument(ValidateExpectations({{MakeFence(FenceKind::kExclusive, 1, {}, "p")}})));
  EXPECT_TRUE(absl::IsInvalidArgument(ValidateExpectations({{MakeFence(FenceKind::kShared, 1, {1}, "")}})));
  ExpectedFence absolute = good;
  absolute.cgroup = "/c1";
  const absl::Status status = ValidateExpectations({{absolute}});
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("/c1"));
}

}  // namespace
}  // namespace podfence
