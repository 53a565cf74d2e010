#include "agent/findings.h"

#include <algorithm>
#include <utility>

namespace podfence {

FindingLog::Key FindingLog::KeyOf(const FindingView& finding) {
  const bool placed = !finding.cgroup.empty() || !finding.file.empty();
  const int cpu = finding.kind == "intrusion" ? finding.cpu.value_or(-1) : -1;
  return {finding.kind,
          finding.pod,
          finding.container,
          finding.cgroup,
          finding.file,
          finding.foreign_class,
          cpu,
          placed ? "" : finding.message};
}

const FindingView* FindingLog::Note(FindingView finding, double now) {
  const Key key = KeyOf(finding);
  auto known = findings_.find(key);
  const bool stands = known != findings_.end() && known->second.active;
  if (known == findings_.end()) {
    MakeRoom();
    known = findings_.emplace(key, FindingView{.count = 0}).first;
  }
  FindingView& kept = known->second;
  finding.count = kept.count + 1;
  if (finding.since == 0) finding.since = now;
  if (stands) finding.since = kept.since;
  finding.last_seen = now;
  finding.active = true;
  // One source tells of the deed, another of the doer.
  if (stands && !finding.by) finding.by = std::move(kept.by);
  kept = std::move(finding);
  if (stands) return nullptr;
  ++totals_[kept.kind];
  return &kept;
}

void FindingLog::MakeRoom() {
  if (findings_.size() < kMaxKept) return;
  const auto oldest = std::ranges::min_element(
      findings_, {}, [](const auto& entry) { return std::pair(entry.second.active, entry.second.last_seen); });
  if (oldest->second.active) ++dropped_;
  findings_.erase(oldest);
}

void FindingLog::Expire(double since) {
  for (auto& [key, finding] : findings_) {
    if (finding.last_seen < since) finding.active = false;
  }
}

bool FindingLog::AnyActive() const {
  return std::ranges::any_of(findings_, [](const auto& entry) { return entry.second.active; });
}

std::vector<FindingView> FindingLog::List() const {
  std::vector<FindingView> list;
  for (const auto& [key, finding] : findings_) list.push_back(finding);
  std::ranges::sort(list, [](const FindingView& a, const FindingView& b) {
    return std::pair(a.active, a.last_seen) > std::pair(b.active, b.last_seen);
  });
  return list;
}

}  // namespace podfence
