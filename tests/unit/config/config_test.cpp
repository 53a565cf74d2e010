#include "agent/config/config.h"

#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "absl/strings/ascii.h"
#include "absl/strings/str_split.h"
#include "agent/pods/document.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace podfence {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

constexpr char kShipped[] = PODFENCE_SOURCE_DIR "/config/podfence.yaml";

Config Parsed(std::string_view text) {
  const absl::StatusOr<Config> config = ParseConfig(text, "podfence.yaml");
  EXPECT_TRUE(config.ok()) << config.status();
  return config.value_or(Config());
}

std::vector<std::string> ErrorsOf(std::string_view text) {
  const absl::StatusOr<Config> config = ParseConfig(text, "podfence.yaml");
  EXPECT_FALSE(config.ok()) << text;
  if (config.ok()) return {};
  EXPECT_EQ(config.status().code(), absl::StatusCode::kInvalidArgument);
  return absl::StrSplit(config.status().message(), '\n');
}

void ExpectSame(const Config& a, const Config& b) {
  EXPECT_EQ(a.policy.cpu_manager_policy, b.policy.cpu_manager_policy);
  EXPECT_EQ(a.policy.cpu_manager_policy_options, b.policy.cpu_manager_policy_options);
  EXPECT_EQ(a.policy.memory_manager_policy, b.policy.memory_manager_policy);
  EXPECT_EQ(a.policy.topology_manager_policy, b.policy.topology_manager_policy);
  EXPECT_EQ(a.policy.topology_manager_scope, b.policy.topology_manager_scope);
  EXPECT_EQ(a.policy.topology_manager_policy_options, b.policy.topology_manager_policy_options);
  EXPECT_EQ(a.policy.reserved_system_cpus, b.policy.reserved_system_cpus);
  EXPECT_EQ(a.policy.reserved, b.policy.reserved);
  EXPECT_EQ(a.policy.reserved_memory.size(), b.policy.reserved_memory.size());
  EXPECT_EQ(a.system_reserved, b.system_reserved);
  EXPECT_EQ(a.kube_reserved, b.kube_reserved);
  EXPECT_EQ(a.eviction_hard, b.eviction_hard);
  EXPECT_EQ(a.mode, b.mode);
  EXPECT_EQ(a.node_name, b.node_name);
  EXPECT_EQ(a.pod_source, b.pod_source);
  EXPECT_EQ(a.api_server, b.api_server);
  EXPECT_EQ(a.api_server_token_file, b.api_server_token_file);
  EXPECT_EQ(a.api_server_ca_file, b.api_server_ca_file);
  EXPECT_EQ(a.kubelet_pods_url, b.kubelet_pods_url);
  EXPECT_EQ(a.pods_api_socket, b.pods_api_socket);
  EXPECT_EQ(a.nri_socket_path, b.nri_socket_path);
  EXPECT_EQ(a.nri_plugin_index, b.nri_plugin_index);
  EXPECT_EQ(a.release_on_exit, b.release_on_exit);
  EXPECT_EQ(a.machine, b.machine);
  EXPECT_EQ(a.static_pod_path, b.static_pod_path);
  EXPECT_EQ(a.state_directory, b.state_directory);
  EXPECT_EQ(a.pod_logs_dir, b.pod_logs_dir);
  EXPECT_EQ(a.container_log_max_size, b.container_log_max_size);
  EXPECT_EQ(a.cgroup_hierarchy, b.cgroup_hierarchy);
  EXPECT_EQ(a.listen_address, b.listen_address);
  EXPECT_EQ(a.fence_host, b.fence_host);
  EXPECT_EQ(a.cpuset_partitions, b.cpuset_partitions);
  EXPECT_EQ(a.cpu_cfs_quota, b.cpu_cfs_quota);
  EXPECT_EQ(a.per_pod_metrics, b.per_pod_metrics);
  EXPECT_EQ(a.measure_interrupts, b.measure_interrupts);
  EXPECT_EQ(a.repair_drift, b.repair_drift);
  EXPECT_EQ(a.drift_sweep_interval, b.drift_sweep_interval);
  EXPECT_EQ(a.cpu_cfs_quota_period, b.cpu_cfs_quota_period);
  EXPECT_EQ(a.log_level, b.log_level);
}

TEST(ShippedConfig, SaysTheBuiltInDefaults) {
  const absl::StatusOr<Config> shipped = LoadConfigFile(kShipped);
  ASSERT_TRUE(shipped.ok()) << shipped.status();
  ExpectSame(*shipped, Config());
}

