#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace podfence {

// The last decision's explanation of every pod, as JSON, for the server's threads: written by the loop, read by them.
// Entries are immutable.
class TraceBook {
 public:
  // The explanation of a pod, found by its UID, its name or namespace/name from then on. Beyond kMaxEntries
  // the oldest goes.
  void Put(std::string uid, std::string full_name, const nlohmann::json& explanation);
  // NotFound names the pod and says which are known.
  absl::StatusOr<nlohmann::json> Find(std::string_view pod) const;

 private:
  static constexpr size_t kMaxEntries = 1024;
  struct Entry {
    std::string uid;
    std::string full_name;
    std::shared_ptr<const std::string> explanation;  // its text, a tenth of the size
  };
  mutable std::mutex mutex_;
  std::map<uint64_t, Entry> entries_;  // by age
  uint64_t next_ = 0;
};

}  // namespace podfence
