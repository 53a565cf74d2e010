#include "agent/pods/manifest.h"

#include <fstream>
#include <sstream>

#include "absl/strings/str_split.h"
#include "agent/core/text.h"
#include "agent/pods/defaults.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace podfence {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

std::string ReadFile(const std::string& path) {
  std::ifstream file(std::string(PODFENCE_SOURCE_DIR "/") + path);
  EXPECT_TRUE(file) << path << " cannot be read";
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::vector<std::string> ErrorsOf(std::string_view text, std::string_view file = "pods.yaml") {
  const absl::StatusOr<std::vector<Pod>> pods = LoadManifests(text, file);
  EXPECT_FALSE(pods.ok());
  if (pods.ok()) return {};
  EXPECT_EQ(pods.status().code(), absl::StatusCode::kInvalidArgument);
  return absl::StrSplit(pods.status().message(), '\n');
}

TEST(LoadManifests, KeepsWhatPodfenceNeedsOfEveryDocument) {
  const absl::StatusOr<std::vector<Pod>> pods =
      LoadManifests(ReadFile("tests/data/manifests/several.yaml"), "several.yaml");
  ASSERT_TRUE(pods.ok()) << pods.status();
  ASSERT_EQ(pods->size(), 3u);
  const Pod& web = (*pods)[0];
  EXPECT_EQ(web.FullName(), "shop/web");
  EXPECT_EQ(web.uid, "0b7c1f7e-web");
  EXPECT_THAT(web.labels, ElementsAre(Pair("app", "web"), Pair("tier", "front")));
  EXPECT_THAT(web.annotations, ElementsAre(Pair("note", "café")));
  EXPECT_EQ(web.termination_grace_period_seconds, 5);
  EXPECT_EQ(web.restart_policy, RestartPolicy::kOnFailure);
  EXPECT_EQ(web.overhead.at("memory").ToString(), "64Mi");
  EXPECT_FALSE(web.resources.has_value());
  ASSERT_EQ(web.init_containers.size(), 2u);
  EXPECT_FALSE(IsSidecar(web.init_containers[0]));
  EXPECT_TRUE(IsSidecar(web.init_containers[1]));
  EXPECT_EQ(web.init_containers[1].resources.requests.at("cpu").MilliValue(), 500);
  ASSERT_EQ(web.containers.size(), 1u);
  const Container& server = web.containers[0];
  EXPECT_EQ(server.image, "web:v1");
  EXPECT_THAT(server.command, ElementsAre("/bin/server"));
  EXPECT_THAT(server.args, ElementsAre("--port", "8080"));
  EXPECT_EQ(server.working_dir, "/srv");
  ASSERT_EQ(server.env.size(), 1u);  // a variable from elsewhere is left out
  EXPECT_EQ(server.env[0].name, "PORT");
  EXPECT_EQ(server.resources.limits.at("cpu").Value(), 2);
  EXPECT_EQ(server.resources.limits.at("memory").Value(), 1'000'000);
  EXPECT_EQ(server.resources.limits.at("hugepages-2Mi").Value(), 4 << 20);
  EXPECT_TRUE(server.resources.requests.empty());
  EXPECT_EQ((*pods)[1].FullName(), "default/one");
  EXPECT_EQ((*pods)[2].name, "two");
}

TEST(LoadManifests, TheExamplePodsAreValidAndBusy) {
  const std::vector<std::pair<std::string, size_t>> files = {{"tightly-coupled-database.yaml", 3},
                                                             {"ml-workload.yaml", 2}};
  for (const auto& [name, containers] : files) {
    const absl::StatusOr<std::vector<Pod>> pods = LoadManifests(ReadFile("config/examples/pods/" + name), name);
    ASSERT_TRUE(pods.ok()) << pods.status();
    ASSERT_EQ(pods->size(), 1u);
    size_t seen = 0;
    ForEachContainer(pods->front(), [&](const Container& container, bool is_init) {
      ++seen;
      EXPECT_EQ(is_init, IsSidecar(container));
      EXPECT_THAT(container.command, ElementsAre("/bin/sh", "-c", HasSubstr("while :")));
    });
    EXPECT_EQ(seen, containers);
    EXPECT_TRUE(pods->front().HasPodLevelResources());
  }
}

TEST(LoadManifests, ErrorsNameFileLineColumnAndField) {
  EXPECT_THAT(ErrorsOf(R"(apiVersion: v1
kind: Pod
metadata: {name: x}
spec:
  containers:
  - name: a
    resources:
      limits:
        cpu: 5x
        memory: [1]
      requests: 3
  - image: b
  restartPolicy: Sometimes
  terminationGracePeriodSeconds: soon
)"),
              ElementsAre(HasSubstr("pods.yaml:9:14: spec.containers[0].resources.limits.cpu: quantity \"5x\": unknown "
                                    "suffix"),
                          "pods.yaml:10:17: spec.containers[0].resources.limits.memory: is a list, must be a quantity "
                          "(250m, 4, 16Gi)",
                          "pods.yaml:11:17: spec.containers[0].resources.requests: is a number, must be a map",
                          "pods.yaml:12:5: spec.containers[1]: has no name",
                          HasSubstr("pods.yaml:13:18: spec.restartPolicy: \"Sometimes\" is unknown"),
                          "pods.yaml:14:34: spec.terminationGracePeriodSeconds: is a string, must be a number"));
}

TEST(LoadManifests, JsonErrorsHavePlacesToo) {
  EXPECT_THAT(ErrorsOf("{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"metadata\": {\"name\": \"x\"},\n"
                       "\"spec\": {\"containers\": [{\"name\": \"a\", \"resources\": {\"limits\": {\n"
                       "\t\"cpu\": \"5x\",\n"
                       "\t\"memory\": true,\n"
                       "\t\"hugepages-2Mi\": 12345678901234567890123\n"
                       "}}}],\n\"terminationGracePeriodSeconds\": 1.5\n}}",
                       "pods.json"),
              ElementsAre(HasSubstr("pods.json:3:12: spec.containers[0].resources.limits.cpu: quantity"),
                          HasSubstr("pods.json:4:15: spec.containers[0].resources.limits.memory: is true or false"),
                          HasSubstr("pods.json:7:36: spec.terminationGracePeriodSeconds: \"1.5\"")));
  EXPECT_THAT(ErrorsOf("{\"apiVersion\": \"v1\",\n \"kind\": ", "pods.json"),
              ElementsAre(HasSubstr("pods.json:2:9: is not JSON")));
}

TEST(LoadManifests, RefusesWhatIsNoPod) {
  EXPECT_THAT(ErrorsOf(""), ElementsAre("pods.yaml: holds no manifest"));
  EXPECT_THAT(ErrorsOf("# nothing\n---\n"), ElementsAre("pods.yaml: holds no manifest"));
  EXPECT_THAT(ErrorsOf("hello"), ElementsAre(HasSubstr("pods.yaml:1:1: is a string; a manifest is a map")));
  EXPECT_THAT(ErrorsOf("apiVersion: apps/v1\nkind: Deployment\n---\nkind: Pod\n---\napiVersion: v1\nkind: Secret\n"),
              ElementsAre(HasSubstr("1:1: apiVersion is \"apps/v1\"; must be v1"), HasSubstr("4:1: has no apiVersion"),
                          HasSubstr("6:1: kind is \"Secret\"")));
  EXPECT_THAT(ErrorsOf("apiVersion: v1\nkind: Pod\n"),
              ElementsAre(HasSubstr("metadata.name is missing"), HasSubstr("spec.containers is missing")));
  // Lists do not nest, and a pod's items stay pods.
  EXPECT_THAT(ErrorsOf("apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: List, items: []}\n"),
              ElementsAre(HasSubstr("4:3: items[0]: kind is \"List\"")));
}

TEST(LoadManifests, RefusesTheSameKeyOrPodTwice) {
  EXPECT_THAT(ErrorsOf("apiVersion: v1\nkind: Pod\nkind: Pod\n"),
              ElementsAre("pods.yaml:3:1: key \"kind\" appears twice"));
  EXPECT_THAT(ErrorsOf("{\"apiVersion\":\"v1\",\n\"kind\":\"Pod\", \"kind\":\"Pod\"}", "a.json"),
              ElementsAre(HasSubstr("a.json:2:20: key \"kind\" appears twice")));
  const std::string pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: c}]}\n---\n";
  EXPECT_THAT(ErrorsOf(pod + pod), ElementsAre("pods.yaml:6:1: pod default/a is in this file twice"));
}

