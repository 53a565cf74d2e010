#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/allocator/hints.h"
#include "agent/allocator/merge.h"
#include "agent/core/machine.h"
#include "agent/core/policy.h"

namespace podfence {

// One event of a scenario.
struct VectorOp {
  enum class Kind { kAdmit, kStart, kRemove };
  Kind kind = Kind::kAdmit;
  nlohmann::json pod;  // admit: a v1.Pod as a user writes it
  std::string uid;
  std::string container;
};

// A recorded sequence of events on one machine under one configuration, and what the reference made of it.
struct Scenario {
  std::string name;
  bool invariants_only = false;  // the reference is known to be wrong here: only the invariants are asked for
  Machine machine;
  Policy policy;
  std::vector<VectorOp> ops;
  bool config_error = false;          // the configuration must be refused
  nlohmann::json start;               // the state before the first op
  std::vector<nlohmann::json> steps;  // one an op
};

// A recorded merge of hints. Resource names are kept in the object: it must not be copied.
struct RecordedMerge {
  RecordedMerge() = default;
  RecordedMerge(RecordedMerge&&) = default;
  RecordedMerge& operator=(RecordedMerge&&) = default;
  std::string name;
  std::vector<std::vector<uint64_t>> distances;
  TopologyOptions options;
  std::vector<std::vector<std::string>> resources;
  std::vector<ProviderHints> providers;
  nlohmann::json expect;  // {numa, preferred, admit}
  uint64_t reference_ns = 0;
};

using RecordedVector = std::variant<Scenario, RecordedMerge>;

// Reads a vector file, plain or gzipped, and calls visit for each line; a scenario and a merge are told apart by
// their fields. NotFound or Internal where the file cannot be read; InvalidArgument names file, line and field.
absl::Status ForEachVector(const std::string& path, const std::function<void(const RecordedVector&)>& visit);

}  // namespace podfence