TEST(ShippedConfig, HoldsEveryKeyInOrder) {
  std::ifstream file(kShipped);
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const absl::StatusOr<std::vector<Node>> documents = ReadYaml(text, "podfence.yaml");
  ASSERT_TRUE(documents.ok()) << documents.status();
  EXPECT_EQ(documents->front().keys, ConfigKeys());
}

TEST(ParseConfig, NothingMeansTheDefaults) {
  ExpectSame(Parsed(""), Config());
  ExpectSame(Parsed("# a comment\n---\n"), Config());
  ExpectSame(Parsed("systemReserved:\nevictionHard: null\nfenceHost: ~\n"), Config());
}

TEST(ParseConfig, EveryKeyIsHeard) {
  const Config config = Parsed(R"(
cpuManagerPolicy: none
cpuManagerPolicyOptions: {full-pcpus-only: "true"}
memoryManagerPolicy: None
topologyManagerPolicy: single-numa-node
topologyManagerScope: pod
topologyManagerPolicyOptions: {prefer-closest-numa-nodes: "true"}
reservedSystemCPUs: 0,4-5
systemReserved: {cpu: 1, memory: 1Gi, pid: "1000"}
kubeReserved: {cpu: 250m}
evictionHard: {memory.available: 5%, nodefs.available: 10%}
reservedMemory:
  - numaNode: 0
    limits: {memory: 1Gi}
  - {numaNode: 3, limits: {memory: 100Mi, hugepages-2Mi: 4Mi}}
staticPodPath: /pods
podLogsDir: /logs
containerLogMaxSize: 1Mi
machine: "numa:2 core:2 pu:2"
stateDirectory: /state
cgroupHierarchy: /cg
listenAddress: "[::1]:0"
fenceHost: false
cpusetPartitions: false
repairDrift: false
driftSweepInterval: 1m30s
cpuCFSQuotaPeriod: 5ms
logLevel: debug
)");
  EXPECT_EQ(config.policy.cpu_manager_policy, "none");
  EXPECT_THAT(config.policy.cpu_manager_policy_options, ElementsAre(Pair("full-pcpus-only", "true")));
  EXPECT_EQ(config.policy.memory_manager_policy, "None");
  EXPECT_EQ(config.policy.topology_manager_policy, "single-numa-node");
  EXPECT_EQ(config.policy.topology_manager_scope, "pod");
  EXPECT_THAT(config.policy.topology_manager_policy_options, ElementsAre(Pair("prefer-closest-numa-nodes", "true")));
  EXPECT_EQ(config.policy.reserved_system_cpus, "0,4-5");
  EXPECT_EQ(config.system_reserved.at("cpu").Value(), 1);
  EXPECT_EQ(config.kube_reserved.at("cpu").MilliValue(), 250);
  EXPECT_EQ(config.eviction_hard.at("memory.available"), "5%");
  ASSERT_EQ(config.policy.reserved_memory.size(), 2u);
  EXPECT_EQ(config.policy.reserved_memory[1].numa_node, 3);
  EXPECT_EQ(config.policy.reserved_memory[1].limits.at("hugepages-2Mi").ToString(), "4Mi");
  EXPECT_EQ(config.static_pod_path, "/pods");
  EXPECT_EQ(config.pod_logs_dir, "/logs");
  EXPECT_EQ(config.container_log_max_size, 1 << 20);
  EXPECT_EQ(config.machine, "numa:2 core:2 pu:2");
  EXPECT_EQ(config.state_directory, "/state");
  EXPECT_EQ(config.cgroup_hierarchy, "/cg");
  EXPECT_EQ(config.listen_address, (ListenAddress{"::1", 0}));
  EXPECT_FALSE(config.fence_host);
  EXPECT_FALSE(config.cpuset_partitions);
  EXPECT_FALSE(config.repair_drift);
  EXPECT_EQ(config.drift_sweep_interval, absl::Seconds(90));
  EXPECT_EQ(config.cpu_cfs_quota_period, absl::Milliseconds(5));
  EXPECT_EQ(config.log_level, "debug");
}

