#include "agent/config/config.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <sstream>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_join.h"
#include "agent/config/eviction.h"
#include "agent/core/endpoint.h"
#include "agent/core/text.h"
#include "agent/pods/manifest.h"
#include "agent/pods/names.h"

namespace podfence {
namespace {

constexpr std::array<std::string_view, 2> kCpuPolicies{"none", "static"};
constexpr std::array<std::string_view, 2> kMemoryPolicies{"None", "Static"};
constexpr std::array<std::string_view, 4> kTopologyPolicies{"none", "best-effort", "restricted", "single-numa-node"};
constexpr std::array<std::string_view, 2> kTopologyScopes{"container", "pod"};
constexpr std::array<std::string_view, 3> kModes{"local", "manage", "audit"};
constexpr std::array<std::string_view, 4> kPodSources{"auto", "podsapi", "apiserver", "kubelet"};
constexpr std::array<std::string_view, 5> kLogLevels{"trace", "debug", "info", "warning", "error"};
// What a node can hold back (cmd/kubelet/app/server.go parseResourceList).
constexpr std::array<std::string_view, 4> kReservable{"cpu", "memory", "ephemeral-storage", "pid"};

std::string Quoted(std::string_view text) {
  constexpr size_t kShown = 80;
  return Cat("\"", absl::Utf8SafeCEscape(ToAbsl(text.substr(0, kShown))), text.size() > kShown ? "…" : "", "\"");
}

template <size_t n>
std::string Listed(const std::array<std::string_view, n>& names) {
  return absl::StrJoin(names, ", ", [](std::string* out, std::string_view name) { out->append(name); });
}

template <size_t n>
void ReadOneOf(const Field& field, const std::array<std::string_view, n>& allowed, std::string& into,
               Problems& problems) {
  if (!Is(field, Node::Kind::kString, problems)) return;
  const std::string& text = field.node().text;
  if (std::find(allowed.begin(), allowed.end(), text) == allowed.end()) {
    problems.Add(field, Cat(Quoted(text), " is unknown; allowed are ", Listed(allowed)));
    return;
  }
  into = text;
}

void ReadPath(const Field& field, std::string& into, Problems& problems) {
  if (!Is(field, Node::Kind::kString, problems)) return;
  if (!field.node().text.starts_with('/')) {
    problems.Add(field, Cat(Quoted(field.node().text), " must be an absolute path"));
    return;
  }
  into = field.node().text;
}

// Empty: none.
void ReadUrl(const Field& field, std::string& into, Problems& problems) {
  if (!Is(field, Node::Kind::kString, problems)) return;
  if (const absl::StatusOr<Endpoint> url = ParseEndpoint(field.node().text); !field.node().text.empty() && !url.ok()) {
    problems.Add(field, ToStd(url.status().message()));
    return;
  }
  into = field.node().text;
}

void ReadNodeName(const Field& field, Config& config, Problems& problems) {
  if (!Is(field, Node::Kind::kString, problems)) return;
  if (!field.node().text.empty() && DnsSubdomainFaults(field.node().text) > 0) {
    problems.Add(field, Cat(Quoted(field.node().text), " must be ", kDnsSubdomainRule));
    return;
  }
  config.node_name = field.node().text;
}

void ReadKubeletPods(const Field& field, Config& config, Problems& problems) {
  if (!Is(field, Node::Kind::kString, problems)) return;
  if (field.node().text.empty()) {
    problems.Add(field, "must be an URL, as http://127.0.0.1:10255/pods");
    return;
  }
  ReadUrl(field, config.kubelet_pods_url, problems);
}

void ReadPluginIndex(const Field& field, Config& config, Problems& problems) {
  if (!Is(field, Node::Kind::kString, problems)) return;
  const std::string& text = field.node().text;
  if (text.size() != 2 || text.find_first_not_of("0123456789") != std::string::npos) {
    problems.Add(field, Cat(Quoted(text), " must be two digits, \"00\" to \"99\""));
    return;
  }
  config.nri_plugin_index = text;
}

void ReadStrings(const Field& field, std::map<std::string, std::string>& into, Problems& problems) {
  if (!field.is_null()) into = ReadStringMap(field, problems);
}

void ReadReservation(const Field& field, ResourceList& into, Problems& problems) {
  if (field.is_null()) return;
  into = ReadResourceList(field, problems);
  if (field.node().kind != Node::Kind::kMap) return;
  field.EachMember([&](const std::string& name, const Field& value) {
    const auto found = into.find(name);
    if (found == into.end()) return;  // said already
    Quantity rounded = found->second;
    rounded.RoundUpToMilli();
    if (std::find(kReservable.begin(), kReservable.end(), name) == kReservable.end()) {
      problems.Add(value, Cat("cannot be reserved; allowed are ", Listed(kReservable)));
    } else if (found->second.IsNegative()) {
      problems.Add(value, "must not be negative");
    } else if (rounded != found->second) {
      problems.Add(value, "must not be finer than a thousandth");
    }
  });
}

void ReadEvictionHard(const Field& field, Config& config, Problems& problems) {
  ReadStrings(field, config.eviction_hard, problems);
  if (field.node().kind != Node::Kind::kMap) return;
  field.EachMember([&](const std::string& signal, const Field& value) {
    if (value.node().kind != Node::Kind::kString) return;  // said already
    if (const absl::Status status = CheckThreshold(signal, value.node().text); !status.ok()) {
      problems.Add(value, ToStd(status.message()));
    }
  });
}

NumaReservation ReadNumaReservation(const Field& item, Problems& problems) {
  NumaReservation reservation{.numa_node = -1, .limits = {}};
  if (item.node().kind != Node::Kind::kMap) {
    problems.Add(item, "must be a map of numaNode and limits");
    return reservation;
  }
  item.EachMember([&](const std::string& key, const Field& value) {
    if (key == "numaNode") {
      const int64_t id = ReadInt(value, problems, -1);
      if (id < 0 || id > NumaSet::kMaxNode) {
        problems.Add(value, Cat("must be a NUMA node's id, 0 to ", NumaSet::kMaxNode));
      } else {
        reservation.numa_node = static_cast<int>(id);
      }
    } else if (key == "limits") {
      reservation.limits = ReadResourceList(value, problems);
      for (const auto& [name, amount] : reservation.limits) {
        if (name != kMemory && !name.starts_with(kHugePagesPrefix)) {
          problems.Add(value, Cat(Quoted(name), " is no memory; allowed are memory and hugepages-SIZE"));
        } else if (amount <= Quantity()) {
          problems.Add(value, Cat(name, " must be more than 0"));
        }
      }
    } else {
      problems.Add(value, "unknown key; allowed are numaNode and limits");
    }
  });
  if (item.node().Find("numaNode") == nullptr) problems.Add(item, "has no numaNode");
  if (reservation.limits.empty()) problems.Add(item, "has no limits");
  return reservation;
}

void ReadReservedMemory(const Field& field, Config& config, Problems& problems) {
  if (!Is(field, Node::Kind::kList, problems)) return;
  config.policy.reserved_memory.clear();
  field.EachItem(
      [&](size_t, const Field& item) { config.policy.reserved_memory.push_back(ReadNumaReservation(item, problems)); });
}

void ReadReservedCpus(const Field& field, Config& config, Problems& problems) {
  if (!Is(field, Node::Kind::kString, problems)) return;
  if (const absl::StatusOr<CpuSet> cpus = CpuSet::Parse(field.node().text); !cpus.ok()) {
    problems.Add(field, ToStd(cpus.status().message()));
    return;
  }
  config.policy.reserved_system_cpus = field.node().text;
}

void ReadMachine(const Field& field, Config& config, Problems& problems) {
  if (!Is(field, Node::Kind::kString, problems)) return;
  if (field.node().text.empty()) problems.Add(field, "must be live, a file, or a synthetic description");
  config.machine = field.node().text;
}

void ReadLogSize(const Field& field, Config& config, Problems& problems) {
  if (!Is(field, Node::Kind::kString, problems)) return;
  const absl::StatusOr<Quantity> size = Quantity::Parse(field.node().text);
  if (!size.ok()) {
    problems.Add(field, ToStd(size.status().message()));
  } else if (*size <= Quantity()) {
    problems.Add(field, "must be more than 0");
  } else {
    config.container_log_max_size = size->Value();
  }
}

void ReadListenAddress(const Field& field, Config& config, Problems& problems) {
  if (!Is(field, Node::Kind::kString, problems)) return;
  const absl::StatusOr<ListenAddress> address = ParseListenAddress(field.node().text);
  if (!address.ok()) {
    problems.Add(field, ToStd(address.status().message()));
    return;
  }
  config.listen_address = *address;
}

void ReadDuration(const Field& field, absl::Duration least, absl::Duration most, absl::Duration& to,
                  Problems& problems) {
  if (!Is(field, Node::Kind::kString, problems)) return;
  absl::Duration duration;
  if (!absl::ParseDuration(field.node().text, &duration) || duration < least || duration > most) {
    problems.Add(field, Cat(Quoted(field.node().text), " is not a duration from ", absl::FormatDuration(least), " to ",
                            absl::FormatDuration(most)));
    return;
  }
  to = duration;
}

struct Key {
  std::string_view name;
  void (*read)(const Field& field, Config& config, Problems& problems);
};
constexpr std::array kKeys{
    Key{"cpuManagerPolicy",
        [](const Field& f, Config& c, Problems& p) { ReadOneOf(f, kCpuPolicies, c.policy.cpu_manager_policy, p); }},
    Key{"cpuManagerPolicyOptions",
        [](const Field& f, Config& c, Problems& p) { ReadStrings(f, c.policy.cpu_manager_policy_options, p); }},
    Key{"memoryManagerPolicy", [](const Field& f, Config& c,
                                  Problems& p) { ReadOneOf(f, kMemoryPolicies, c.policy.memory_manager_policy, p); }},
    Key{"topologyManagerPolicy",
        [](const Field& f, Config& c, Problems& p) {
          ReadOneOf(f, kTopologyPolicies, c.policy.topology_manager_policy, p);
        }},
    Key{"topologyManagerScope", [](const Field& f, Config& c,
                                   Problems& p) { ReadOneOf(f, kTopologyScopes, c.policy.topology_manager_scope, p); }},
    Key{"topologyManagerPolicyOptions",
        [](const Field& f, Config& c, Problems& p) { ReadStrings(f, c.policy.topology_manager_policy_options, p); }},
    Key{"reservedSystemCPUs", ReadReservedCpus},
    Key{"systemReserved", [](const Field& f, Config& c, Problems& p) { ReadReservation(f, c.system_reserved, p); }},
    Key{"kubeReserved", [](const Field& f, Config& c, Problems& p) { ReadReservation(f, c.kube_reserved, p); }},
    Key{"evictionHard", ReadEvictionHard},
    Key{"reservedMemory", ReadReservedMemory},
    Key{"staticPodPath", [](const Field& f, Config& c, Problems& p) { ReadPath(f, c.static_pod_path, p); }},
    Key{"podLogsDir", [](const Field& f, Config& c, Problems& p) { ReadPath(f, c.pod_logs_dir, p); }},
    Key{"containerLogMaxSize", ReadLogSize},
    Key{"mode", [](const Field& f, Config& c, Problems& p) { ReadOneOf(f, kModes, c.mode, p); }},
    Key{"nodeName", ReadNodeName},
    Key{"podSource", [](const Field& f, Config& c, Problems& p) { ReadOneOf(f, kPodSources, c.pod_source, p); }},
    Key{"apiServer", [](const Field& f, Config& c, Problems& p) { ReadUrl(f, c.api_server, p); }},
    Key{"apiServerTokenFile", [](const Field& f, Config& c, Problems& p) { ReadPath(f, c.api_server_token_file, p); }},
    Key{"apiServerCAFile", [](const Field& f, Config& c, Problems& p) { ReadPath(f, c.api_server_ca_file, p); }},
    Key{"kubeletPodsURL", ReadKubeletPods},
    Key{"podsAPISocket", [](const Field& f, Config& c, Problems& p) { ReadPath(f, c.pods_api_socket, p); }},
    Key{"nriSocketPath", [](const Field& f, Config& c, Problems& p) { ReadPath(f, c.nri_socket_path, p); }},
    Key{"nriPluginIndex", ReadPluginIndex},
    Key{"kubeletStateDirectory",
        [](const Field& f, Config& c, Problems& p) { ReadPath(f, c.kubelet_state_directory, p); }},
    Key{"cpuCFSQuota",
        [](const Field& f, Config& c, Problems& p) { c.cpu_cfs_quota = ReadBool(f, p, c.cpu_cfs_quota); }},
    Key{"cpuCFSQuotaPeriod",
        [](const Field& f, Config& c, Problems& p) {
          ReadDuration(f, absl::Milliseconds(1), absl::Seconds(1), c.cpu_cfs_quota_period, p);
        }},
    Key{"releaseOnExit",
        [](const Field& f, Config& c, Problems& p) { c.release_on_exit = ReadBool(f, p, c.release_on_exit); }},
    Key{"machine", ReadMachine},
    Key{"stateDirectory", [](const Field& f, Config& c, Problems& p) { ReadPath(f, c.state_directory, p); }},
    Key{"cgroupHierarchy", [](const Field& f, Config& c, Problems& p) { ReadPath(f, c.cgroup_hierarchy, p); }},
    Key{"listenAddress", ReadListenAddress},
    Key{"fenceHost", [](const Field& f, Config& c, Problems& p) { c.fence_host = ReadBool(f, p, c.fence_host); }},
    Key{"cpusetPartitions",
        [](const Field& f, Config& c, Problems& p) { c.cpuset_partitions = ReadBool(f, p, c.cpuset_partitions); }},
    Key{"perPodMetrics",
        [](const Field& f, Config& c, Problems& p) { c.per_pod_metrics = ReadBool(f, p, c.per_pod_metrics); }},
    Key{"repairDrift", [](const Field& f, Config& c, Problems& p) { c.repair_drift = ReadBool(f, p, c.repair_drift); }},
    Key{"measureInterrupts",
        [](const Field& f, Config& c, Problems& p) { c.measure_interrupts = ReadBool(f, p, c.measure_interrupts); }},
    Key{"driftSweepInterval",
        [](const Field& f, Config& c, Problems& p) {
          ReadDuration(f, absl::Seconds(1), absl::Hours(24), c.drift_sweep_interval, p);
        }},
    Key{"logLevel", [](const Field& f, Config& c, Problems& p) { ReadOneOf(f, kLogLevels, c.log_level, p); }},
};
const Key* FindKey(std::string_view name) {
  const auto key = std::find_if(kKeys.begin(), kKeys.end(), [&](const Key& known) { return known.name == name; });
  return key == kKeys.end() ? nullptr : &*key;
}

}  // namespace

absl::StatusOr<ListenAddress> ParseListenAddress(std::string_view text) {
  const auto bad = [&](std::string_view why) {
    return absl::InvalidArgumentError(Cat(Quoted(text), " ", why, "; write HOST:PORT or [IPV6]:PORT"));
  };
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return bad("has no port");
  std::string_view host = text.substr(0, colon);
  const std::string_view port = text.substr(colon + 1);
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return bad("has an IPv6 address without brackets");
  }
  if (host.empty()) return bad("has no host");
  ListenAddress address{.host = std::string(host), .port = 0};
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), address.port);
  if (error != std::errc() || end != port.data() + port.size() || address.port < 0 || address.port > 65535) {
    return bad("has no port from 0 to 65535");
  }
  return address;
}

