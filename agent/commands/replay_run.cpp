#include "agent/commands/replay_run.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <numeric>
#include <utility>

#include "agent/allocator/allocator.h"
#include "agent/allocator/validate.h"
#include "agent/commands/replay_state.h"
#include "agent/core/text.h"
#include "agent/pods/defaults.h"
#include "agent/pods/manifest.h"
#include "agent/pods/validation.h"

namespace podfence {
namespace {

using nlohmann::json;

class Stopwatch {
 public:
  uint64_t Nanoseconds() const {
    return static_cast<uint64_t>(
        std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now() - start_).count());
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

uint64_t ReferenceTime(const json& recorded) {
  const auto found = recorded.find("reference_ns");
  return found != recorded.end() && found->is_number_unsigned() ? found->get<uint64_t>() : 0;
}

// The parts of a recorded step that are compared: messages are ours, times are the machine's.
json Comparable(const json& step) {
  json comparable = json::object();
  for (const char* key : {"invalid", "admitted", "qos", "reason", "metrics"}) {
    if (const auto found = step.find(key); found != step.end()) comparable[key] = *found;
  }
  return comparable;
}

}  // namespace

// One scenario on its way: the allocator, our state, and what the state should be.
class Replay::ScenarioRun {
 public:
  ScenarioRun(Replay& replay, const Scenario& scenario, const Allocator& allocator)
      : replay_(replay), scenario_(scenario), allocator_(allocator), state_(allocator.InitialState()) {}

  void Run() {
    expected_state_ = scenario_.start;
    Finish("start", json::object(), json::object());
    for (size_t i = 0; i < scenario_.ops.size(); ++i) {
      const VectorOp& op = scenario_.ops[i];
      const json& expected = scenario_.steps[i];
      if (const auto found = expected.find("state"); found != expected.end()) expected_state_ = *found;
      ++replay_.result_.steps;
      switch (op.kind) {
        case VectorOp::Kind::kAdmit: {
          const json got = Admit(op, ReferenceTime(expected));
          Finish(Cat(i, " admit ", name_of_admitted_), expected, got);
          break;
        }
        case VectorOp::Kind::kStart:
          ApplyIfKnown(allocator_.Start(state_, op.uid, op.container));
          Finish(Cat(i, " start ", op.uid, " ", op.container), expected, json::object());
          break;
        case VectorOp::Kind::kRemove:
          ApplyIfKnown(allocator_.Remove(state_, op.uid));
          Finish(Cat(i, " remove ", op.uid), expected, json::object());
          break;
      }
    }
  }

 private:
  json Admit(const VectorOp& op, uint64_t reference_ns) {
    absl::StatusOr<Pod> parsed = ParsePodJson(op.pod);
    if (!parsed.ok()) {
      name_of_admitted_ = "an unreadable pod";
      return {{"unreadable", std::string(ToStd(parsed.status().message()))}};
    }
    name_of_admitted_ = parsed->name;
    const Stopwatch watch;
    DefaultPod(*parsed);
    const std::vector<std::string> problems = ValidatePod(*parsed);
    if (!problems.empty()) return {{"invalid", problems}};
    const auto pod = std::make_shared<const Pod>(*std::move(parsed));
    AdmitResult result = allocator_.Admit(state_, pod);
    replay_.result_.admits.push_back({watch.Nanoseconds(), reference_ns});
    json got = {{"admitted", result.admitted()}, {"qos", QosName(pod->qos)}};
    if (json metrics = CountersToVector(result.counters); !metrics.empty()) got["metrics"] = std::move(metrics);
    if (const auto* rejection = std::get_if<Rejection>(&result.outcome)) {
      got["reason"] = rejection->reason;
      got["message"] = rejection->message;
      if (result.books_after_refusal) Apply(*result.books_after_refusal, state_);
    } else {
      Apply(std::get<StateChange>(result.outcome), state_);
    }
    return got;
  }

  // Vectors also start and remove pods that were refused: nothing changes then.
  void ApplyIfKnown(const absl::StatusOr<StateChange>& change) {
    if (change.ok()) Apply(*change, state_);
  }

  void Finish(const std::string& op, const json& expected, const json& got) {
    const json state = StateToVector(state_);
    std::vector<Difference> differences;
    if (scenario_.invariants_only) {
      CheckInvariants(got, differences);
    } else {
      CompareJson(Comparable(expected), Comparable(got), "", differences);
      CompareJson(expected_state_, state, "state", differences);
    }
    if (replay_.show_) replay_.show_({op, got, state, differences});
    replay_.Report(scenario_.name, op, std::move(differences));
  }

  // The state must be sound, and so must have been the decision: the allocator refuses what is not.
  void CheckInvariants(const json& got, std::vector<Difference>& differences) const {
    const auto add = [&](std::string violation) {
      Difference& difference = differences.emplace_back();
      difference.path = "invariants";
      difference.expected = "kept";
      difference.got = std::move(violation);
    };
    if (got.value("reason", "") == kInvariantViolation) add(got.value("message", ""));
    const absl::Status status = ValidateState(allocator_.InitialState(),
                                              NeverExclusive(allocator_.machine(), allocator_.reserved_cpus()), state_);
    if (!status.ok()) add(std::string(ToStd(status.message())));
  }

  Replay& replay_;
  const Scenario& scenario_;
  const Allocator& allocator_;
  NodeState state_;
  json expected_state_;
  std::string name_of_admitted_;
};

void Replay::Run(const RecordedVector& recorded) {
  if (const auto* merge = std::get_if<RecordedMerge>(&recorded)) {
    if (name_.empty() || merge->name == name_) RunMerge(*merge);
    return;
  }
  const Scenario& scenario = std::get<Scenario>(recorded);
  if (!name_.empty() && scenario.name != name_) return;
  ++result_.scenarios;
  absl::StatusOr<Allocator> allocator = Allocator::Create(scenario.machine, scenario.policy);
  if (allocator.ok() == scenario.config_error) {
    Difference difference;
    difference.path = "configError";
    difference.expected = scenario.config_error ? "refused" : "accepted";
    difference.got = allocator.ok() ? "accepted" : std::string(ToStd(allocator.status().message()));
    Report(scenario.name, "configuration", {std::move(difference)});
  }
  if (!scenario.config_error && allocator.ok()) ScenarioRun(*this, scenario, *allocator).Run();
}

void Replay::RunMerge(const RecordedMerge& merge) {
  ++result_.merges;
  std::vector<int> nodes(merge.distances.size());
  std::iota(nodes.begin(), nodes.end(), 0);
  const HintMerger merger(std::move(nodes), merge.distances, merge.options);
  const Stopwatch watch;
  const Merged merged = merger.Merge(merge.providers);
  result_.merge_calls.push_back({watch.Nanoseconds(), merge.reference_ns});
  json got = {{"numa", nullptr}, {"preferred", merged.best.preferred}, {"admit", merged.admit}};
  if (!merged.best.numa.empty()) {
    got["numa"] = json::array();
    for (int node : merged.best.numa) got["numa"].push_back(node);
  }
  json expected = merge.expect;
  expected.erase("reference_ns");
  std::vector<Difference> differences;
  CompareJson(expected, got, "", differences);
  Report(merge.name, "merge", std::move(differences));
}

void Replay::Report(const std::string& vector, const std::string& op, std::vector<Difference> differences) {
  result_.mismatches += differences.size();
  for (Difference& difference : differences) {
    if (result_.differences.size() >= ReplayResult::kShownDifferences) return;
    difference.scenario = vector;
    difference.op = op;
    result_.differences.push_back(std::move(difference));
  }
}

}  // namespace podfence
