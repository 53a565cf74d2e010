#include "agent/allocator/memory_books.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/allocator/memory_testing.h"

namespace podfence {
namespace {

using memory_testing::kGi;
using memory_testing::kMi;
using memory_testing::List;
using memory_testing::MachineOf;
using memory_testing::StaticPolicy;
using testing::HasSubstr;

std::string Error(const Machine& machine, const Policy& policy) {
  return std::string(FreshBooks(machine, policy).status().message());
}

TEST(MemoryBooksTest, HugePagesAndReservationsAreNotAllocatable) {
  Machine machine = MachineOf({8, 4});
  machine.nodes[0].hugepages = {{.page_size_kb = 2048, .count = 512}, {.page_size_kb = 1048576, .count = 2}};
  Policy policy = StaticPolicy();
  policy.reserved["hugepages-2Mi"] = policy.reserved_memory[0].limits["hugepages-2Mi"] = memory_testing::Amount("64Mi");
  const auto books = FreshBooks(machine, policy);
  ASSERT_TRUE(books.ok()) << books.status();
  const std::vector<NodeMemory> on_node_0 = {{"hugepages-1Gi", 2 * kGi, 2 * kGi, 0},
                                             {"hugepages-2Mi", kGi - 64 * kMi, kGi - 64 * kMi, 0},
                                             {"memory", 4 * kGi, 4 * kGi, 0}};
  EXPECT_EQ((*books)[0].memory, on_node_0);
  EXPECT_EQ((*books)[0].cells, NumaSet{0});
  const std::vector<NodeMemory> on_node_1 = {{"memory", 4 * kGi, 4 * kGi, 0}};
  EXPECT_EQ((*books)[1].memory, on_node_1);
}

TEST(MemoryBooksTest, ReservationsMustAddUp) {
  Policy policy = StaticPolicy();
  policy.reserved["memory"] = memory_testing::Amount("1025Mi");
  EXPECT_EQ(Error(MachineOf({8, 8}), policy),
            "reservedMemory: the total amount \"1Gi\" of type \"memory\" is not equal to the value \"1025Mi\" "
            "determined by Node Allocatable feature");
  policy = StaticPolicy();
  policy.reserved["hugepages-2Mi"] = memory_testing::Amount("2Mi");
  EXPECT_THAT(Error(MachineOf({8, 8}), policy), HasSubstr("the total amount \"0\" of type \"hugepages-2Mi\""));
}

TEST(MemoryBooksTest, ReservationsMustNameWhatThereIs) {
  Policy policy = StaticPolicy();
  policy.reserved_memory[0].numa_node = 7;
  EXPECT_THAT(Error(MachineOf({8}), policy), HasSubstr("references a NUMA node 7 that does not exist"));
  policy = StaticPolicy();
  policy.reserved_memory.push_back(policy.reserved_memory[0]);
  EXPECT_THAT(Error(MachineOf({8}), policy), HasSubstr("duplicate value for NUMA node 0 and resource \"memory\""));
  policy = StaticPolicy();
  policy.reserved_memory[0].limits["cpu"] = memory_testing::Amount("1");
  EXPECT_THAT(Error(MachineOf({8}), policy), HasSubstr("the limit type \"cpu\" for NUMA node 0 is not supported"));
  policy = StaticPolicy();
  policy.reserved_memory[0].limits["memory"] = Quantity();
  EXPECT_THAT(Error(MachineOf({8}), policy), HasSubstr("reserved memory may not be zero for NUMA node 0"));
  policy = StaticPolicy();
  policy.reserved["memory"] = policy.reserved_memory[0].limits["memory"] = memory_testing::Amount("1500m");
  EXPECT_THAT(Error(MachineOf({8}), policy), HasSubstr("could not covert a variable of type Quantity to int64"));
}

TEST(MemoryBooksTest, SomeMemoryMustBeReserved) {
  Policy policy;
  EXPECT_EQ(Error(MachineOf({8}), policy),
            "reservedMemory: [memorymanager] you should specify the system reserved memory");
}

TEST(MemoryBooksTest, AReservationBeyondTheNodeWrapsOnSmallMachinesAndIsRefusedOnLargeOnes) {
  Policy policy;
  policy.reserved = List({{"memory", "2Gi"}});
  policy.reserved_memory = {{.numa_node = 0, .limits = List({{"memory", "2Gi"}})}};
  const auto books = FreshBooks(MachineOf({1, 8}), policy);
  ASSERT_TRUE(books.ok());
  EXPECT_TRUE(HasWrapped((*books)[0].memory[0]));
  EXPECT_FALSE(HasWrapped((*books)[1].memory[0]));
  EXPECT_THAT(Error(MachineOf({1, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8}), policy), HasSubstr("reserve it on another node"));
}

TEST(MemoryBooksTest, AGroupGivesFromItsLowestNodeAndTakesBackLikewise) {
  std::vector<NumaNodeMemory> books = *FreshBooks(MachineOf({4, 4, 4}), StaticPolicy());
  const std::vector<NumaNodeMemory> fresh = books;
  TakeMemory(books, NumaSet{0, 2}, kMemory, 5 * kGi);
  EXPECT_EQ(books[0].memory[0], (NodeMemory{"memory", 3 * kGi, 0, 3 * kGi}));
  EXPECT_EQ(books[2].memory[0], (NodeMemory{"memory", 4 * kGi, 2 * kGi, 2 * kGi}));
  EXPECT_EQ(books[1], fresh[1]);
  EXPECT_EQ(books[0].cells, (NumaSet{0, 2}));
  EXPECT_EQ(books[0].assignments, 1);
  EXPECT_TRUE(ViolatesGroups(books, NumaSet{0, 1}));
  EXPECT_TRUE(ViolatesGroups(books, NumaSet{0, 1, 2}));
  EXPECT_FALSE(ViolatesGroups(books, NumaSet{0, 2}));
  EXPECT_FALSE(ViolatesGroups(books, NumaSet{0}));  // the reference looks only at sets of several
  EXPECT_FALSE(HasFree(books, NumaSet{0, 2}, {{kMemory, 3 * kGi}}));
  EXPECT_TRUE(HasFree(books, NumaSet{0, 2}, {{kMemory, 2 * kGi}}));
  EXPECT_FALSE(HasFree(books, NumaSet{0, 2}, {{"hugepages-1Gi", 1}}));
  ReturnMemory(books, {NumaSet{0, 2}, "memory", 5 * kGi});
  EXPECT_EQ(books, fresh);
}

TEST(MemoryBooksTest, ANodeThatServesAloneJoinsNoGroup) {
  std::vector<NumaNodeMemory> books = *FreshBooks(MachineOf({4, 4}), StaticPolicy());
  TakeMemory(books, NumaSet{1}, kMemory, kGi);
  EXPECT_TRUE(ViolatesGroups(books, NumaSet{0, 1}));
}

}  // namespace
}  // namespace podfence
