#include "agent/fencer.h"

#include <sys/stat.h>

#include <algorithm>

#include "absl/time/clock.h"
#include "agent/core/text.h"
#include "agent/finding_views.h"
#include "agent/translation.h"

namespace podfence {
namespace {

// From the kubelet's question to its write: a few calls of its own, on a node that may be busy.
constexpr absl::Duration kAnnouncedFor = absl::Seconds(10);
constexpr absl::Duration kSettle = absl::Seconds(10);  // well within the grace period of a pod

}  // namespace

Fencer::Fencer(Enforcer enforcer, std::unique_ptr<Verifier> verifier, absl::StatusOr<WriteWatch> writes,
               std::string cgroup_root, std::string name, FindingSink sink)
    : enforcer_(std::move(enforcer)),
      verifier_(std::move(verifier)),
      writes_(std::move(writes)),
      watching_(writes_.status()),
      cgroup_root_(std::move(cgroup_root)),
      name_(std::move(name)),
      sink_(std::move(sink)),
      paths_(cgroup_root_) {}

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
  status.Update(Take(state, began, enforcer_.Apply(state)));
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

absl::Status Fencer::Reconcile(const NodeState& state) {
  const absl::Time began = absl::Now();
  absl::Status status = Take(state, began, enforcer_.Reconcile(state));
  const absl::Status swept = verifier_->Sweep();
  const absl::Status read = Read().status();  // compares with the reading before: throttling and quotas
  DrainFindings(state);
  sweep_ = status;
  if (!absl::IsUnavailable(swept)) sweep_.Update(swept);  // else the probe does not run, which it says itself
  sweep_.Update(read);
  if (sweep_.ok()) losses_.Swept(began);
  status.Update(swept);
  status.Update(read);
  return status;
}

absl::StatusOr<Observation> Fencer::Read() {
  absl::StatusOr<Observation> seen = verifier_->Read();
  read_ = seen.status();
  if (seen.ok()) {
    const uint64_t dropped = counted_.dropped;
    counted_ = LossesOf(*seen);
    counted_.dropped = dropped;
    losses_.Count(counted_, absl::Now());
  }
  return seen;
}

VerificationView Fencer::Verify(const FindingLog& log) {
  const absl::Time now = absl::Now();
  counted_.dropped = log.dropped();
  losses_.Count(counted_, now);
  std::vector<Unseen> unknown = ProbesMissing(verifier_->Probes());
  for (Unseen& lost : losses_.Held(now)) unknown.push_back(std::move(lost));
  if (!sweep_.ok()) unknown.push_back({"the last sweep", std::string(sweep_.message())});
  if (!read_.ok()) unknown.push_back({"throttling and run time", std::string(read_.message())});
  VerificationView view{.state = std::string(VerificationWord(log.AnyActive(), !unknown.empty()))};
  for (Unseen& each : unknown) view.reasons.push_back({std::move(each.what), std::move(each.reason)});
  return view;
}

bool Fencer::WritesSeen() {
  if (!writes_.ok() || !writes_->Drain()) return false;
  if (!write_seen_) write_seen_ = absl::Now();
  return true;
}

absl::Status Fencer::Take(const NodeState& state, absl::Time began, absl::StatusOr<EnforceReport> report) {
  began = std::min(began, std::exchange(write_seen_, std::nullopt).value_or(began));
  if (!report.ok()) {
    ++errors_;
    return report.status();
  }
  live_ = std::move(report->live);
  Watch();
  last_writes_ = report->writes;
  last_repairs_ = 0;
  std::vector<std::string> changed;
  for (Finding& finding : report->findings) {
    // Also one that was written over before it was read back: its writer is only the quicker one.
    const bool undone = finding.kind == FindingKind::kDrift && last_writes_ > 0;
    if (undone) changed.push_back(finding.path);
    if (WasAnnounced(finding)) continue;
    NameWriter(finding);
    if (undone) ++last_repairs_;
    if (finding.repaired) {
      repairs_taken_.Observe(absl::ToDoubleSeconds(absl::Now() - began));
    }
    sink_(ViewOf(finding, KernelContext{state, live_, cgroup_root_, paths_, absl::Now()}));
  }
  if (units_ != nullptr) units_->Follow(live_, changed);
  return Expect();
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

// Says who made a drift, where a probe saw the write.
void Fencer::NameWriter(Finding& finding) {
  struct stat info {};
  if (finding.kind != FindingKind::kDrift || stat(finding.path.c_str(), &info) != 0) return;
  finding.by = verifier_->WhoWrote(info.st_ino, finding.file);
  if (!finding.by) return;
  finding.message += Cat(" (written by ", finding.by->comm, ", pid ", finding.by->pid, ")");
  if (finding.repaired) verifier_->ForgetWriter(info.st_ino, finding.file);
}

// Our own cgroups, and those of the host beside them: whoever widens one of these comes onto exclusive CPUs.
void Fencer::Watch() {
  if (!writes_.ok()) return;
  std::vector<std::string> directories = {cgroup_root_};
  for (const LiveFence& live : live_) directories.push_back(live.path);
  const absl::StatusOr<Cgroup> root = Cgroup::Open(cgroup_root_);
  const absl::StatusOr<std::vector<std::string>> children = root.ok() ? root->Children() : root.status();
  if (!children.ok()) {
    watching_ = children.status();
    return;
  }
  for (const std::string& child : *children) directories.push_back(Cat(cgroup_root_, "/", child));
  watching_ = writes_->Follow(directories);
}

absl::Status Fencer::Expect() {
  Expectations expectations;
  for (const LiveFence& live : live_) {
    const Fence& fence = live.fence;
    if (fence.role == CgroupRole::kContainer && !alive_.contains({fence.uid, fence.container})) continue;
    expectations.fences.push_back(ExpectationOf(live, cgroup_root_));
  }
  absl::Status status = verifier_->Expect(expectations);
  if (!status.ok()) ++errors_;
  return status;
}

void Fencer::DrainFindings(const NodeState& state) {
  for (const KernelFinding& finding : verifier_->Poll()) {
    sink_(ViewOf(finding, {state, live_, cgroup_root_, paths_, absl::Now()}));
  }
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
