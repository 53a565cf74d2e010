#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace podfence {

// What the runtime says of a sandbox, a container and their resources, and what we ask of it: NRI's messages as plain
// values (github.com/containerd/nri pkg/api/api.proto), those of their fields that Podfence reads or sets. No other
// room sees protobuf. Every member has an initializer, so that a value can be written with some of them named.

using NriStrings = std::map<std::string, std::string>;

// In both directions an absent value means "not said" or "unchanged": NRI cannot say an empty cpuset.
struct NriResources {
  std::string cpus = {};                     // cpuset list, "0-3,8"
  std::string mems = {};                     // NUMA node list
  std::optional<int64_t> cpu_quota = {};     // us in a period; -1: none
  std::optional<uint64_t> cpu_period = {};   // us
  std::optional<uint64_t> cpu_shares = {};   // cgroup v1's scale (1 CPU = 1024); the runtime converts it to cpu.weight
  std::optional<int64_t> memory_limit = {};  // bytes; -1: none
  std::optional<int64_t> memory_reservation = {};
  std::optional<int64_t> memory_swap = {};  // memory and swap together
  std::optional<int64_t> pids_limit = {};
  std::map<std::string, uint64_t> hugepage_limits = {};  // page size as in "2MB" to bytes
  NriStrings unified = {};                               // cgroup v2 file name to value

  bool operator==(const NriResources&) const = default;
};

struct NriPod {
  std::string id = {};  // the sandbox's: a new one where the sandbox is recreated
  std::string name = {};
  std::string uid = {};  // Kubernetes': what decisions are keyed by
  std::string ns = {};
  NriStrings labels = {};
  NriStrings annotations = {};
  std::string runtime_handler = {};
  std::string cgroup_parent = {};  // the pod's cgroup as the kubelet named it: a path or, under systemd, a slice
  std::string cgroups_path = {};   // the sandbox container's own; where the runtime says it
  uint32_t pid = 0;                // of the sandbox (pause); 0 where it does not run or the runtime does not say it
  // CRI's sandbox resources, which the kubelet computes, pod-level budgets included; nullopt where not said.
  std::optional<NriResources> pod_resources = {};
  std::optional<NriResources> pod_overhead = {};
  std::optional<NriResources> resources = {};  // the sandbox container's own

  bool operator==(const NriPod&) const = default;
};

// ContainerState of api.proto; a number that is not listed there is kUnknown.
enum class NriContainerState { kUnknown = 0, kCreated = 1, kPaused = 2, kRunning = 3, kStopped = 4 };

struct NriContainer {
  std::string id = {};
  std::string pod_id = {};  // NriPod::id
  std::string name = {};    // as in the pod's spec
  NriContainerState state = NriContainerState::kUnknown;
  NriStrings labels = {};
  NriStrings annotations = {};
  uint32_t pid = 0;               // 0 at create, known from start on
  std::string cgroups_path = {};  // "/path" (cgroupfs) or "slice:prefix:name" (systemd)
  NriResources resources = {};    // at create as the kubelet asked for them
  int64_t created_at = 0;         // ns since 1970; 0 where not said
  int64_t started_at = 0;

  bool operator==(const NriContainer&) const = default;
};

// The answer to a create: what changes in the container being created. Annotations set here are kept by the runtime
// and come back at the next synchronization.
struct NriAdjustment {
  NriStrings annotations = {};  // a value of another plugin's must not be overwritten: creation fails
  NriResources resources = {};
  std::string cgroups_path = {};  // empty: unchanged; for a nested cgroup

  bool operator==(const NriAdjustment&) const = default;
};

// A change to another, existing container. The runtime skips silently a container that it does not know or that is
// between create and start: read the kernel back.
struct NriContainerUpdate {
  std::string id = {};
  NriResources resources = {};
  bool ignore_failure = false;  // false: a failure to apply it fails the call that it answers

  bool operator==(const NriContainerUpdate&) const = default;
};

struct NriCreateReply {
  NriAdjustment adjustment = {};
  std::vector<NriContainerUpdate> updates =
      {};  // of others; updating the container under creation is an error of NRI's
};

// The fields whose owner matters to us: Field of api.proto.
enum class NriField : int32_t {
  kCpuShares = 16,
  kCpuQuota = 17,
  kCpuPeriod = 18,
  kCpusetCpus = 21,
  kCpusetMems = 22,
  kCgroupsPath = 28,
  kMemoryPolicy = 40,
};

struct NriPluginInstance {
  std::string name = {};
  std::string index = {};

  bool operator==(const NriPluginInstance&) const = default;
};

// What all plugins together made of a creation, before the runtime goes on with it.
struct NriValidation {
  NriPod pod = {};
  NriContainer container = {};  // as it was before any plugin
  NriAdjustment adjustment = {};
  std::vector<NriContainerUpdate> updates = {};
  // Container id to field to the plugin that set it, "index-name" ("90-podfence"); a leading "-": removed by it.
  std::map<std::string, std::map<NriField, std::string>> owners = {};
  std::vector<NriPluginInstance> plugins = {};  // that were asked
};

// The bits of the event mask are 1 << (event - 1).
enum class NriEvent {
  kRunPodSandbox = 1,
  kStopPodSandbox = 2,
  kRemovePodSandbox = 3,
  kCreateContainer = 4,
  kPostCreateContainer = 5,
  kStartContainer = 6,
  kPostStartContainer = 7,
  kUpdateContainer = 8,
  kPostUpdateContainer = 9,
  kStopContainer = 10,
  kRemoveContainer = 11,
  kUpdatePodSandbox = 12,  // this and the next two since NRI 0.10
  kPostUpdatePodSandbox = 13,
  kValidateContainerAdjustment = 14,
};

}  // namespace podfence