TEST(LoadManifests, AManyfoldBadFileIsReportedWithinBounds) {
  std::string text = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [";
  for (int i = 0; i < 1000; ++i) text += "{image: i},";
  const std::vector<std::string> errors = ErrorsOf(text + "]}\n");
  EXPECT_EQ(errors.size(), Problems::kMaxProblems + 1);
  EXPECT_EQ(errors.back(), "and 980 more problems");
}

TEST(ParsePodJson, TakesQuantitiesAsTheApiDoes) {
  const absl::StatusOr<Pod> pod = ParsePodJson(nlohmann::json::parse(R"({"spec": {"containers": [{"resources":
      {"limits": {"cpu": 1.5, "memory": 1000000, "ephemeral-storage": " 4Gi ", "hugepages-2Mi": null}}}]}})"));
  ASSERT_TRUE(pod.ok()) << pod.status();
  const ResourceList& limits = pod->containers[0].resources.limits;
  EXPECT_EQ(limits.at("cpu").MilliValue(), 1500);
  EXPECT_EQ(limits.at("memory").Value(), 1'000'000);
  EXPECT_EQ(limits.at("ephemeral-storage").ToString(), "4Gi");
  EXPECT_TRUE(limits.at("hugepages-2Mi").IsZero());
  EXPECT_EQ(pod->name, "");  // left for ValidatePod
  EXPECT_EQ(pod->uid, "");
}

