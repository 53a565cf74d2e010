#pragma once

// config/ reads podfence.yaml: the agent's one configuration file. Keys are KubeletConfiguration's wherever it has one
// with that meaning, so that an operator can copy them; the rest are Podfence's own. It uses core/, and of pods/ the
// reader of documents; it does not look at the machine, which ComposePolicy is given, but for its name.

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "agent/core/machine.h"
#include "agent/core/policy.h"

namespace podfence {

struct Node;  // pods/document.h

struct ListenAddress {
  std::string host;  // a name or an address, IPv6 without brackets
  int port = 0;      // 0: any free one
  friend bool operator==(const ListenAddress&, const ListenAddress&) = default;
};

// Everything an operator can set. A default Config is what config/podfence.yaml says, and works on any machine with
// two CPUs and 1 GiB: the static policies, the reservation they need, no topology that refuses a pod.
struct Config {
  // The managers' policies as written. reserved is empty and reserved_memory only what the operator gave:
  // ComposePolicy completes both.
  Policy policy{.cpu_manager_policy_options = {},
                .topology_manager_policy_options = {{"max-allowable-numa-nodes", "64"}},
                .reserved_system_cpus = {},
                .reserved = {},
                .reserved_memory = {}};
  ResourceList system_reserved = {{"cpu", Quantity::FromMilli(500)},
                                  {"memory", Quantity::FromInt(int64_t{512} << 20, Quantity::Format::kBinarySI)}};
  ResourceList kube_reserved;
  std::map<std::string, std::string> eviction_hard = {{"memory.available", "100Mi"}};  // an amount, or "5%"

  std::string mode = "local";       // local | manage | audit
  std::string node_name;            // this node in Kubernetes; empty: see NodeName
  std::string pod_source = "auto";  // auto | podsapi | apiserver | kubelet
  std::string api_server;           // URL; empty: that of the environment
  std::string api_server_token_file = "/var/run/secrets/kubernetes.io/serviceaccount/token";
  std::string api_server_ca_file = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt";
  std::string kubelet_pods_url = "http://127.0.0.1:10255/pods";
  std::string pods_api_socket = "/var/lib/kubelet/pods-api/pods-api.sock";
  std::string nri_socket_path = "/var/run/nri/nri.sock";          // of the runtime
  std::string nri_plugin_index = "90";                            // two digits: plugins are asked in this order
  std::string kubelet_state_directory = "/var/lib/kubelet";       // the kubelet's root directory, with its checkpoints
  bool cpu_cfs_quota = true;                                      // the kubelet sets quotas from CPU limits
  absl::Duration cpu_cfs_quota_period = absl::Milliseconds(100);  // of every quota, the kubelet's and ours
  bool release_on_exit = false;  // the agent's end gives every cgroup back to Kubernetes

  std::string machine = "live";                             // live | FILE.xml | an hwloc synthetic description
  std::string static_pod_path = "/etc/podfence/pods";       // directory of Pod manifests that is watched
  std::string state_directory = "/var/lib/podfence";        // checkpoint, lock, records
  std::string pod_logs_dir = "/var/log/podfence";           // containers' output
  int64_t container_log_max_size = int64_t{10} << 20;       // bytes
  std::string cgroup_hierarchy = "/sys/fs/cgroup";          // where cgroup v2 is mounted
  ListenAddress listen_address = {"127.0.0.1", 9551};       // of /metrics, /api and the page
  bool per_pod_metrics = false;                             // export series of single containers
  bool fence_host = true;                                   // keep the host's own processes off exclusive CPUs
  bool cpuset_partitions = true;                            // exclusive containers get scheduling domains of their own
  bool repair_drift = true;                                 // undo what others change in a fence
  bool measure_interrupts = false;                          // time of interrupts on exclusive CPUs
  absl::Duration drift_sweep_interval = absl::Seconds(10);  // at most so long until drift no probe saw is repaired
  std::string log_level = "info";                           // trace | debug | info | warning | error
};

// Reads a configuration; what it does not mention keeps its default. An unknown key, a wrong type or value is
// InvalidArgument: every problem on a line of its own, "FILE:LINE:COLUMN: KEY: WHAT".
absl::StatusOr<Config> ParseConfig(std::string_view text, std::string_view file);
// The same from a file. NotFound or another code of the system's where it cannot be read.
absl::StatusOr<Config> LoadConfigFile(const std::string& path);
// What a KubeletConfiguration reserves: systemReserved, kubeReserved, evictionHard and reservedSystemCPUs of it, with
// the kubelet's defaults (apis/config/v1beta1/defaults.go: nothing but memory.available 100Mi), in an otherwise default
// Config that spreads memory over no NUMA nodes (memoryManagerPolicy None). Errors as above, for these keys alone.
absl::StatusOr<Config> KubeletReservations(const Node& kubelet_configuration, std::string_view file);
// All keys, in the order of config/podfence.yaml.
std::vector<std::string> ConfigKeys();

// The node's name in Kubernetes: nodeName, else the environment's NODE_NAME (which a DaemonSet sets from
// spec.nodeName), else the host's name in lower case, as the kubelet takes it (pkg/util/node GetHostname). An error
// where none is valid.
absl::StatusOr<std::string> NodeName(const Config& config);

// "HOST:PORT", "[IPV6]:PORT"; InvalidArgument says what is wrong.
absl::StatusOr<ListenAddress> ParseListenAddress(std::string_view text);

// The policy for one machine, complete:
// - reserved is systemReserved + kubeReserved + evictionHard's memory.available
//   (cm/node_container_manager_linux.go GetNodeAllocatableReservation); a percentage is of the memory of all NUMA
//   nodes. Under reservedSystemCPUs the number of those CPUs is the reservation of cpu (cmd/kubelet/app/server.go).
// - Where memoryManagerPolicy is Static and reservedMemory is not given (the kubelet would not start then), the
//   reservation of memory is taken from the NUMA nodes by ascending id: from each what it has beside its huge pages,
//   until it is whole.
// InvalidArgument: more is reserved than the machine has.
absl::StatusOr<Policy> ComposePolicy(const Config& config, const Machine& machine);

}  // namespace podfence
