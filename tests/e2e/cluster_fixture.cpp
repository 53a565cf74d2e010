#include "tests/e2e/cluster_fixture.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>

#include "agent/commands/api_client.h"
#include "agent/core/text.h"
#include "tests/e2e/node_runtime.h"

namespace podfence {
namespace {

namespace fs = std::filesystem;

constexpr char kDaemonSet[] = "/apis/apps/v1/namespaces/podfence-system/daemonsets/podfence";
constexpr char kAgentPods[] =
    "/api/v1/namespaces/podfence-system/pods?labelSelector=app.kubernetes.io%2Fname%3Dpodfence";

// The node is Ready once there is a network; that nothing can use, since every pod has the node's own.
constexpr char kNetwork[] = R"({"cniVersion": "1.0.0", "name": "none", "plugins": [{"type": "none"}]})";

constexpr char kValues[] = R"(
image: {repository: docker.io/library/podfence}
hostNetwork: true
apiServer: {host: 10.0.2.100}
config: {topologyManagerPolicy: single-numa-node}
)";

constexpr char kNamespace[] = R"({"metadata": {
  "name": "podfence-system", "labels": {"pod-security.kubernetes.io/enforce": "privileged"}}})";

}  // namespace

void ClusterTest::SetUpTestSuite() {
  BeginNode();
  fs::create_directories("/etc/cni/net.d");
  std::ofstream("/etc/cni/net.d/none.conflist") << kNetwork;
  StartRuntime(RuntimeOfNode().required);
  StartKubelet("", {"--kubeconfig=/e2e/cluster/lab.conf"});
  ASSERT_FALSE(HasFatalFailure());
  ASSERT_TRUE(Await(
      [] {
        const nlohmann::json conditions =
            Get("/api/v1/nodes/lab").value("/status/conditions"_json_pointer, nlohmann::json::array());
        return std::ranges::any_of(conditions,
                                   [](const auto& one) { return one["type"] == "Ready" && one["status"] == "True"; });
      },
      absl::Seconds(120)))
      << Get("/api/v1/nodes/lab").dump(1) << Log("kubelet");
  // A guest that is booted once more finds what its cluster kept.
  if (Get("/api/v1/namespaces/podfence-system").empty()) Create("/api/v1/namespaces", kNamespace);
  ready_ = !HasFatalFailure();
}

void ClusterTest::SetUp() {
  ASSERT_TRUE(ready_) << "the node did not join the cluster";
  DeletePods();
}

void ClusterTest::TearDown() {
  if (HasFailure()) std::cerr << "the agent's log:\n" << AgentLog() << '\n';
  DeletePods();
}

void ClusterTest::DeletePods() {
  const nlohmann::json list = Get(kPods);
  ASSERT_TRUE(list.contains("items")) << "the API server lists no pods";
  for (const nlohmann::json& pod : list["items"]) DeletePod(pod["metadata"]["name"]);
}

bool ClusterTest::Helm(const std::string& words) {
  return Run(Cat("GOMAXPROCS=4 helm --kubeconfig /e2e/cluster/admin.conf --namespace ", kSystem, " ", words));
}

void ClusterTest::Release(const std::string& values) {
  if (values == released_) return;
  std::ofstream("/run/e2e/node.yaml") << kValues;
  std::ofstream("/run/e2e/values.yaml") << values;
  ASSERT_TRUE(Helm("upgrade --install podfence /e2e/chart --values /run/e2e/node.yaml,/run/e2e/values.yaml"))
      << Log("run");
  released_ = values;
}

void ClusterTest::Install(const std::string& values) {
  Release(values);
  // What `kubectl rollout status` waits for; helm's own --wait is content with none of one node.
  ASSERT_TRUE(Await(
      [] {
        const nlohmann::json set = Get(kDaemonSet);
        return set.value("/status/observedGeneration"_json_pointer, 0) ==
                   set.value("/metadata/generation"_json_pointer, 1) &&
               set.value("/status/updatedNumberScheduled"_json_pointer, 0) == 1 &&
               set.value("/status/numberAvailable"_json_pointer, 0) == 1;
      },
      absl::Seconds(180)))
      << AgentPod().dump(1);
}

