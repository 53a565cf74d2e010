#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "agent/commands/replay_compare.h"
#include "agent/commands/replay_input.h"

namespace podfence {

// How long one call took, here and in the reference, where it was recorded.
struct CallTime {
  uint64_t ns = 0;
  uint64_t reference_ns = 0;
};

struct ReplayResult {
  static constexpr size_t kShownDifferences = 20;
  uint64_t scenarios = 0;
  uint64_t steps = 0;
  uint64_t merges = 0;
  uint64_t mismatches = 0;
  std::vector<Difference> differences;  // the first kShownDifferences
  std::vector<CallTime> admits;         // defaulting, validation and admission of each pod
  std::vector<CallTime> merge_calls;
};

// One step of a replay, for showing it.
struct ReplayStep {
  std::string op;              // "3 admit db"
  const nlohmann::json& step;  // {admitted, qos, reason, message, metrics} or {invalid}
  const nlohmann::json& state;
  const std::vector<Difference>& differences;
};

// Replays recorded vectors through the same pods, allocator and state code as the agent, and compares.
class Replay {
 public:
  // name: only the vector of that name; empty: all.
  explicit Replay(std::string name = {}) : name_(std::move(name)) {}
  // Called after the start of a scenario (op "start") and each step of it.
  void ShowSteps(std::function<void(const ReplayStep&)> show) { show_ = std::move(show); }

  void Run(const RecordedVector& recorded);
  const ReplayResult& result() const { return result_; }

 private:
  class ScenarioRun;
  void RunMerge(const RecordedMerge& merge);
  void Report(const std::string& vector, const std::string& op, std::vector<Difference> differences);

  std::string name_;
  std::function<void(const ReplayStep&)> show_;
  ReplayResult result_;
};

}  // namespace podfence
