#include "agent/pods/defaults.h"

#include "agent/pods/manifest.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace podfence {
namespace {

using ::testing::MatchesRegex;

Pod Defaulted(std::string_view spec, std::string_view metadata = R"({"name": "p"})") {
  absl::StatusOr<Pod> pod =
      ParsePodJson({{"metadata", nlohmann::json::parse(metadata)}, {"spec", nlohmann::json::parse(spec)}});
  EXPECT_TRUE(pod.ok()) << pod.status();
  DefaultPod(*pod);
  return *pod;
}

TEST(DefaultPod, RequestsBecomeLimitsResourceByResource) {
  const Pod pod = Defaulted(R"({
    "containers": [{"resources": {"limits": {"cpu": "2", "memory": "1Gi", "hugepages-2Mi": "4Mi"},
                                  "requests": {"memory": "512Mi"}}}],
    "initContainers": [{"resources": {"limits": {"cpu": "1"}}}, {"resources": {"requests": {"cpu": "1"}}}]})");
  EXPECT_EQ(pod.containers[0].resources.requests, (ResourceList{{"cpu", Quantity::FromInt(2)},
                                                                {"memory", *Quantity::Parse("512Mi")},
                                                                {"hugepages-2Mi", *Quantity::Parse("4Mi")}}));
  EXPECT_EQ(pod.init_containers[0].resources.requests, (ResourceList{{"cpu", Quantity::FromInt(1)}}));
  EXPECT_TRUE(pod.init_containers[1].resources.limits.empty());
}

TEST(DefaultPod, TheBudgetStaysAsWritten) {
  const Pod pod = Defaulted(R"({"resources": {"limits": {"cpu": "4"}},
    "containers": [{"resources": {"limits": {"cpu": "2", "hugepages-2Mi": "4Mi", "memory": "1Gi"}}}]})");
  EXPECT_TRUE(pod.resources->requests.empty());
  EXPECT_EQ(pod.resources->limits.size(), 1u);
  EXPECT_EQ(pod.qos, QosClass::kBurstable);
}

TEST(DefaultPod, RoundsAllAmountsUpToThousandths) {
  const Pod pod = Defaulted(R"({"resources": {"limits": {"cpu": "1.0001"}, "requests": {"cpu": "1n"}},
    "overhead": {"cpu": "0.0005"},
    "containers": [{"resources": {"limits": {"cpu": "1.9999"}, "requests": {"memory": "0.1"}}}]})");
  EXPECT_EQ(pod.resources->limits.at("cpu").ToString(), "1001m");
  EXPECT_EQ(pod.resources->requests.at("cpu").ToString(), "1m");
  EXPECT_EQ(pod.overhead.at("cpu").ToString(), "1m");
  EXPECT_EQ(pod.containers[0].resources.limits.at("cpu").ToString(), "2");
  EXPECT_EQ(pod.containers[0].resources.requests.at("cpu").ToString(), "2");
}

TEST(DefaultPod, ANegativeGracePeriodIsOneSecond) {
  EXPECT_EQ(Defaulted(R"({"terminationGracePeriodSeconds": -5})").termination_grace_period_seconds, 1);
  EXPECT_EQ(Defaulted(R"({"terminationGracePeriodSeconds": 0})").termination_grace_period_seconds, 0);
  EXPECT_EQ(Defaulted(R"({})").termination_grace_period_seconds, 30);
}

TEST(DefaultPod, AUidComesFromTheContent) {
  const std::string spec = R"({"containers": [{"name": "c", "resources": {"limits": {"cpu": "1000m"}}}]})";
  const Pod pod = Defaulted(spec);
  EXPECT_THAT(pod.uid, MatchesRegex("[0-9a-f]{32}"));
  EXPECT_EQ(pod.uid, "9f61512d1f86d86e55f94a2c295898eb");  // never changes: running pods are known by it
  EXPECT_EQ(Defaulted(R"({"containers": [{"resources": {"limits": {"cpu": 1}}, "name": "c", "tty": true}]})").uid,
            pod.uid);
  EXPECT_NE(Defaulted(spec, R"({"name": "q"})").uid, pod.uid);
  EXPECT_NE(Defaulted(spec, R"({"name": "p", "namespace": "n"})").uid, pod.uid);
  EXPECT_NE(Defaulted(R"({"containers": [{"name": "c", "resources": {"limits": {"cpu": "2"}}}]})").uid, pod.uid);
  EXPECT_EQ(Defaulted(spec, R"({"name": "p", "uid": "given"})").uid, "given");
}

TEST(DefaultPod, TwiceIsAsGoodAsOnce) {
  Pod pod = Defaulted(R"({"resources": {"limits": {"cpu": "4.00001"}},
    "containers": [{"name": "c", "resources": {"limits": {"cpu": "2"}}}]})");
  const nlohmann::json once = PodToJson(pod);
  DefaultPod(pod);
  EXPECT_EQ(PodToJson(pod), once);
}

TEST(ComputeQos, FollowsTheContainers) {
  const auto qos = [](std::string_view spec) { return Defaulted(spec).qos; };
  EXPECT_EQ(qos(R"({"containers": [{}]})"), QosClass::kBestEffort);
  EXPECT_EQ(qos(R"({"containers": []})"), QosClass::kBestEffort);
  EXPECT_EQ(qos(R"({"containers": [{"resources": {"limits": {"cpu": 1, "memory": 1}}}]})"), QosClass::kGuaranteed);
  EXPECT_EQ(qos(R"({"containers": [{"resources": {"limits": {"cpu": 1}}}]})"), QosClass::kBurstable);
  EXPECT_EQ(qos(R"({"containers": [{"resources": {"limits": {"cpu": 0, "memory": 0}}}]})"), QosClass::kBestEffort);
  EXPECT_EQ(qos(R"({"containers": [{"resources": {"limits": {"cpu": 1, "memory": 1}}}, {}]})"), QosClass::kBurstable);
  EXPECT_EQ(qos(R"({"containers": [{"resources": {"limits": {"cpu": 1, "memory": 1}}}], "initContainers": [{}]})"),
            QosClass::kBurstable);
  EXPECT_EQ(qos(R"({"containers": [{"resources": {"limits": {"hugepages-2Mi": "2Mi"}}}]})"), QosClass::kBestEffort);
}

TEST(ComputeQos, TheBudgetComesFirst) {
  const auto qos = [](std::string_view spec) { return Defaulted(spec).qos; };
  EXPECT_EQ(qos(R"({"resources": {"limits": {"cpu": 4, "memory": 4}, "requests": {"cpu": 4, "memory": 4}},
                    "containers": [{}]})"),
            QosClass::kGuaranteed);
  EXPECT_EQ(qos(R"({"resources": {"requests": {"cpu": 4}},
                    "containers": [{"resources": {"limits": {"cpu": 1, "memory": 1}}}]})"),
            QosClass::kBurstable);
  // An empty budget is none.
  EXPECT_EQ(qos(R"({"resources": {}, "containers": [{"resources": {"limits": {"cpu": 1, "memory": 1}}}]})"),
            QosClass::kGuaranteed);
}

}  // namespace
}  // namespace podfence
