#include "agent/enforcer/plan.h"

#include <gmock/gmock.h>

#include "agent/core/text.h"
#include "agent/enforcer/kube_values.h"
#include "tests/unit/enforcer/looks.h"
#include "tests/unit/enforcer/pods.h"

namespace podfence {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const PlanContext kContext{CpuSet::Range(0, 23), CpuSet{0}, true};
constexpr uint64_t kGi = uint64_t{1} << 30;

Plan PlanOf(const std::string& shared, std::initializer_list<PodAllocation> pods) {
  return MakePlan(StateOf(shared, pods), kContext);
}
std::string QuotaOf(const Plan& plan, const std::string& path) {
  const Fence* fence = plan.Find(path);
  return fence == nullptr ? "no such fence" : fence->cpu_max.ToString();
}
std::vector<FindingKind> KindsOf(const Plan& plan) {
  std::vector<FindingKind> kinds;
  for (const Finding& finding : plan.findings) kinds.push_back(finding.kind);
  return kinds;
}

TEST(KubeValuesTest, QuotaAsTheKubelet) {
  EXPECT_EQ(CpuMaxOf(4000, 100000).ToString(), "400000 100000");
  EXPECT_EQ(CpuMaxOf(1, 100000).ToString(), "1000 100000");
  EXPECT_EQ(CpuMaxOf(15, 100000).ToString(), "1500 100000");
  EXPECT_EQ(CpuMaxOf(0, 100000).ToString(), "1000 100000");
  EXPECT_EQ(CpuMaxOf(-500, 100000).ToString(), "1000 100000");
  EXPECT_EQ(CpuMaxOf(1500, 5000).ToString(), "7500 5000");
  EXPECT_EQ(CpuMaxOf(std::nullopt, 5000).ToString(), "max 5000");
}

TEST(KubeValuesTest, WeightOnTheQuadraticCurve) {
  EXPECT_EQ(CpuWeight(0), 1u);
  EXPECT_EQ(CpuWeight(1), 1u);
  EXPECT_EQ(CpuWeight(100), 17u);    // 102 shares
  EXPECT_EQ(CpuWeight(1000), 100u);  // 1024 shares
  EXPECT_EQ(CpuWeight(256000), 10000u);
  EXPECT_EQ(CpuWeight(int64_t{1} << 60), 10000u);
  uint64_t before = 0;
  for (int64_t milli = 0; milli < 300000; milli += 100) {
    EXPECT_GE(CpuWeight(milli), before);
    before = CpuWeight(milli);
  }
}

TEST(KubeValuesTest, PodAmountsCountSidecarsAndTheLargestInitContainer) {
  Pod pod = NewPod("p", {App("first", "3", "1Gi"), Sidecar("mesh", "500m", "1Gi"), App("second", "2", "4Gi")},
                   {App("app", "1", "1Gi")});
  EXPECT_EQ(PodLimits(pod).cpu_milli, 3000);                 // first
  EXPECT_EQ(PodLimits(pod).memory_bytes, int64_t{5} << 30);  // mesh and second
  pod.overhead = Resources("250m");
  EXPECT_EQ(PodLimits(pod).cpu_milli, 3250);
  EXPECT_EQ(PodRequests(pod).cpu_milli, 3250);
  pod.containers[0].resources.limits.clear();
  EXPECT_EQ(PodLimits(pod).cpu_milli, std::nullopt) << "not every container declares it";
  pod.resources.emplace();
  pod.resources->limits = Resources("8");
  EXPECT_EQ(PodLimits(pod).cpu_milli, 8250);
}

TEST(PlanTest, PodWithBubbleHasNoQuotaAndSharedPoolCpusets) {
  const Plan plan = PlanOf("0-11,20-23", {Database()});
  EXPECT_EQ(QuotaOf(plan, "poddb"), "max 100000");
  EXPECT_EQ(CpusOf(plan, "poddb"), "12-19");
  EXPECT_EQ(QuotaOf(plan, "poddb/database"), "max 100000");
  EXPECT_EQ(CpusOf(plan, "poddb/database"), "12-17");
  EXPECT_EQ(QuotaOf(plan, "poddb/metrics-exporter"), "max 100000");
  EXPECT_EQ(CpusOf(plan, "poddb/metrics-exporter"), "18-19");
  EXPECT_TRUE(plan.Find("poddb/database")->exclusive);
  EXPECT_FALSE(plan.Find("poddb/backup-agent")->exclusive);
  EXPECT_EQ(plan.Find("poddb/database")->mems, NumaSet{1});
  EXPECT_EQ(plan.Find("poddb")->memory_max, 16 * kGi);
  EXPECT_EQ(plan.Find("poddb/database")->memory_max, 12 * kGi);
  EXPECT_EQ(plan.Find("poddb/backup-agent")->memory_max, 16 * kGi) << "a container without a limit has its pod's";
  EXPECT_EQ(plan.Find("poddb/database")->cpu_weight, CpuWeight(6000));
  EXPECT_EQ(plan.exclusive.ToString(), "12-19");
  EXPECT_THAT(plan.findings, IsEmpty());
}

TEST(PlanTest, ASharedContainersOwnLimitStaysInABubble) {
  const Plan plan =
      PlanOf("0-11", {Decide(NewPod("p", "4", "1Gi", {Sidecar("mesh", "500m", "64Mi")}, {App("app", "3", "512Mi")}),
                             {PodShared("mesh", "15"), Exclusive("app", "12-14")}, "12-15")});
  EXPECT_EQ(QuotaOf(plan, "podp/mesh"), "50000 100000");
  EXPECT_EQ(QuotaOf(plan, "podp"), "max 100000");
}

TEST(PlanTest, WithoutABubbleTheRestOfTheLimitIsTheOneSharedContainersQuota) {
  const Plan plan = PlanOf("0,4-23", {MlWorkload()});
  EXPECT_EQ(QuotaOf(plan, "podml"), "max 100000");
  EXPECT_EQ(QuotaOf(plan, "podml/ml-training"), "max 100000");
  EXPECT_EQ(QuotaOf(plan, "podml/service-mesh-sidecar"), "100000 100000");
  EXPECT_EQ(CpusOf(plan, "podml/service-mesh-sidecar"), "0,4-23");
  EXPECT_EQ(CpusOf(plan, "podml"), "");
  EXPECT_EQ(plan.exclusive.ToString(), "1-3");
}

TEST(PlanTest, SeveralSharedContainersShareOneQuotaGroup) {
  const Plan plan = PlanOf(
      "0,4-23",
      {Decide(NewPod("p", "5500m", "8Gi", {Sidecar("mesh"), Sidecar("logs", "250m", "64Mi")}, {App("app", "3", "6Gi")}),
              {NodeShared("mesh"), NodeShared("logs"), Exclusive("app", "1-3")})});
  const std::string group = "podp/containers.quota-shared";
  EXPECT_EQ(QuotaOf(plan, "podp"), "max 100000");
  EXPECT_EQ(QuotaOf(plan, group), "250000 100000");
  EXPECT_EQ(QuotaOf(plan, group + "/mesh"), "max 100000");
  EXPECT_EQ(CpusOf(plan, group + "/mesh"), "0,4-23");
  EXPECT_EQ(plan.Find(group)->cpu_weight,
            plan.Find(group + "/mesh")->cpu_weight + plan.Find(group + "/logs")->cpu_weight);
  EXPECT_EQ(QuotaOf(plan, "podp/app"), "max 100000");
  EXPECT_EQ(plan.FindContainer("p", "logs")->path, group + "/logs");
  std::vector<std::string> order;
  for (const Fence& fence : plan.fences) order.push_back(fence.path);
  EXPECT_THAT(order, ElementsAre("", "podp", group, group + "/mesh", group + "/logs", "podp/app"));
}

TEST(PlanTest, NothingLeftIsTheSmallestQuotaAndAFinding) {
  const Plan plan = PlanOf("0,4-23", {Decide(NewPod("p", "3", "8Gi", {Sidecar("mesh")}, {App("app", "3", "6Gi")}),
                                             {NodeShared("mesh"), Exclusive("app", "1-3")})});
  EXPECT_EQ(QuotaOf(plan, "podp/mesh"), "1000 100000");
  ASSERT_THAT(KindsOf(plan), ElementsAre(FindingKind::kNoQuotaLeft));
  EXPECT_THAT(plan.findings[0].message, HasSubstr("CPU limit of 3000m"));
  EXPECT_EQ(plan.findings[0].path, "podp");
}

TEST(PlanTest, QuotasAreInTheKubeletsPeriods) {
  PlanContext context = kContext;
  context.quota_period_us = 5000;
  const NodeState state =
      StateOf("0,4-23", {Decide(NewPod("p", "3500m", "8Gi", {Sidecar("mesh")}, {App("app", "3", "6Gi")}),
                                {NodeShared("mesh"), Exclusive("app", "1-3")})});
  const Plan plan = MakePlan(state, context);
  EXPECT_EQ(QuotaOf(plan, "podp/mesh"), "2500 5000");
  EXPECT_EQ(QuotaOf(plan, "podp/app"), "max 5000");
}

TEST(PlanTest, AnInitContainerUsesWhatTheAppContainersDoNotYetUse) {
  const Plan plan = PlanOf("0,5-23", {Decide(NewPod("p", {App("setup", "500m", "64Mi")}, {App("app", "4", "6Gi")}),
                                             {NodeShared("setup"), Exclusive("app", "1-4")})});
  EXPECT_EQ(QuotaOf(plan, "podp/setup"), "50000 100000");
  EXPECT_THAT(plan.findings, IsEmpty());
  const Plan unlimited = PlanOf("0,5-23", {Decide(NewPod("p", "4", "8Gi", {App("setup")}, {App("app", "4", "6Gi")}),
                                                  {NodeShared("setup"), Exclusive("app", "1-4")})});
  EXPECT_EQ(QuotaOf(unlimited, "podp/setup"), "400000 100000");
}

TEST(PlanTest, AnInitContainerBesideASharedSidecarHasTheAppContainersTime) {
  const Plan plan =
      PlanOf("0,4-23", {Decide(NewPod("p", "4", "8Gi", {Sidecar("mesh"), App("setup")}, {App("app", "3")}),
                               {NodeShared("mesh"), NodeShared("setup"), Exclusive("app", "1-3")})});
  EXPECT_EQ(QuotaOf(plan, "podp/mesh"), "100000 100000");
  EXPECT_EQ(QuotaOf(plan, "podp/setup"), "300000 100000");
}

TEST(PlanTest, AnInitContainerWithoutTimeOfItsOwnJoinsTheGroup) {
  const Plan plan = PlanOf(
      "0,3-23", {Decide(NewPod("p", "4", "8Gi", {Sidecar("proxy", "2"), Sidecar("mesh"), App("setup")}, {App("a")}),
                        {Exclusive("proxy", "1-2"), NodeShared("mesh"), NodeShared("setup"), NodeShared("a")})});
  EXPECT_EQ(QuotaOf(plan, "podp/containers.quota-shared"), "200000 100000");
  EXPECT_NE(plan.Find("podp/containers.quota-shared/setup"), nullptr);
  EXPECT_NE(plan.Find("podp/containers.quota-shared/a"), nullptr);
}

TEST(PlanTest, ReusedCpusOfInitContainersCountOnce) {
  const Plan plan =
      PlanOf("0,5-23", {Decide(NewPod("p", "6", "8Gi", {App("warm", "4")}, {App("app", "4"), App("side")}),
                               {Exclusive("warm", "1-4"), Exclusive("app", "1-4"), NodeShared("side")})});
  EXPECT_EQ(QuotaOf(plan, "podp/side"), "200000 100000");
}

TEST(PlanTest, OwnersHaveASchedulingDomainWhereTheKernelHasThem) {
  PlanContext context = kContext;
  context.partitions = true;
  const PodAllocation lent = Decide(NewPod("p", {App("init", "2", "1Gi")}, {App("app", "3", "1Gi"), App("web")}),
                                    {Exclusive("init", "20-21"), Exclusive("app", "20-22"), NodeShared("web")});
  const Plan plan = MakePlan(StateOf("0,4-11,23", {MlWorkload(), Database(), lent}), context);
  const auto partition = [&](const std::string& path) {
    const Fence* fence = plan.Find(path);
    EXPECT_NE(fence, nullptr) << path;
    return fence == nullptr ? "" : Cat(fence->partition, " ", fence->cpus_exclusive.ToString());
  };
  EXPECT_EQ(partition(""), "member 1-3,12-17,20-22");
  EXPECT_EQ(partition("poddb"), "member 12-17");
  EXPECT_EQ(partition("poddb/database"), "root 12-17");
  EXPECT_EQ(partition("poddb/backup-agent"), "member ");
  EXPECT_EQ(partition("podp/init"), "member ") << "the app container's next";
  EXPECT_EQ(partition("podp/app"), "root 20-22");
  EXPECT_EQ(partition("podp/web"), "member ");
  for (const Fence& fence : MakePlan(StateOf("0,4-11,20-23", {MlWorkload(), Database()}), kContext).fences) {
    EXPECT_EQ(fence.partition, "member") << fence.path;
    EXPECT_TRUE(fence.cpus_exclusive.empty()) << fence.path;
  }
}

TEST(PlanTest, PodsWithoutExclusiveContainersKeepTheKubeletsLayout) {
  Pod burstable = NewPod("b", {}, {App("one", "1500m", "1Gi"), App("two", "500m")});
  burstable.containers[0].resources.requests = Resources("200m");
  burstable.qos = QosClass::kBurstable;
  const Plan plan = PlanOf("0-23", {Decide(burstable, {NodeShared("one"), NodeShared("two")}),
                                    Decide(NewPod("e", {}, {App("only")}), {NodeShared("only")}),
                                    Decide(NewPod("l", "2", "4Gi", {}, {App("free")}), {NodeShared("free")})});
  EXPECT_EQ(QuotaOf(plan, "podb"), "200000 100000");
  EXPECT_EQ(QuotaOf(plan, "podb/one"), "150000 100000");
  EXPECT_EQ(plan.Find("podb/one")->cpu_weight, CpuWeight(200));
  EXPECT_EQ(plan.Find("podb")->cpu_weight, CpuWeight(700));
  EXPECT_EQ(plan.Find("podb")->memory_max, std::nullopt) << "two declares no memory limit";
  EXPECT_EQ(QuotaOf(plan, "pode"), "max 100000");
  EXPECT_EQ(plan.Find("pode/only")->cpu_weight, 1u);
  EXPECT_EQ(QuotaOf(plan, "podl"), "200000 100000");
  EXPECT_EQ(QuotaOf(plan, "podl/free"), "200000 100000");
  EXPECT_EQ(CpusOf(plan, "podb/one"), "0-23");
}

TEST(PlanTest, AnEmptyNodePoolHoldsSharedContainersOnTheReservedCpus) {
  const Plan plan = MakePlan(StateOf("", {Decide(NewPod("p", {}, {App("app", "22"), App("side", "100m")}),
                                                 {Exclusive("app", "2-23"), NodeShared("side")})}),
                             {CpuSet::Range(0, 23), CpuSet{0, 1}, true});
  EXPECT_EQ(CpusOf(plan, "podp/side"), "0-1");
  EXPECT_EQ(plan.host.ToString(), "0-1");
  ASSERT_THAT(KindsOf(plan), ElementsAre(FindingKind::kEmptyNodePool));
  EXPECT_THAT(plan.findings[0].message, HasSubstr("held on the reserved CPUs 0-1"));
}

TEST(PlanTest, TheHostRunsOnTheNodePoolAndTheReservedCpus) {
  const Plan strict = MakePlan(StateOf("2-23", {}), {CpuSet::Range(0, 23), CpuSet{0, 1}, true});
  EXPECT_EQ(strict.shared.ToString(), "2-23");
  EXPECT_EQ(strict.host.ToString(), "0-23");
}

TEST(PlanTest, PolicyNoneFencesNothing) {
  const PlanContext none{CpuSet::Range(0, 23), CpuSet{0}, false};
  const Plan plan = MakePlan(StateOf("", {Decide(NewPod("p", {}, {App("a", "2")}), {NodeShared("a")})}), none);
  EXPECT_EQ(CpusOf(plan, "podp/a"), "");
  EXPECT_TRUE(plan.host.empty());
  EXPECT_THAT(plan.findings, IsEmpty());
  // A decision of an earlier configuration still holds: everyone else stays off its CPUs.
  const Plan left = MakePlan(StateOf("", {MlWorkload()}), none);
  EXPECT_EQ(CpusOf(left, "podml/ml-training"), "1-3");
  EXPECT_EQ(CpusOf(left, "podml/service-mesh-sidecar"), "0,4-23");
  EXPECT_EQ(left.host.ToString(), "0,4-23");
}

}  // namespace
}  // namespace podfence
