#include "agent/fencer.h"

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"
#include "agent/core/text.h"

namespace podfence {
namespace {

// From the kubelet's question to its write: a few calls of its own, on a node that may be busy.
constexpr absl::Duration kAnnouncedFor = absl::Seconds(10);
constexpr absl::Duration kSettle = absl::Seconds(10);  // well within the grace period of a pod

}  // namespace

Fencer::Fencer(Enforcer enforcer, std::unique_ptr<Verifier> verifier, absl::StatusOr<WriteWatch> writes,
               std::string cgroup_root, std::string name, FindingSink sink)
    : Witness(std::move(verifier), std::move(writes), std::move(cgroup_root), std::move(sink)),
      enforcer_(std::move(enforcer)),
      name_(std::move(name)) {}

absl::StatusOr<Sight> Fencer::SightOf(absl::StatusOr<EnforceReport> report) {
  if (!report.ok()) return report.status();
  if (units_ != nullptr) {
    std::vector<std::string> changed;
    for (const Finding& finding : report->findings) {
      if (finding.kind == FindingKind::kDrift && report->writes > 0) changed.push_back(finding.path);
    }
    units_->Follow(report->live, changed);
  }
  std::erase_if(report->findings, [this](const Finding& finding) {
    // Until a container starts, what lies in its cgroup is the runtime's, which came from elsewhere.
    const bool of_runtime =
        finding.kind == FindingKind::kMemoryOutside && !alive_.contains({finding.pod, finding.container});
    return of_runtime || WasAnnounced(finding);
  });
  return Sight{.live = std::move(report->live), .findings = std::move(report->findings), .writes = report->writes};
}

absl::StatusOr<Sight> Fencer::Look(const NodeState& state) { return SightOf(enforcer_.Reconcile(state)); }

bool Fencer::IsExpected(const Fence& fence) const {
  return fence.role != CgroupRole::kContainer || alive_.contains({fence.uid, fence.container});
}

void Fencer::AdoptLiving(const NodeState& state) {
  for (const auto& [uid, allocation] : state.pods) {
    for (const ContainerAllocation& container : allocation.containers) {
      const absl::StatusOr<Cgroup> cgroup = enforcer_.FindContainerCgroup(state, uid, container.name);
      if (cgroup.ok() && IsPopulated(*cgroup).value_or(false)) alive_.emplace(uid, container.name);
    }
  }
}

absl::Status Fencer::Enforce(const NodeState& state) {
  const absl::Time began = absl::Now();
  absl::Status status = ExpectWider(state);
  status.Update(Take(state, began, SightOf(enforcer_.Apply(state))));
  return status;
}

// Tasks run on a CPU as soon as their cpuset has it: the node shared pool, which alone grows under containers that
// live, is expected to before it does.
absl::Status Fencer::ExpectWider(const NodeState& state) {
  bool wider = false;
  for (LiveFence& live : live_) {
    Fence& fence = live.fence;
    if (fence.role != CgroupRole::kContainer || fence.exclusive || fence.cpus.empty()) continue;
    const auto pod = state.pods.find(fence.uid);
    if (pod == state.pods.end()) continue;
    const ContainerAllocation* held = pod->second.Find(fence.container);
    const bool own_pool = held != nullptr && held->cpus && !held->cpus->empty();
    if (own_pool || state.shared_cpus.IsSubsetOf(fence.cpus)) continue;
    fence.cpus |= state.shared_cpus;
    wider = true;
  }
  return wider ? Expect() : absl::OkStatus();
}

void Fencer::Announce(const std::string& cgroup, const std::string& file, const std::string& value) {
  const std::string path = Cat(cgroup_root_, "/", cgroup);
  std::erase_if(announced_, [&](const Announced& each) {
    return each.until < absl::Now() || (each.path == path && each.file == file);
  });
  announced_.push_back({.path = path, .file = file, .value = value, .until = absl::Now() + kAnnouncedFor});
}

bool Fencer::WasAnnounced(const Finding& finding) {
  if (finding.kind != FindingKind::kDrift || !finding.repaired) return false;
  const auto found = std::ranges::find_if(announced_, [&](const Announced& each) {
    return each.path == finding.path && each.file == finding.file && each.value == finding.found;
  });
  if (found == announced_.end()) return false;
  const bool in_time = absl::Now() <= found->until;
  announced_.erase(found);
  return in_time;
}

absl::Status Fencer::GiveBack(const NodeState& state) {
  const absl::StatusOr<EnforceReport> report = enforcer_.GiveBack(state);
  if (!report.ok() || units_ == nullptr) return report.status();
  units_->Follow(report->live, {});
  return units_->Settle(kSettle);
}

absl::StatusOr<Cgroup> Fencer::PrepareContainer(const NodeState& state, const std::string& uid,
                                                const std::string& container) {
  absl::StatusOr<Cgroup> cgroup = enforcer_.CreateContainerCgroup(state, uid, container);
  if (!cgroup.ok()) {
    ++errors_;
    return cgroup.status();
  }
  alive_.emplace(uid, container);
  // The new cgroup is expected before its first process runs in it.
  if (absl::Status status = Enforce(state); !status.ok()) return status;
  return cgroup;
}

absl::StatusOr<Cgroup> Fencer::FindContainer(const NodeState& state, const std::string& uid,
                                             const std::string& container) {
  return enforcer_.FindContainerCgroup(state, uid, container);
}

absl::Status Fencer::SetAlive(const std::string& uid, const std::string& container, bool alive) {
  const bool changed = alive ? alive_.emplace(uid, container).second : alive_.erase({uid, container}) > 0;
  return changed ? Expect() : absl::OkStatus();
}

absl::Status Fencer::RemovePod(const std::string& uid) {
  std::erase_if(alive_, [&](const auto& entry) { return entry.first == uid; });
  std::erase_if(live_, [&](const LiveFence& live) { return live.fence.uid == uid; });
  absl::Status status = Expect();
  status.Update(enforcer_.RemovePod(uid));
  return status;
}

absl::Status Fencer::KillPod(const std::string& uid) {
  const absl::StatusOr<Cgroup> ours = Cgroup::Open(Cat(cgroup_root_, "/", name_));
  if (!ours.ok()) return ours.status();
  return ours->KillAndRemoveChild(Cat("pod", uid), absl::Seconds(3));
}

}  // namespace podfence
