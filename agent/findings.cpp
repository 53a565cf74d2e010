#include "agent/findings.h"

#include <algorithm>
#include <utility>

namespace podfence {

bool FindingLog::Note(FindingView finding, double now) {
  const Key key{finding.kind, finding.pod, finding.container, finding.message};
  const auto found = findings_.find(key);
  if (found != findings_.end()) {
    const bool was_active = std::exchange(found->second.active, true);
    ++found->second.count;
    found->second.last_seen = now;
    if (!was_active) ++totals_[finding.kind];
    return !was_active;
  }
  if (findings_.size() >= kMaxKept) {
    const auto oldest = std::ranges::min_element(
        findings_, {}, [](const auto& entry) { return std::pair(entry.second.active, entry.second.last_seen); });
    findings_.erase(oldest);
  }
  ++totals_[finding.kind];
  finding.count = 1;
  finding.last_seen = now;
  finding.active = true;
  findings_.emplace(key, std::move(finding));
  return true;
}

void FindingLog::Expire(double since) {
  for (auto& [key, finding] : findings_) {
    if (finding.last_seen < since) finding.active = false;
  }
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
