#include "agent/translation.h"

#include <utility>

#include "agent/kube_places.h"

namespace podfence {
namespace {

FenceKind ExpectedKind(const Fence& fence) {
  if (fence.role != CgroupRole::kContainer || fence.cpus.empty()) return FenceKind::kPods;
  return fence.exclusive ? FenceKind::kExclusive : FenceKind::kShared;
}

}  // namespace

std::string_view FindingWord(FindingKind kind) {
  switch (kind) {
    case FindingKind::kEmptyNodePool: return "empty_pool";
    case FindingKind::kNoQuotaLeft:
    case FindingKind::kQuotaAbove: return "quota";
    case FindingKind::kDrift:
    case FindingKind::kUnknownCgroup: return "drift";
    case FindingKind::kCpuOffline: return "cpu_offline";
    case FindingKind::kMemoryOutside: return "memory";
    case FindingKind::kNoPartition: return "partition";
    case FindingKind::kStillShared:
    case FindingKind::kNotEffective:
    case FindingKind::kHostNotFenced:
    case FindingKind::kWriteFailed: return "unfenced";
  }
  return "unfenced";
}

std::string PodName(const NodeState& state, const std::string& uid) {
  const auto pod = state.pods.find(uid);
  return pod == state.pods.end() ? uid : pod->second.pod->FullName();
}

ExpectedFence ExpectationOf(const LiveFence& live, const std::string& cgroup_root) {
  const Fence& fence = live.fence;
  std::string path = live.path.substr(cgroup_root.size());
  path.erase(0, path.find_first_not_of('/'));
  return {.cgroup = std::move(path),
          .cgroup_id = live.id,
          .kind = ExpectedKind(fence),
          .cpus = ExpectedKind(fence) == FenceKind::kPods ? CpuSet() : fence.cpus,
          .pod = fence.uid,
          .container = fence.container};
}

uint64_t QuotaPeriodUs(const Config& config) {
  return static_cast<uint64_t>(absl::ToInt64Microseconds(config.cpu_cfs_quota_period));
}

AuditOptions AuditOptionsOf(const Config& config) {
  return {.cgroup_root = config.cgroup_hierarchy,
          .cpu_quota = config.cpu_cfs_quota,
          .quota_period_us = QuotaPeriodUs(config)};
}

EnforcerOptions EnforcerOptionsOf(const Config& config, const Allocator& allocator) {
  EnforcerOptions options;
  options.reserved = allocator.reserved_cpus();
  options.cpu_manager = allocator.policy().cpu_manager_policy != "none";
  options.partitions = config.cpuset_partitions;
  options.quota_period_us = QuotaPeriodUs(config);
  options.kubelet_quota = config.cpu_cfs_quota;
  if (config.mode == "manage") {
    options.runtime_cgroups = true;
    // Under the systemd driver, where that is to be seen already; the runtime tells of its pods' later.
    options.name = FindKubePods(config.cgroup_hierarchy);
  }
  options.repair = config.repair_drift;
  if (config.fence_host) {
    options.host = HostFenceOptions{.state_dir = config.state_directory, .repair = config.repair_drift};
  }
  return options;
}

}  // namespace podfence
