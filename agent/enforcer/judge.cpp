#include "agent/enforcer/judge.h"

#include "absl/strings/str_join.h"
#include "agent/core/text.h"

namespace podfence {

Fence WantedOf(const TreeNode& node) {
  Fence wanted = node.fence != nullptr ? *node.fence : node.now;
  if (node.fence == nullptr && !node.guest_cpus.empty()) wanted.cpus = node.guest_cpus;
  if (node.fence == nullptr) wanted.partition = "member";
  if (!wanted.held.cpus) wanted.cpus = node.now.cpus;
  return wanted;
}

std::vector<Finding> PlanFindings(const Plan& plan, const Cgroup& root, std::string_view own) {
  std::vector<Finding> findings = plan.findings;
  for (Finding& finding : findings) {
    if (!finding.path.empty()) finding.path = Cat(root.path(), "/", own, "/", finding.path);
  }
  return findings;
}

std::optional<Finding> FindUnknown(const TreeNode& node, const Fence& wanted) {
  if (node.fence != nullptr) return std::nullopt;
  return MakeFinding(FindingKind::kUnknownCgroup, nullptr, node.cgroup.path(),
                     {kCpusetCpus, wanted.cpus.ToString(), node.now.cpus.ToString()},
                     "processes live in a cgroup that no decision names; it belongs where shared ones run");
}

CpuSet ForeignCpus(const TreeNode& node, const Fence& wanted, const Plan& plan) {
  if (node.fence != nullptr && HoldsOthers(node.fence->role)) return {};
  return (node.effective & plan.exclusive) - wanted.cpus;
}

Finding StillShared(const TreeNode& node, const Fence& wanted, const CpuSet& foreign) {
  return MakeFinding(
      FindingKind::kStillShared, node.fence, node.cgroup.path(),
      {kCpusetCpusEffective, wanted.cpus.ToString(), node.effective.ToString()},
      Cat("CPUs ", foreign.ToString(), " are another's own; until this is mended their owner does not start"));
}

std::optional<Finding> FindNotEffective(const TreeNode& node, const WholeSets& whole) {
  if (node.fence == nullptr || node.now.cpus.empty() || node.effective.empty()) return std::nullopt;
  const EffectiveRange expected = ExpectEffective(node.fence->role, node.now.cpus, node.now.cpus_exclusive, whole);
  if (expected.most.empty() || expected.Holds(node.effective)) return std::nullopt;  // empty: all are offline
  return MakeFinding(FindingKind::kNotEffective, node.fence, node.cgroup.path(),
                     {kCpusetCpusEffective, expected.most.ToString(), node.effective.ToString()},
                     "a cgroup above allows fewer CPUs");
}

Finding NoPartition(const TreeNode& node, const Fence& wanted, const std::string& found) {
  return MakeFinding(FindingKind::kNoPartition, node.fence, node.cgroup.path(),
                     {kCpusetCpusPartition, wanted.partition, found},
                     "the CPUs are the container's own, but the scheduler balances them together with others and may "
                     "leave one idle");
}

// A runtime's own process runs in the cgroup of a container before the runtime writes its set: what it maps goes along
// with it, what it reads stays in the page cache.
constexpr uint64_t kReadBefore = uint64_t{1} << 20;

std::vector<Finding> FindMemoryOutside(const std::vector<TreeNode>& nodes, std::vector<Unseen>& unseen) {
  std::vector<Finding> findings;
  for (const TreeNode& node : nodes) {
    if (node.fence == nullptr || node.fence->mems.empty()) continue;
    const absl::StatusOr<NumaStat> stat = ReadNumaStat(node.cgroup);
    if (!stat.ok()) {
      // Gone meanwhile is nothing to look at; a kernel without the file is.
      if (!absl::IsNotFound(stat.status()) || node.cgroup.Has(kMemoryMax)) {
        unseen.push_back({Cat(node.cgroup.path(), "/", kMemoryNumaStat), std::string(stat.status().message())});
      }
      continue;
    }
    const uint64_t outside = stat->PagesOutside(node.fence->mems);
    if (outside == 0) continue;
    if (stat->Outside("anon", node.fence->mems) == 0 && outside <= kReadBefore) continue;
    const std::string nodes_of = node.fence->mems.ToString();
    findings.push_back(MakeFinding(
        FindingKind::kMemoryOutside, node.fence, node.cgroup.path(),
        {kMemoryNumaStat, Cat("memory on NUMA nodes ", nodes_of, " alone"), Cat(outside, " bytes elsewhere")},
        "its memory is not where its CPUs are"));
  }
  return findings;
}

absl::StatusOr<std::optional<Finding>> FindControllersOff(const Cgroup& parent) {
  const absl::StatusOr<std::vector<std::string>> missing = MissingControllers(parent);
  if (absl::IsNotFound(missing.status())) return std::nullopt;  // gone meanwhile
  if (!missing.ok()) return missing.status();
  if (missing->empty()) return std::nullopt;
  return MakeFinding(FindingKind::kDrift, nullptr, parent.path(),
                     {kSubtreeControl, "cpuset cpu memory", Cat("no ", absl::StrJoin(*missing, ", no "))},
                     "someone switched it off, and what runs below is not fenced");
}

absl::StatusOr<std::optional<Finding>> FindQuotaAbove(const Cgroup& root, const Plan& plan) {
  if (plan.exclusive.empty()) return std::nullopt;
  const absl::StatusOr<CpuMax> quota = ReadCpuMax(root);  // the hierarchy's true root has no such file
  if (absl::IsNotFound(quota.status())) return std::nullopt;
  if (!quota.ok()) return quota.status();
  if (!quota->quota_us) return std::nullopt;
  return MakeFinding(FindingKind::kQuotaAbove, nullptr, root.path(), {kCpuMax, CpuMax{}.ToString(), quota->ToString()},
                     "it throttles exclusive containers; whoever set it must lift it");
}

}  // namespace podfence
