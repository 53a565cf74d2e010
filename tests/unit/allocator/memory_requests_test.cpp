#include "agent/allocator/memory_requests.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/allocator/memory_testing.h"

namespace podfence {
namespace {

using memory_testing::Equal;
using memory_testing::GuaranteedPod;
using memory_testing::kGi;
using memory_testing::kMi;
using memory_testing::List;
using memory_testing::SetBudget;
using memory_testing::Sidecar;
using testing::ElementsAre;
using testing::IsEmpty;

TEST(MemoryRequestsTest, MemoryAndHugePagesInResourceOrder) {
  const auto pod = GuaranteedPod({Equal("app", {{"cpu", "1"}, {"memory", "1Gi"}, {"hugepages-2Mi", "64Mi"}})});
  EXPECT_THAT(*ContainerMemoryRequests(*pod, pod->containers[0]),
              ElementsAre(MemoryRequest{"hugepages-2Mi", 64 * kMi}, MemoryRequest{"memory", kGi}));
}

TEST(MemoryRequestsTest, AFractionOfAByteIsAnErrorInTheReferencesWords) {
  const auto pod = GuaranteedPod({Equal("app", {{"cpu", "1"}, {"memory", "1500m"}})});
  const auto requests = ContainerMemoryRequests(*pod, pod->containers[0]);
  EXPECT_EQ(requests.status().message(), "[memorymanager] failed to represent quantity as int64");
  EXPECT_FALSE(PodMemoryRequests(*pod).ok());
}

TEST(MemoryRequestsTest, WithinABudgetOnlyEqualCpuAndMemoryIsExclusive) {
  Container loose = Equal("loose", {{"cpu", "1"}, {"memory", "1Gi"}});
  loose.resources.limits = List({{"cpu", "1"}, {"memory", "2Gi"}});
  Container no_cpu = Equal("no-cpu", {{"memory", "1Gi"}});
  Container zero = Equal("zero", {{"cpu", "0"}, {"memory", "1Gi"}});
  auto pod = GuaranteedPod({loose, no_cpu, zero, Equal("own", {{"cpu", "1"}, {"memory", "1Gi"}})});
  SetBudget(*pod, {{"cpu", "4"}, {"memory", "8Gi"}});
  EXPECT_THAT(*ContainerMemoryRequests(*pod, pod->containers[0]), IsEmpty());
  EXPECT_THAT(*ContainerMemoryRequests(*pod, pod->containers[1]), IsEmpty());
  EXPECT_THAT(*ContainerMemoryRequests(*pod, pod->containers[2]), IsEmpty());
  EXPECT_THAT(*ContainerMemoryRequests(*pod, pod->containers[3]), ElementsAre(MemoryRequest{"memory", kGi}));
  EXPECT_THAT(*PodMemoryRequests(*pod), ElementsAre(MemoryRequest{"memory", 8 * kGi}));
}

TEST(MemoryRequestsTest, APodWithoutABudgetNeedsThePeakOfItsPhases) {
  // While init2 runs: sidecar 1 + init2 6; afterwards: sidecar 1 + app 4.
  const auto pod = GuaranteedPod(
      {Equal("app", {{"cpu", "1"}, {"memory", "4Gi"}})},
      {Equal("init1", {{"cpu", "1"}, {"memory", "5Gi"}}), Sidecar(Equal("sidecar", {{"cpu", "1"}, {"memory", "1Gi"}})),
       Equal("init2", {{"cpu", "1"}, {"memory", "6Gi"}, {"hugepages-1Gi", "1Gi"}})});
  // Huge pages that no app container asks for are not counted.
  EXPECT_THAT(*PodMemoryRequests(*pod), ElementsAre(MemoryRequest{"memory", 7 * kGi}));
}

TEST(MemoryRequestsTest, ASharedContainerNeedsSomethingToShare) {
  auto pod = GuaranteedPod({Equal("own", {{"cpu", "1"}, {"memory", "4Gi"}}), Equal("shared", {})});
  SetBudget(*pod, {{"cpu", "4"}, {"memory", "4Gi"}});
  EXPECT_EQ(CheckPodSharedPool(*pod).message(),
            "pod rejected, sum of exclusive container memory requests equals pod budget, leaving no memory for shared "
            "containers");
  SetBudget(*pod, {{"cpu", "4"}, {"memory", "5Gi"}});
  EXPECT_TRUE(CheckPodSharedPool(*pod).ok());
}

TEST(MemoryRequestsTest, AnInitContainerSharesWhatEarlierSidecarsLeave) {
  const Container sidecar = Sidecar(Equal("sidecar", {{"cpu", "1"}, {"memory", "4Gi"}}));
  auto pod = GuaranteedPod({Equal("own", {{"cpu", "1"}, {"memory", "1Gi"}})}, {sidecar, Equal("init", {})});
  SetBudget(*pod, {{"cpu", "4"}, {"memory", "4Gi"}});
  EXPECT_EQ(CheckPodSharedPool(*pod).message(),
            "pod rejected, pod has shared init containers but no memory available for them");
  std::swap(pod->init_containers[0], pod->init_containers[1]);
  EXPECT_TRUE(CheckPodSharedPool(*pod).ok());
}

}  // namespace
}  // namespace podfence