absl::StatusOr<Config> ParseConfig(std::string_view text, std::string_view file) {
  const absl::StatusOr<std::vector<Node>> documents = ReadYaml(text, file);
  if (!documents.ok()) return documents.status();
  Config config;
  if (documents->empty()) return config;
  Problems problems(file);
  if (documents->size() > 1) problems.Add((*documents)[1], "", "is a second document; one is read");
  const Field root(documents->front());
  if (Is(root, Node::Kind::kMap, problems)) {
    root.EachMember([&](const std::string& name, const Field& value) {
      const Key* key = FindKey(name);
      if (key == nullptr) {
        problems.Add(value, "unknown key; all keys are in the podfence.yaml that comes with Podfence");
      } else {
        key->read(value, config, problems);
      }
    });
  }
  if (!problems.empty()) return problems.ToStatus();
  return config;
}

absl::StatusOr<Config> LoadConfigFile(const std::string& path) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::ErrnoToStatus(errno, Cat("configuration ", path, ": cannot be opened"));
  std::string text;
  const size_t limit = DocumentLimits().bytes + 1;  // one more, so that a larger file is seen to be too large
  text.resize(limit);
  file.read(text.data(), static_cast<std::streamsize>(limit));
  if (file.bad()) return absl::ErrnoToStatus(errno == 0 ? EIO : errno, Cat("configuration ", path, ": cannot be read"));
  text.resize(static_cast<size_t>(file.gcount()));
  return ParseConfig(text, path);
}

absl::StatusOr<Config> KubeletReservations(const Node& kubelet_configuration, std::string_view file) {
  constexpr std::array<std::string_view, 4> kReservations = {"systemReserved", "kubeReserved", "evictionHard",
                                                             "reservedSystemCPUs"};
  Config config;
  config.system_reserved.clear();
  config.policy.memory_manager_policy = "None";
  Problems problems(file);
  const Field root(kubelet_configuration);
  if (Is(root, Node::Kind::kMap, problems)) {
    root.EachMember([&](const std::string& name, const Field& value) {
      if (std::find(kReservations.begin(), kReservations.end(), name) == kReservations.end()) return;
      FindKey(name)->read(value, config, problems);
    });
  }
  if (!problems.empty()) return problems.ToStatus();
  return config;
}

std::vector<std::string> ConfigKeys() {
  std::vector<std::string> names;
  names.reserve(kKeys.size());
  for (const Key& key : kKeys) names.emplace_back(key.name);
  return names;
}

}  // namespace podfence
