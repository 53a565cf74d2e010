#include "agent/nri_answers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace podfence {
namespace {

using testing::HasSubstr;

Fence Exclusive() {
  Fence fence;
  fence.container = "app";
  fence.exclusive = true;
  fence.cpus = CpuSet{1, 2, 3};
  fence.mems = NumaSet{0};
  fence.held = {.cpu_weight = false, .memory_max = false};
  return fence;
}
Fence Shared() {
  Fence fence = Exclusive();
  fence.exclusive = false;
  fence.cpus = CpuSet{0, 4};
  fence.held.mems = false;
  fence.cpu_max.quota_us = 100000;
  return fence;
}

constexpr CpuMax kThree{300000, 100000};

TEST(NriAnswersTest, AnExclusiveContainerHasNoQuota) {
  const NriResources resources = ResourcesOf(Exclusive());
  EXPECT_EQ(resources.cpus, "1-3");
  EXPECT_EQ(resources.mems, "0");
  EXPECT_EQ(resources.cpu_quota, -1);
  EXPECT_EQ(resources.cpu_shares, std::nullopt) << "the kubelet's";
  EXPECT_EQ(resources.memory_limit, std::nullopt);
}

TEST(NriAnswersTest, OnlyWhatDiffersIsUpdated) {
  const NriResources wanted = ResourcesOf(Shared());
  EXPECT_EQ(wanted.mems, "");
  EXPECT_EQ(DifferingResources(wanted, wanted), std::nullopt);
  NriResources present = wanted;
  present.cpu_quota = 400000;
  const std::optional<NriResources> change = DifferingResources(wanted, present);
  ASSERT_TRUE(change.has_value());
  EXPECT_EQ(change->cpu_quota, 100000);
  EXPECT_EQ(change->cpus, "");
  NriResources longer = wanted;
  longer.cpu_period = 1000000;
  EXPECT_NE(DifferingResources(wanted, longer), std::nullopt) << "the same quota in another period";
  NriResources unlimited = ResourcesOf(Exclusive());
  unlimited.cpu_quota = 0;
  EXPECT_EQ(DifferingResources(ResourcesOf(Exclusive()), unlimited), std::nullopt) << "0 is no quota too";
}

TEST(NriAnswersTest, ACreationThatIsNotAsDecidedIsRejected) {
  NriValidation validation;
  validation.pod.ns = "default";
  validation.pod.name = "p";
  validation.container.id = "c1";
  validation.container.name = "app";
  validation.container.resources.cpu_quota = 300000;
  EXPECT_THAT(CheckAdjusted(Exclusive(), validation).message(),
              HasSubstr("cpuset.cpus \"\" instead of the decided \"1-3\""))
      << "nobody adjusted it";
  validation.adjustment.resources = ResourcesOf(Exclusive());
  EXPECT_EQ(CheckAdjusted(Exclusive(), validation), absl::OkStatus());
  validation.adjustment.resources.cpus = "0-7";
  validation.owners["c1"][NriField::kCpusetCpus] = "95-other";
  EXPECT_THAT(CheckAdjusted(Exclusive(), validation).message(), HasSubstr("95-other set it"));
  validation.adjustment.resources.cpus = "1-3";
  validation.adjustment.resources.cpu_quota = std::nullopt;
  EXPECT_THAT(CheckAdjusted(Exclusive(), validation).message(), HasSubstr("CPU quota"));
}

TEST(NriAnswersTest, ExclusiveCpusCannotBeResized) {
  NriResources present;
  present.cpu_shares = 3072;
  NriResources wanted = present;
  EXPECT_EQ(CheckResize(Exclusive(), kThree, present, wanted), absl::OkStatus());
  wanted.cpu_shares = 0;
  EXPECT_EQ(CheckResize(Exclusive(), kThree, present, wanted), absl::OkStatus()) << "CRI's word for what stays";
  wanted.cpu_shares = 4096;
  EXPECT_THAT(CheckResize(Exclusive(), kThree, present, wanted).message(), HasSubstr("app owns CPUs 1-3"));
}

TEST(NriAnswersTest, AssignedMemoryCannotBeResized) {
  NriResources present;
  present.memory_limit = 1 << 30;
  NriResources wanted = present;
  EXPECT_EQ(CheckResize(Exclusive(), kThree, present, wanted), absl::OkStatus());
  wanted.memory_limit = 1 << 29;
  EXPECT_THAT(CheckResize(Exclusive(), kThree, present, wanted).message(), HasSubstr("memory on NUMA nodes 0"));
  EXPECT_EQ(CheckResize(Shared(), kThree, present, wanted), absl::OkStatus()) << "its memory is the kubelet's";
  wanted.memory_limit = 0;
  EXPECT_EQ(CheckResize(Exclusive(), kThree, present, wanted), absl::OkStatus()) << "CRI's word for what stays";
}

TEST(NriAnswersTest, WhatExclusiveCpusLeaveCannotBeResized) {
  NriResources present;
  present.cpu_shares = 1024;
  present.cpu_quota = 100000;  // ours
  present.cpu_period = 100000;
  NriResources wanted = present;
  wanted.cpu_quota = 300000;
  EXPECT_EQ(CheckResize(Shared(), kThree, present, wanted), absl::OkStatus()) << "the limit that was decided on";
  wanted.cpu_quota = 400000;
  EXPECT_THAT(CheckResize(Shared(), kThree, present, wanted).message(), HasSubstr("cannot be resized"));
  wanted.cpu_quota = -1;
  EXPECT_EQ(CheckResize(Shared(), kThree, present, wanted), absl::OkStatus()) << "a kubelet without quotas";
  wanted.cpu_shares = 2048;
  EXPECT_FALSE(CheckResize(Shared(), kThree, present, wanted).ok());
  Fence plain = Shared();
  plain.held.cpu_max = false;
  EXPECT_EQ(CheckResize(plain, kThree, present, wanted), absl::OkStatus()) << "its pod has no exclusive CPUs";
}

TEST(NriAnswersTest, ABudgetWithExclusiveCpusCannotBeResized) {
  NriPod pod;
  pod.ns = "default";
  pod.name = "p";
  NriResources budget;
  budget.cpu_quota = 400000;
  budget.cpu_shares = 4096;
  EXPECT_EQ(CheckPodResize(pod, budget), absl::OkStatus()) << "the runtime does not say what it was";
  pod.pod_resources = budget;
  EXPECT_EQ(CheckPodResize(pod, budget), absl::OkStatus()) << "the kubelet asks where nothing changes";
  EXPECT_EQ(CheckPodResize(pod, std::nullopt), absl::OkStatus());
  budget.cpu_quota = 500000;
  EXPECT_THAT(CheckPodResize(pod, budget).message(), HasSubstr("default/p has exclusive CPUs"));
}

}  // namespace
}  // namespace podfence