TEST(ParsePodJson, VariablesNeedNamesThatAnEnvironmentCanHold) {
  for (const char* variable : {R"({"value": "x"})", R"({"name": "A=B", "value": "x"})"}) {
    const nlohmann::json json = {{"spec", {{"containers", {{{"env", {nlohmann::json::parse(variable)}}}}}}}};
    EXPECT_THAT(std::string(ParsePodJson(json).status().message()),
                HasSubstr("spec.containers[0].env[0]: needs a name without '='"));
  }
}

TEST(ParsePodJson, AUidCannotLeaveItsDirectory) {
  for (const std::string& uid : std::vector<std::string>{"../../etc", "..", "a/b", "-a", "a b", std::string(64, 'a')}) {
    const absl::StatusOr<Pod> pod = ParsePodJson({{"metadata", {{"uid", uid}}}});
    EXPECT_THAT(std::string(pod.status().message()), HasSubstr("metadata.uid: \"" + uid)) << uid;
  }
  EXPECT_TRUE(ParsePodJson({{"metadata", {{"uid", "0b7c1f7e-5a4b-4f0e-9d53-3c1d9d8f6a11"}}}}).ok());
}

TEST(ParsePodJson, NamesTheFieldThatIsWrong) {
  const auto error = [](std::string_view text) {
    return std::string(ParsePodJson(nlohmann::json::parse(text)).status().message());
  };
  EXPECT_EQ(error(R"({"metadata": {"name": 5}})"), "metadata.name: is a number, must be a string (quote it)");
  EXPECT_EQ(error(R"([1])"), "is a list, must be a Pod");
  EXPECT_THAT(error(R"({"kind": "Node"})"), HasSubstr("kind is \"Node\""));
  EXPECT_THAT(error(R"({"spec": {"containers": {}}})"), HasSubstr("spec.containers: is a map, must be a list"));
  EXPECT_THAT(error(R"({"spec": {"containers": [null, 5]}})"), HasSubstr("spec.containers[1]: is a number"));
}

TEST(PodToJson, GivesTheSamePodBack) {
  absl::StatusOr<std::vector<Pod>> pods = LoadManifests(ReadFile("tests/data/manifests/several.yaml"), "several.yaml");
  ASSERT_TRUE(pods.ok()) << pods.status();
  for (Pod& pod : *pods) {
    for (const bool defaulted : {false, true}) {
      if (defaulted) DefaultPod(pod);
      const nlohmann::json json = PodToJson(pod);
      const absl::StatusOr<Pod> again = ParsePodJson(nlohmann::json::parse(json.dump()));
      ASSERT_TRUE(again.ok()) << again.status();
      EXPECT_EQ(PodToJson(*again), json);
      EXPECT_EQ(again->qos, pod.qos);
      EXPECT_EQ(again->uid, pod.uid);
      EXPECT_EQ(again->containers.size(), pod.containers.size());
      EXPECT_EQ(again->containers[0].resources.limits, pod.containers[0].resources.limits);
    }
  }
  Pod budget;
  budget.resources.emplace();  // an empty budget is not the same as none
  EXPECT_TRUE(ParsePodJson(PodToJson(budget))->resources.has_value());
  EXPECT_FALSE(ParsePodJson(PodToJson(Pod()))->resources.has_value());
}

}  // namespace
}  // namespace podfence