TEST(ParseConfig, EveryKeyOfKubernetesIsHeard) {
  const Config config = Parsed(R"(
mode: manage
nodeName: node-1.example
podSource: kubelet
apiServer: https://[fd00::1]:6443
apiServerTokenFile: /token
apiServerCAFile: /ca.crt
kubeletPodsURL: https://127.0.0.1:10250/pods
podsAPISocket: /pods.sock
nriSocketPath: /nri.sock
nriPluginIndex: "05"
releaseOnExit: true
)");
  EXPECT_EQ(config.mode, "manage");
  EXPECT_EQ(config.node_name, "node-1.example");
  EXPECT_EQ(config.pod_source, "kubelet");
  EXPECT_EQ(config.api_server, "https://[fd00::1]:6443");
  EXPECT_EQ(config.api_server_token_file, "/token");
  EXPECT_EQ(config.api_server_ca_file, "/ca.crt");
  EXPECT_EQ(config.kubelet_pods_url, "https://127.0.0.1:10250/pods");
  EXPECT_EQ(config.pods_api_socket, "/pods.sock");
  EXPECT_EQ(config.nri_socket_path, "/nri.sock");
  EXPECT_EQ(config.nri_plugin_index, "05");
  EXPECT_TRUE(config.release_on_exit);
}

TEST(ParseConfig, RefusesBadValuesOfKubernetes) {
  EXPECT_THAT(ErrorsOf(R"(mode: on
nodeName: Node_1
podSource: etcd
apiServer: 10.0.0.1:443
apiServerTokenFile: token
apiServerCAFile: ca.crt
kubeletPodsURL: ""
podsAPISocket: sock
nriSocketPath: unix:///nri.sock
nriPluginIndex: "9"
)"),
              ElementsAre(HasSubstr("1:7: mode: is true or false"),
                          HasSubstr("2:11: nodeName: \"Node_1\" must be at most 253 characters"),
                          HasSubstr("3:12: podSource: \"etcd\" is unknown; allowed are auto, podsapi, apiserver"),
                          HasSubstr("4:12: apiServer: \"10.0.0.1:443\" does not begin with http:// or https://"),
                          HasSubstr("5:21: apiServerTokenFile: \"token\" must be an absolute path"),
                          HasSubstr("6:18: apiServerCAFile: \"ca.crt\" must be an absolute path"),
                          HasSubstr("7:17: kubeletPodsURL: must be an URL"),
                          HasSubstr("8:16: podsAPISocket: \"sock\" must be an absolute path"),
                          HasSubstr("9:16: nriSocketPath: \"unix:///nri.sock\" must be an absolute path"),
                          HasSubstr("10:17: nriPluginIndex: \"9\" must be two digits")));
}

TEST(ParseConfig, OnlyTheModesThatThereAreAreTaken) {
  EXPECT_EQ(Parsed("mode: local\n").mode, "local");
  EXPECT_EQ(Parsed("mode: audit\n").mode, "audit");
  EXPECT_THAT(ErrorsOf("mode: observe\n"),
              ElementsAre("podfence.yaml:1:7: mode: \"observe\" is unknown; allowed are local, manage, audit"));
}

TEST(ParseConfig, AnEmptyApiServerIsTheEnvironments) { EXPECT_EQ(Parsed("apiServer: \"\"\n").api_server, ""); }

TEST(NodeName, IsTheConfiguredOneThenTheEnvironmentsThenTheHosts) {
  setenv("NODE_NAME", "from-env", 1);
  EXPECT_EQ(*NodeName(Parsed("nodeName: mine\n")), "mine");
  EXPECT_EQ(*NodeName(Config()), "from-env");
  setenv("NODE_NAME", "not a name", 1);
  EXPECT_THAT(std::string(NodeName(Config()).status().message()), HasSubstr("NODE_NAME of the environment"));
  unsetenv("NODE_NAME");
  std::array<char, 256> host{};
  ASSERT_EQ(gethostname(host.data(), host.size() - 1), 0);
  EXPECT_EQ(*NodeName(Config()), absl::AsciiStrToLower(host.data()));
}