void ClusterTest::Uninstall() {
  released_.clear();
  ASSERT_TRUE(Helm("uninstall podfence")) << Log("run");
  ASSERT_TRUE(Await(
      [] {
        const nlohmann::json list = Get(kAgentPods);
        return list.contains("items") && list["items"].empty();
      },
      absl::Seconds(90)))
      << AgentPod().dump(1);
}

absl::StatusOr<HttpReply> ClusterTest::Send(const std::string& method, const std::string& path,
                                            const std::string& body) {
  // A connection each: one that is kept may have been closed meanwhile.
  HttpClient client({.endpoint = {.tls = true, .host = "10.0.2.100", .port = 6443},
                     .token_file = "/e2e/cluster/admin.token",
                     .ca_file = "/e2e/cluster/ca.crt"});
  return client.Fetch({.method = method, .target = path, .content_type = "application/yaml", .body = body},
                      {.time = absl::Seconds(20)});
}

nlohmann::json ClusterTest::Get(const std::string& path) {
  const absl::StatusOr<HttpReply> reply = Send("GET", path);
  if (!reply.ok() || reply->code != 200) return nlohmann::json::object();
  return nlohmann::json::parse(reply->body);
}

void ClusterTest::Create(const std::string& path, const std::string& object) {
  const absl::StatusOr<HttpReply> reply = Send("POST", path, object);
  ASSERT_TRUE(reply.ok()) << reply.status();
  ASSERT_EQ(reply->code, 201) << reply->body;
}

void ClusterTest::Replace(const std::string& path, nlohmann::json object) {
  object["metadata"].erase("resourceVersion");  // whatever the kubelet has said of its status since it was read
  const absl::StatusOr<HttpReply> reply = Send("PUT", path, object.dump());
  ASSERT_TRUE(reply.ok()) << reply.status();
  ASSERT_EQ(reply->code, 200) << reply->body;
}

void ClusterTest::DeletePod(const std::string& name) {
  const std::string path = Cat(kPods, "/", name);
  const absl::StatusOr<HttpReply> reply = Send("DELETE", path);
  ASSERT_TRUE(reply.ok()) << reply.status();
  ASSERT_THAT(reply->code, testing::AnyOf(200, 202, 404)) << reply->body;
  EXPECT_TRUE(Await([&] { return Send("GET", path).value_or(HttpReply()).code == 404; }, absl::Seconds(90))) << name;
}

nlohmann::json ClusterTest::AgentPod() {
  const nlohmann::json list = Get(kAgentPods);
  return list.contains("items") && list["items"].size() == 1 ? list["items"][0] : nlohmann::json::object();
}

void ClusterTest::RestartApiServer() {
  ASSERT_TRUE(Run("nc 10.0.2.100 6444 </dev/null | grep killed")) << Log("run");
  ASSERT_TRUE(Await([] { return Send("GET", "/readyz").value_or(HttpReply()).code == 200; }, absl::Seconds(90)));
}

std::set<std::string> ClusterTest::Alerts(const std::string& state) {
  std::set<std::string> names;
  const absl::StatusOr<std::string> answer = FetchFromAgent(kPrometheus, "/api/v1/alerts");
  EXPECT_TRUE(answer.ok()) << answer.status();
  const nlohmann::json alerts = nlohmann::json::parse(answer.value_or(""), nullptr, /*allow_exceptions=*/false);
  if (!alerts.is_object()) return names;
  for (const nlohmann::json& alert : alerts["data"]["alerts"]) {
    if (alert["state"] == state) names.insert(alert["labels"]["alertname"].get<std::string>());
  }
  return names;
}

std::string ClusterTest::AgentLog() {
  std::string logs;
  for (const auto& entry : fs::recursive_directory_iterator("/var/log/pods")) {
    if (entry.path().string().find(kSystem) == std::string::npos || !entry.is_regular_file()) continue;
    std::stringstream text;
    text << std::ifstream(entry.path()).rdbuf();
    logs += Cat(entry.path().string(), ":\n", text.str());
  }
  return logs;
}

}  // namespace podfence
