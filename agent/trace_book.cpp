#include "agent/trace_book.h"

#include <set>
#include <utility>

#include "agent/core/text.h"

namespace podfence {

void TraceBook::Put(std::string uid, std::string full_name, const nlohmann::json& explanation) {
  using nlohmann::json;
  auto entry = std::make_shared<const std::string>(
      explanation.dump(-1, ' ', /*ensure_ascii=*/false, json::error_handler_t::replace));
  const std::lock_guard lock(mutex_);
  std::erase_if(entries_, [&](const auto& known) { return known.second.uid == uid; });
  if (entries_.size() >= kMaxEntries) entries_.erase(entries_.begin());
  entries_.emplace(next_++, Entry{std::move(uid), std::move(full_name), std::move(entry)});
}

absl::StatusOr<nlohmann::json> TraceBook::Find(std::string_view pod) const {
  std::shared_ptr<const std::string> explanation;
  std::set<std::string> names;
  {
    const std::lock_guard lock(mutex_);
    for (auto entry = entries_.rbegin(); entry != entries_.rend() && explanation == nullptr; ++entry) {
      const std::string& full_name = entry->second.full_name;
      names.insert(full_name);
      const std::string_view name = std::string_view(full_name).substr(full_name.find('/') + 1);
      if (pod == entry->second.uid || pod == full_name || pod == name) explanation = entry->second.explanation;
    }
  }
  if (explanation != nullptr) return nlohmann::json::parse(*explanation);
  std::string known;
  for (const std::string& name : names) known += (known.empty() ? "" : ", ") + name;
  return absl::NotFoundError(Cat("no decision is known on pod \"", pod,
                                 "\" since this agent started; known: ", known.empty() ? "none" : known));
}

}  // namespace podfence