TEST(ParseConfig, ReportsAllProblemsWithTheirPlaces) {
  EXPECT_THAT(
      ErrorsOf(R"(cpuManagerPolicy: dynamic
cpuManagerPolcy: static
fenceHost: "yes"
systemReserved: {cpu: 5x, gpu: 1, memory: -1Gi}
reservedSystemCPUs: 3-1
driftSweepInterval: 5
stateDirectory: state
listenAddress: 127.0.0.1
evictionHard: {memory.available: 101%, disk.free: 1Gi}
reservedMemory: [{numaNode: 64, limits: {cpu: 1}}, {limit: {}}, 5]
cpuManagerPolicyOptions: {full-pcpus-only: true}
containerLogMaxSize: "0"
)"),
      ElementsAre("podfence.yaml:1:19: cpuManagerPolicy: \"dynamic\" is unknown; allowed are none, static",
                  HasSubstr("podfence.yaml:2:18: cpuManagerPolcy: unknown key"),
                  "podfence.yaml:3:12: fenceHost: is a string, must be true or false",
                  HasSubstr("podfence.yaml:4:23: systemReserved.cpu: quantity \"5x\""),
                  HasSubstr("podfence.yaml:4:32: systemReserved.gpu: cannot be reserved"),
                  "podfence.yaml:4:43: systemReserved.memory: must not be negative",
                  HasSubstr("podfence.yaml:5:21: reservedSystemCPUs: cpulist \"3-1\""),
                  HasSubstr("podfence.yaml:6:21: driftSweepInterval: is a number"),
                  "podfence.yaml:7:17: stateDirectory: \"state\" must be an absolute path",
                  HasSubstr("podfence.yaml:8:16: listenAddress: \"127.0.0.1\" has no port"),
                  HasSubstr("podfence.yaml:9:34: evictionHard.memory.available: \"101%\" is not from 0% to 100%"),
                  HasSubstr("podfence.yaml:9:51: evictionHard.disk.free: unknown eviction signal"),
                  HasSubstr("podfence.yaml:10:29: reservedMemory[0].numaNode: must be a NUMA node's id"),
                  HasSubstr("podfence.yaml:10:41: reservedMemory[0].limits: \"cpu\" is no memory"),
                  HasSubstr("podfence.yaml:10:60: reservedMemory[1].limit: unknown key"),
                  HasSubstr("reservedMemory[1]: has no numaNode"), HasSubstr("reservedMemory[1]: has no limits"),
                  HasSubstr("reservedMemory[2]: must be a map"),
                  HasSubstr("podfence.yaml:11:44: cpuManagerPolicyOptions.full-pcpus-only: is true or false"),
                  "podfence.yaml:12:22: containerLogMaxSize: must be more than 0"));
}

TEST(ParseConfig, ADurationHasItsRange) {
  EXPECT_THAT(ErrorsOf("cpuCFSQuotaPeriod: 2s\ndriftSweepInterval: 500ms\n"),
              ElementsAre("podfence.yaml:1:20: cpuCFSQuotaPeriod: \"2s\" is not a duration from 1ms to 1s",
                          "podfence.yaml:2:21: driftSweepInterval: \"500ms\" is not a duration from 1s to 24h"));
}

TEST(ParseConfig, RefusesWhatIsNoConfiguration) {
  EXPECT_THAT(ErrorsOf("- a\n"), ElementsAre(HasSubstr("1:1: is a list, must be a map")));
  EXPECT_THAT(ErrorsOf("logLevel: info\n---\nlogLevel: debug\n"), ElementsAre(HasSubstr("3:1: is a second document")));
  EXPECT_THAT(ErrorsOf("logLevel: info\nlogLevel: debug\n"),
              ElementsAre(HasSubstr("2:1: key \"logLevel\" appears twice")));
  EXPECT_THAT(ErrorsOf("logLevel: [\n"), ElementsAre(HasSubstr("is not YAML")));
  EXPECT_THAT(ErrorsOf("systemReserved: {cpu: 1n}"), ElementsAre(HasSubstr("must not be finer than a thousandth")));
}

TEST(LoadConfigFile, NamesTheFileThatCannotBeRead) {
  const absl::StatusOr<Config> missing = LoadConfigFile("/nonexistent/podfence.yaml");
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.status().message()), HasSubstr("/nonexistent/podfence.yaml"));
  EXPECT_FALSE(LoadConfigFile("/").ok());
}

TEST(LoadConfigFile, AHugeFileIsRefused) {
  const std::string path = testing::TempDir() + "podfence-huge-" + std::to_string(getpid()) + ".yaml";
  std::ofstream(path) << std::string((size_t{2} << 20) + 100, '#');
  const absl::StatusOr<Config> config = LoadConfigFile(path);
  std::remove(path.c_str());
  EXPECT_THAT(std::string(config.status().message()), HasSubstr("at most 2097152 are read"));
}

TEST(ParseListenAddress, TakesHostAndPort) {
  EXPECT_EQ(*ParseListenAddress("0.0.0.0:80"), (ListenAddress{"0.0.0.0", 80}));
  EXPECT_EQ(*ParseListenAddress("[::]:65535"), (ListenAddress{"::", 65535}));
  EXPECT_EQ(*ParseListenAddress("localhost:0"), (ListenAddress{"localhost", 0}));
  for (const char* bad : {"", ":80", "host:", "host:x", "host:65536", "host:-1", "::1:80", "[]:80", "host:8 0", "80"}) {
    EXPECT_FALSE(ParseListenAddress(bad).ok()) << bad;
  }
}

}  // namespace
}  // namespace podfence
