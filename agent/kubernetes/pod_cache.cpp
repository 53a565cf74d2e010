#include "agent/kubernetes/pod_cache.h"

#include <algorithm>
#include <set>
#include <utility>

namespace podfence {

PodRecordPtr PodCache::Elect(const std::string& uid) const {
  if (const auto own = by_api_uid_.find(uid); own != by_api_uid_.end() && own->second->uid == uid) return own->second;
  const auto mirrors = mirrors_.find(uid);
  return mirrors == mirrors_.end() ? nullptr : by_api_uid_.find(*mirrors->second.begin())->second;
}

void PodCache::Take(const PodRecordPtr& record) {
  by_api_uid_[record->api_uid] = record;
  if (record->uid != record->api_uid) mirrors_[record->uid].insert(record->api_uid);
}

std::string PodCache::Drop(const std::string& api_uid) {
  const auto found = by_api_uid_.find(api_uid);
  if (found == by_api_uid_.end()) return "";
  std::string uid = found->second->uid;
  by_api_uid_.erase(found);
  if (const auto mirrors = mirrors_.find(uid); mirrors != mirrors_.end()) {
    mirrors->second.erase(api_uid);
    if (mirrors->second.empty()) mirrors_.erase(mirrors);
  }
  return uid;
}

std::vector<PodChange> PodCache::Apply(const PodUpdates& updates) {
  std::set<std::string> touched;
  if (updates.all) {
    for (const auto& [uid, record] : by_uid_) touched.insert(uid);
    by_api_uid_.clear();
    mirrors_.clear();
    for (const PodRecordPtr& record : *updates.all) {
      Take(record);
      touched.insert(record->uid);
    }
  }
  for (const auto& [api_uid, record] : updates.changed) {
    touched.insert(Drop(api_uid));
    if (record == nullptr) continue;
    Take(record);
    touched.insert(record->uid);
  }
  std::vector<PodChange> changes;
  for (const std::string& uid : touched) {
    const auto found = by_uid_.find(uid);
    PodChange change;
    change.before = found == by_uid_.end() ? nullptr : found->second;
    change.now = Elect(uid);
    if (change.now == nullptr) {
      if (change.before == nullptr) continue;
      by_uid_.erase(found);
      change.kind = PodChange::Kind::kRemoved;
    } else {
      by_uid_[uid] = change.now;
      if (change.before != nullptr && SameForTheNode(*change.before, *change.now)) continue;
      change.kind = change.before == nullptr ? PodChange::Kind::kAdded : PodChange::Kind::kModified;
    }
    changes.push_back(std::move(change));
  }
  return changes;
}

PodRecordPtr PodCache::Find(std::string_view uid) const {
  const auto found = by_uid_.find(uid);
  return found == by_uid_.end() ? nullptr : found->second;
}

PodRecordPtr PodCache::FindByName(std::string_view ns, std::string_view name) const {
  for (const auto& [uid, record] : by_uid_) {
    if (record->ns == ns && record->name == name) return record;
  }
  return nullptr;
}

std::vector<PodRecordPtr> PodCache::ByAge() const {
  std::vector<PodRecordPtr> records;
  records.reserve(by_uid_.size());
  for (const auto& [uid, record] : by_uid_) records.push_back(record);
  std::stable_sort(records.begin(), records.end(), [](const PodRecordPtr& a, const PodRecordPtr& b) {
    return a->created.value_or(absl::InfiniteFuture()) < b->created.value_or(absl::InfiniteFuture());
  });
  return records;
}

}  // namespace podfence
