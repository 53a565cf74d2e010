// The part of mode manage that brings what the pod source, the runtime and the decisions say together: releases what is
// gone, takes up what runs but is not decided on.

#include <spdlog/spdlog.h>

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "agent/core/text.h"
#include "agent/manage_mode.h"
#include "agent/nri_answers.h"
#include "agent/state/state_json.h"

namespace podfence {

void ManageMode::Converge() {
  if (Settle()) agent_.Complain("fence", Enforce());
}

bool ManageMode::Settle() {
  if (!synchronized_ || !source_->synced()) return false;
  ReleaseGone();
  const bool restored = RestoreCarried();
  const bool adopted = AdoptRunning();
  agent_.SetReady();
  return restored || adopted;
}

// Only a pod that nobody wants any more and of which nothing lives.
void ManageMode::ReleaseGone() {
  std::vector<std::pair<std::string, bool>> gone;  // UID, ended by itself
  std::set<std::string, std::less<>> wanted;
  for (const auto& [uid, allocation] : agent_.state().pods) {
    const PodRecordPtr record = source_->cache().Find(uid);
    const RuntimeBook::Pod* pod = book_.Find(uid);
    const bool lives = pod != nullptr && pod->lives();
    if (record != nullptr || lives) awaited_.erase(uid);
    const bool over = record == nullptr || record->is_terminal();
    if (over && !lives && !MayComeBack(uid)) gone.emplace_back(uid, record != nullptr);
  }
  // What fails is tried again.
  agent_.Complain("pods of before the boot",
                  awaited_.empty() ? absl::OkStatus()
                                   : absl::UnavailableError(Cat("nobody has told yet of ", awaited_.size(),
                                                                " pods; their CPUs wait for them")));
  for (const auto& [uid, ended] : gone) {
    const std::string name = agent_.state().pods.find(uid)->second.pod->FullName();
    if (agent_.Release(uid, ended)) spdlog::info("pod {} ({}): gone; its CPUs are free", name, uid);
  }
  for (const PodRecordPtr& record : source_->cache().ByAge()) wanted.insert(record->uid);
  agent_.Complain("commit", agent_.ledger().ForgetEnded(wanted));
  std::erase_if(agent_.refused(), [&](const auto& entry) {
    const PodRecordPtr record = source_->cache().Find(entry.first);
    return record == nullptr || (record->is_terminal() && !record->is_static());
  });
  agent_.ForgetComplaints([&](const std::string& uid) { return !wanted.contains(uid); });
}

bool ManageMode::MayComeBack(const std::string& uid) {
  if (absl::Now() >= await_until_) awaited_.clear();
  return awaited_.contains(uid);
}

std::vector<PodRecordPtr> ManageMode::Undecided() const {
  std::vector<PodRecordPtr> records = source_->cache().ByAge();
  std::erase_if(records, [this](const PodRecordPtr& record) {
    const RuntimeBook::Pod* pod = book_.Find(record->uid);
    if (pod == nullptr || !pod->sandbox || !pod->guaranteed() || record->pod == nullptr) return true;
    if (record->is_terminal() && !record->is_static()) return true;
    return agent_.state().pods.contains(record->uid) || agent_.state().ended.contains(record->uid);
  });
  return records;
}

bool ManageMode::RestoreCarried() {
  bool restored = false;
  for (const PodRecordPtr& record : Undecided()) {
    if (agent_.refused().contains(record->uid)) continue;  // it was tried, and nothing has been released since
    for (const auto& [name, container] : book_.Find(record->uid)->containers) {
      const auto carried = container.nri.annotations.find(kDecisionAnnotation);
      if (carried == container.nri.annotations.end()) continue;
      absl::StatusOr<PodAllocation> decision =
          AllocationFromJson(nlohmann::json::parse(carried->second, nullptr, /*allow_exceptions=*/false), record->pod);
      const absl::Status status =
          decision.ok() ? agent_.ledger().Restore(*std::move(decision)) : absl::Status(decision.status());
      if (!status.ok()) {
        spdlog::warn("pod {}: the decision that container {} carries along is not taken up: {}", record->FullName(),
                     name, status.ToString());
        continue;
      }
      spdlog::info("pod {} ({}): taken up as its containers carry it along", record->FullName(), record->uid);
      restored = true;
      break;
    }
  }
  return restored;
}

// On a node whose pods already run, and after a lost checkpoint: the oldest first. One that does not fit is left
// running, shared.
bool ManageMode::AdoptRunning() {
  bool adopted = false;
  for (const PodRecordPtr& record : Undecided()) {
    if (agent_.refused().contains(record->uid)) continue;
    const absl::StatusOr<AdmitResult> result = agent_.Decide(record->pod);
    if (!result.ok()) break;  // nothing can be committed
    adopted |= result->admitted();
  }
  for (FindingView& finding : Standing()) agent_.NoteFinding(std::move(finding));
  return adopted;
}

std::vector<FindingView> ManageMode::Standing() const {
  std::vector<FindingView> findings;
  for (const PodRecordPtr& record : Undecided()) {
    const auto refused = agent_.refused().find(record->uid);
    if (refused == agent_.refused().end() || !HasRun(record->uid)) continue;
    findings.push_back(
        {.kind = "misfit",
         .pod = record->FullName(),
         .container = "",
         .message = Cat("pod ", record->FullName(), " runs since before podfence and does not fit (",
                        refused->second.view.reason,
                        "): it stays on the node shared pool. Delete it, or make room and create it anew")});
  }
  return findings;
}

}  // namespace podfence
