#include "agent/enforcer/offline.h"

#include <map>

#include "agent/cgroup/control.h"
#include "agent/cgroup/files.h"
#include "agent/core/text.h"

namespace podfence {
namespace {

constexpr std::string_view kInvalidRoot = "root invalid";

absl::StatusOr<CpuSet> ReadList(const std::string& path) {
  const absl::StatusOr<std::string> text = ReadSmallFile(path);
  if (!text.ok()) return text.status();
  absl::StatusOr<CpuSet> cpus = CpuSet::Parse(*text);
  if (!cpus.ok()) return absl::DataLossError(Cat(path, ": ", ToStd(cpus.status().message())));
  return cpus;
}

Finding Offline(const TreeNode& node, const CpuSet& lost) {
  const Fence& fence = *node.fence;
  const CpuSet left = fence.cpus - lost;
  Finding finding;
  finding.kind = FindingKind::kCpuOffline;
  finding.pod = fence.uid;
  finding.container = fence.container;
  finding.path = node.cgroup.path();
  finding.expected = fence.cpus.ToString();
  finding.found = left.ToString();
  finding.message =
      Cat("CPUs ", lost.ToString(), " are offline: ",
          fence.container.empty() ? "the pod, which holds " : Cat("container ", fence.container, ", which owns "),
          fence.cpus.ToString(), left.empty() ? ", has none left" : Cat(", has only ", left.ToString(), " left"),
          ", until they are switched on again (/sys/devices/system/cpu/cpu", lost.First(), "/online)");
  return finding;
}

}  // namespace

absl::StatusOr<CpuSet> ReadOfflineCpus(const std::string& sys_root) {
  absl::StatusOr<CpuSet> present = ReadList(Cat(sys_root, "/devices/system/cpu/present"));
  if (!present.ok()) return present.status();
  const absl::StatusOr<CpuSet> online = ReadList(Cat(sys_root, "/devices/system/cpu/online"));
  if (!online.ok()) return online.status();
  return *present - *online;
}

std::vector<Finding> FindCpusOffline(const std::vector<TreeNode>& nodes, const CpuSet& offline) {
  std::vector<Finding> findings;
  if (offline.empty()) return findings;
  std::map<std::string, CpuSet> named;  // by pod: told of for its containers
  // Children come behind their parents, so the pods are judged last.
  for (auto node = nodes.rbegin(); node != nodes.rend(); ++node) {
    if (node->fence == nullptr || !node->fence->exclusive) continue;
    const bool container = node->fence->role == CgroupRole::kContainer;
    if (!container && node->fence->role != CgroupRole::kPod) continue;
    CpuSet& told = named[node->fence->uid];
    const CpuSet lost = node->fence->cpus & offline;
    if (lost.IsSubsetOf(container ? CpuSet() : told) || !IsPopulated(node->cgroup).value_or(false)) continue;
    findings.push_back(Offline(*node, lost));
    told |= lost;
  }
  return findings;
}

bool LostToOffline(const Fence& wanted, const Fence& now, const CpuSet& offline) {
  return wanted.cpus.Intersects(offline) && now.partition.starts_with(kInvalidRoot);
}

bool CameBack(const Fence& left, const Fence& now) {
  return left.partition.starts_with(kInvalidRoot) && now.partition == "root";
}

}  // namespace podfence
