#include "agent/witness.h"

#include <sys/stat.h>

#include <algorithm>
#include <set>
#include <utility>

#include "absl/time/clock.h"
#include "agent/core/text.h"
#include "agent/finding_views.h"
#include "agent/translation.h"

namespace podfence {

Witness::Witness(std::unique_ptr<Verifier> verifier, absl::StatusOr<WriteWatch> writes, std::string cgroup_root,
                 FindingSink sink)
    : cgroup_root_(std::move(cgroup_root)),
      verifier_(std::move(verifier)),
      writes_(std::move(writes)),
      watching_(writes_.status()),
      sink_(std::move(sink)),
      paths_(cgroup_root_) {}

absl::Status Witness::Reconcile(const NodeState& state) {
  const absl::Time began = absl::Now();
  absl::Status status = Take(state, began, Look(state));
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

absl::StatusOr<Observation> Witness::Read() {
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

VerificationView Witness::Verify(const FindingLog& log) {
  const absl::Time now = absl::Now();
  counted_.dropped = log.dropped();
  losses_.Count(counted_, now);
  std::vector<Unseen> unknown = ProbesMissing(verifier_->Probes());
  for (Unseen& lost : losses_.Held(now)) unknown.push_back(std::move(lost));
  if (!sweep_.ok()) unknown.push_back({"the last sweep", std::string(sweep_.message())});
  if (!read_.ok()) unknown.push_back({"throttling and run time", std::string(read_.message())});
  unknown.insert(unknown.end(), unseen_.begin(), unseen_.end());
  for (Unseen& each : Unknown()) unknown.push_back(std::move(each));
  VerificationView view{.state = std::string(VerificationWord(log.AnyActive(), !unknown.empty()))};
  for (Unseen& each : unknown) view.reasons.push_back({std::move(each.what), std::move(each.reason)});
  return view;
}

bool Witness::WritesSeen() {
  if (!writes_.ok() || !writes_->Drain()) return false;
  if (!write_seen_) write_seen_ = absl::Now();
  return true;
}

absl::Status Witness::Take(const NodeState& state, absl::Time began, absl::StatusOr<Sight> sight) {
  began = std::min(began, std::exchange(write_seen_, std::nullopt).value_or(began));
  if (!sight.ok()) {
    ++errors_;
    return sight.status();
  }
  live_ = std::move(sight->live);
  unseen_ = std::move(sight->unseen);
  Watch();
  last_writes_ = sight->writes;
  last_repairs_ = 0;
  for (Finding& finding : sight->findings) {
    NameWriter(finding);
    // Also one that was written over before it was read back: its writer is only the quicker one.
    if (finding.kind == FindingKind::kDrift && last_writes_ > 0) ++last_repairs_;
    if (finding.repaired) {
      repairs_taken_.Observe(absl::ToDoubleSeconds(absl::Now() - began));
    }
    FindingView view = ViewOf(finding, KernelContext{state, live_, cgroup_root_, paths_, absl::Now()});
    // Not since it was repaired.
    if (finding.seen != absl::InfinitePast()) view.since = absl::ToDoubleSeconds(finding.seen - absl::UnixEpoch());
    sink_(std::move(view));
  }
  return Expect();
}

// Says who made a drift, where a probe saw the write.
void Witness::NameWriter(Finding& finding) {
  struct stat info {};
  if (finding.kind != FindingKind::kDrift || stat(finding.path.c_str(), &info) != 0) return;
  finding.by = verifier_->WhoWrote(info.st_ino, finding.file);
  if (!finding.by) return;
  finding.message += Cat(" (written by ", finding.by->comm, ", pid ", finding.by->pid, ")");
  if (finding.repaired) verifier_->ForgetWriter(info.st_ino, finding.file);
}

// Our own cgroups, and those of the host beside them: whoever widens one of these comes onto exclusive CPUs.
void Witness::Watch() {
  std::vector<std::string> directories = {cgroup_root_};
  for (const LiveFence& live : live_) directories.push_back(live.path);
  const absl::StatusOr<Cgroup> root = Cgroup::Open(cgroup_root_);
  const absl::StatusOr<std::vector<std::string>> children = root.ok() ? root->Children() : root.status();
  if (!children.ok()) {
    watching_ = children.status();
    return;
  }
  std::set<uint64_t> host;
  for (const std::string& child : *children) {
    directories.push_back(Cat(cgroup_root_, "/", child));
    struct stat info {};
    if (stat(directories.back().c_str(), &info) == 0) host.insert(info.st_ino);  // else it is gone meanwhile
  }
  watching_ = writes_.ok() ? writes_->Follow(directories) : writes_.status();
  watching_.Update(verifier_->RememberWriters(host));
}

absl::Status Witness::Expect() {
  Expectations expectations;
  for (const LiveFence& live : live_) {
    if (IsExpected(live.fence)) expectations.fences.push_back(ExpectationOf(live, cgroup_root_));
  }
  absl::Status status = verifier_->Expect(expectations);
  if (!status.ok()) ++errors_;
  return status;
}

void Witness::DrainFindings(const NodeState& state) {
  for (const KernelFinding& finding : verifier_->Poll()) {
    FindingView view = ViewOf(finding, {state, live_, cgroup_root_, paths_, absl::Now()});
    if (!IsTold(view)) sink_(std::move(view));
  }
}

}  // namespace podfence
