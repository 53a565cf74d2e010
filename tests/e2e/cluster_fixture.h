#pragma once

#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "agent/kubernetes/http_client.h"
#include "tests/e2e/node_fixture.h"

namespace podfence {

// A node that belongs to a cluster, whose control plane runs outside of the guest (control_plane.sh), and on which
// Podfence is what the chart makes of it: a pod of a DaemonSet, with the rights that the chart gives it. All tests
// share the node. It has no CNI and no kube-proxy: every pod has the node's network, and reaches the API server by its
// own address.
class ClusterTest : public NodeTest {
 protected:
  static constexpr char kPrometheus[] = "http://10.0.2.100:9090";
  static constexpr char kPods[] = "/api/v1/namespaces/default/pods";
  static constexpr char kSystem[] = "podfence-system";  // the release's namespace

  static void SetUpTestSuite();
  static void TearDownTestSuite() { EndNode(); }
  void SetUp() override;
  void TearDown() override;

  // The chart with these values over those that the node needs, installed or upgraded; nothing where it is so.
  static void Release(const std::string& values);
  // The same, and its agent ready.
  static void Install(const std::string& values);
  static void Uninstall();

  // An object or a list of the API; an empty one where there is none.
  static nlohmann::json Get(const std::string& path);
  // Sends an object, as YAML or JSON, and expects that the API server takes it.
  static void Create(const std::string& path, const std::string& object);
  // The same for one that is there.
  static void Replace(const std::string& path, nlohmann::json object);
  static void CreatePod(const std::string& manifest) { Create(kPods, manifest); }
  // And waits until it is gone.
  static void DeletePod(const std::string& name);
  // The agent's pod; empty where there is none or more than one.
  static nlohmann::json AgentPod();
  // Of all that its containers wrote, ended ones included.
  static std::string AgentLog();
  // Kills the API server and waits until it answers again.
  static void RestartApiServer();

  // The names of the alerts that Prometheus has in that state, pending or firing.
  static std::set<std::string> Alerts(const std::string& state);

 private:
  static bool Helm(const std::string& words);
  static void DeletePods();
  static absl::StatusOr<HttpReply> Send(const std::string& method, const std::string& path,
                                        const std::string& body = "");
  static inline std::string released_;  // the values of the release
  static inline bool ready_ = false;
};

}  // namespace podfence
