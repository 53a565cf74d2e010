#include "agent/auditor.h"

#include <algorithm>

#include "absl/time/clock.h"
#include "agent/core/text.h"
#include "agent/kube_places.h"

namespace podfence {

Auditor::Auditor(std::unique_ptr<Verifier> verifier, absl::StatusOr<WriteWatch> writes, AuditOptions options,
                 FindingSink sink)
    : Witness(std::move(verifier), std::move(writes), options.cgroup_root, std::move(sink)),
      options_(std::move(options)) {}

void Auditor::FollowPool(const CpuSet& pool) {
  const absl::Time now = absl::Now();
  if (pool != pool_) earlier_.emplace_back(std::exchange(pool_, pool), now + kKubeletReconciles);
  std::erase_if(earlier_, [&](const auto& entry) { return entry.first.empty() || entry.second <= now; });
  options_.earlier_pools.clear();
  for (const auto& [earlier, until] : earlier_) options_.earlier_pools.push_back(earlier);
}

absl::StatusOr<Sight> Auditor::Look(const NodeState& state) {
  FollowPool(state.shared_cpus);
  std::vector<Unseen> unseen;
  options_.resizing = ResizingPods(pods_);
  const Places places = FindPlaces(cgroup_root_, pods_, unseen);
  absl::StatusOr<Inspection> inspection = Audit(state, places, options_);
  if (!inspection.ok()) return inspection.status();
  told_.clear();
  for (const Finding& finding : inspection->findings) told_.emplace(finding.path, finding.file);
  unseen.insert(unseen.end(), inspection->unseen.begin(), inspection->unseen.end());
  return Sight{
      .live = std::move(inspection->live), .findings = std::move(inspection->findings), .unseen = std::move(unseen)};
}

std::vector<Unseen> Auditor::Unknown() const { return unknown_ ? unknown_() : std::vector<Unseen>(); }

bool Auditor::IsTold(const FindingView& finding) const {
  return !finding.file.empty() && told_.contains({finding.cgroup, finding.file});
}

absl::StatusOr<Cgroup> Auditor::FindContainer(const NodeState& /*state*/, const std::string& uid,
                                              const std::string& container) {
  for (const LiveFence& live : live_) {
    const Fence& fence = live.fence;
    if (fence.role == CgroupRole::kContainer && fence.uid == uid && fence.container == container) {
      return Cgroup::Open(live.path);
    }
  }
  return absl::NotFoundError(Cat("container ", container, " of pod ", uid, " does not run"));
}

}  // namespace podfence
