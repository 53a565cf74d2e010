#include "agent/pods/validation.h"

#include <fstream>

#include "agent/pods/defaults.h"
#include "agent/pods/manifest.h"
#include "agent/pods/names.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace podfence {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Pod Defaulted(const nlohmann::json& json) {
  absl::StatusOr<Pod> pod = ParsePodJson(json);
  EXPECT_TRUE(pod.ok()) << pod.status();
  DefaultPod(*pod);
  return *pod;
}

Pod WithSpec(std::string_view spec) {
  return Defaulted({{"metadata", {{"name", "p"}}}, {"spec", nlohmann::json::parse(spec)}});
}

// Random pods, most of them bad in several ways, and what Kubernetes 1.37.2 makes of them: the errors of
// ValidatePodCreate, the QoS class, and each container's requests after defaulting (init containers first).
TEST(ValidatePod, AgreesWithTheReference) {
  std::ifstream file(PODFENCE_SOURCE_DIR "/tests/data/manifests/validated_pods.jsonl");
  ASSERT_TRUE(file) << "tests/data/manifests/validated_pods.jsonl cannot be read";
  int valid = 0;
  int invalid = 0;
  for (std::string line; std::getline(file, line);) {
    SCOPED_TRACE(line);
    const nlohmann::json record = nlohmann::json::parse(line);
    const Pod pod = Defaulted(record["pod"]);
    EXPECT_THAT(ValidatePod(pod), ElementsAreArray(record["invalid"].get<std::vector<std::string>>()));
    EXPECT_EQ(QosName(pod.qos), record["qos"].get<std::string>());
    size_t i = 0;
    ForEachContainer(pod, [&](const Container& container, bool) {
      ResourceList expected;
      for (const auto& [name, amount] : record["requests"][i++].items()) {
        expected[name] = *Quantity::Parse(amount.get<std::string>());
      }
      EXPECT_EQ(container.resources.requests, expected);
    });
    ++(record["invalid"].empty() ? valid : invalid);
  }
  EXPECT_GT(valid, 20);
  EXPECT_GT(invalid, 150);
}

TEST(CheckPod, ExplainsWithValueAndRule) {
  const std::vector<PodProblem> problems = CheckPod(WithSpec(R"({
    "resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "2"}},
    "containers": [{"name": "a", "image": "i", "resources": {"limits": {"cpu": "3"}, "requests": {"cpu": "1500m"}}}]})"));
  ASSERT_EQ(problems.size(), 2u);
  EXPECT_EQ(problems[0].Full(), "spec.resources.containers[0][cpu].limits: Invalid value: 3 exceeds the pod's limit 2");
  EXPECT_EQ(problems[1].Full(),
            "spec.resources.requests[cpu]: Invalid value: 1 is less than the 1500m that the containers request "
            "together");
}

TEST(CheckPod, InitContainersCountBesideTheSidecarsBeforeThem) {
  const auto errors = [](std::string_view cpu) {
    return ValidatePod(WithSpec(std::string(R"({"resources": {"requests": {"cpu": ")") + std::string(cpu) + R"("}},
      "initContainers": [
        {"name": "first", "image": "i", "resources": {"requests": {"cpu": "3"}}},
        {"name": "sidecar", "image": "i", "restartPolicy": "Always", "resources": {"requests": {"cpu": "2"}}},
        {"name": "second", "image": "i", "resources": {"requests": {"cpu": "3"}}}],
      "containers": [{"name": "app", "image": "i", "resources": {"requests": {"cpu": "1"}}}]})"));
  };
  EXPECT_THAT(errors("5"), IsEmpty());  // sidecar and second
  EXPECT_THAT(errors("4999m"), ElementsAre("spec.resources.requests[cpu]: Invalid value"));
}

TEST(CheckPod, HugePages) {
  const auto errors = [](std::string_view resources) {
    return ValidatePod(WithSpec(std::string(R"({"containers": [{"name": "a", "image": "i", "resources": )") +
                                std::string(resources) + "}]}"));
  };
  EXPECT_THAT(errors(R"({"limits": {"cpu": 1, "hugepages-2Mi": "4Mi"}})"), IsEmpty());
  EXPECT_THAT(errors(R"({"limits": {"cpu": 1, "hugepages-2Mi": "3Mi"}})"),
              ElementsAre("spec.containers[0].resources.limits[hugepages-2Mi]: Invalid value",
                          "spec.containers[0].resources.requests[hugepages-2Mi]: Invalid value"));
  EXPECT_THAT(errors(R"({"limits": {"hugepages-2Mi": "4Mi"}})"),
              ElementsAre("spec.containers[0].resources: Forbidden"));
  EXPECT_THAT(errors(R"({"requests": {"cpu": 1, "hugepages-2Mi": "4Mi"}})"),
              ElementsAre("spec.containers[0].resources.limits: Required value"));
  EXPECT_THAT(errors(R"({"limits": {"cpu": 1, "hugepages-2Mi": "4Mi"}, "requests": {"hugepages-2Mi": "2Mi"}})"),
              ElementsAre("spec.containers[0].resources.requests: Invalid value"));
  for (const char* page : {"hugepages-", "hugepages-0", "hugepages-x", "hugepages-500m"}) {
    EXPECT_THAT(errors(std::string(R"({"limits": {"cpu": 1, ")") + page + R"(": 0}})"),
                testing::Contains(HasSubstr(page)))
        << page;
  }
}

TEST(CheckPod, DetailsOfHostileNamesAreShortAndPrintable) {
  Pod pod = WithSpec(R"({"containers": [{"name": "a", "image": "i"}]})");
  pod.name = "\x1b[31m\n" + std::string(1 << 20, 'x');
  const std::vector<PodProblem> problems = CheckPod(pod);
  ASSERT_EQ(problems.size(), 2u);  // too long, and not a name
  EXPECT_LT(problems[0].Full().size(), 400u);
  EXPECT_EQ(problems[0].Full().find('\x1b'), std::string::npos);
}

TEST(CheckPod, ManyContainersAreCheckedInReasonableTime) {
  Pod pod = WithSpec(R"({"containers": []})");
  for (int i = 0; i < 50'000; ++i) {
    Container container;
    container.name = "c" + std::to_string(i);
    container.image = "i";
    pod.containers.push_back(std::move(container));
  }
  EXPECT_THAT(ValidatePod(pod), IsEmpty());
}

TEST(Names, CountTheRulesThatAreBroken) {
  EXPECT_EQ(DnsLabelFaults("a-1"), 0);
  EXPECT_EQ(DnsLabelFaults(""), 1);
  EXPECT_EQ(DnsLabelFaults("a.b"), 1);
  EXPECT_EQ(DnsLabelFaults(std::string(64, 'a')), 1);
  EXPECT_EQ(DnsLabelFaults(std::string(64, 'A')), 2);
  EXPECT_EQ(DnsSubdomainFaults("a.b-c.0"), 0);
  EXPECT_EQ(DnsSubdomainFaults("a..b"), 1);
  EXPECT_EQ(DnsSubdomainFaults("a."), 1);
  EXPECT_EQ(QualifiedNameFaults("example.com/Name_1.x"), 0);
  EXPECT_EQ(QualifiedNameFaults("a/b/c"), 1);
  EXPECT_EQ(QualifiedNameFaults("/a"), 1);
  EXPECT_EQ(QualifiedNameFaults("x/"), 2);
  EXPECT_EQ(QualifiedNameFaults("-"), 1);
  EXPECT_EQ(LabelValueFaults(""), 0);
  EXPECT_EQ(LabelValueFaults("-a"), 1);
}

}  // namespace
}  // namespace podfence
