#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "agent/core/node_state.h"
#include "agent/core/numa_set.h"

namespace podfence {

enum class Resource { kCpu, kMemory };                                // label resource_name: cpu, memory
enum class Source { kPod, kNode };                                    // label source: pod, node
enum class Assignment { kNodeExclusive, kPodExclusive, kPodShared };  // label assignment_type

// By how much one event made the three resource_manager_* counters grow (reference/metrics: KEP-5526's names).
struct CounterGrowth {
  std::array<std::array<uint64_t, 2>, 2> allocations{};        // [Resource][Source]
  std::array<std::array<uint64_t, 2>, 2> allocation_errors{};  // [Resource][Source]
  std::array<std::array<uint64_t, 3>, 2> assignments{};        // [Resource][Assignment]

  uint64_t& Allocations(Resource r, Source s) { return allocations[static_cast<size_t>(r)][static_cast<size_t>(s)]; }
  uint64_t& Errors(Resource r, Source s) { return allocation_errors[static_cast<size_t>(r)][static_cast<size_t>(s)]; }
  uint64_t& Assignments(Resource r, Assignment a) {
    return assignments[static_cast<size_t>(r)][static_cast<size_t>(a)];
  }
  friend bool operator==(const CounterGrowth&, const CounterGrowth&) = default;
};

// What one event changes, whole: the node's books after it, and one pod's allocation. Applied only after its commit.
struct StateChange {
  std::string uid;
  std::optional<PodAllocation> pod;  // none: the pod is removed
  CpuSet shared_cpus;
  std::vector<NumaNodeMemory> nodes;
};
void Apply(const StateChange& change, NodeState& state);

// What one NUMA node had when a pod was refused, of one resource (CPUs, or bytes).
struct NodeShortage {
  int numa_node = 0;
  std::string resource;
  uint64_t free = 0;
  uint64_t capacity = 0;  // allocatable
};

// One provider's hints for one resource, as an explanation shows them (at most kMaxShownHints of them).
struct ShownHints {
  static constexpr size_t kMaxShownHints = 64;
  std::string resource;
  bool no_preference = false;
  uint64_t total = 0;                           // how many there were; a lazily made family counts only those made
  std::vector<std::pair<NumaSet, bool>> hints;  // affinity (empty: any node), preferred
};

// Why the allocator decided as it did for one container (or the whole pod, where container is empty).
struct TraceStep {
  std::string container;
  std::vector<ShownHints> hints;
  NumaSet merged;  // empty: any node
  bool preferred = false;
  bool admitted = false;
  std::vector<std::string> notes;  // "took CPUs 1-3,17-19 of NUMA node 0: whole cores", in order
};
struct Trace {
  std::vector<TraceStep> steps;
};

// Reason of a decision that the validator refused: a defect of Podfence, never of the pod.
inline constexpr std::string_view kInvariantViolation = "InvariantViolation";

// A pod that does not fit. reason and reference_message are the kubelet's own; the rest says more.
struct Rejection {
  std::string reason;               // TopologyAffinityError, SMTAlignmentError, UnexpectedAdmissionError, …
  std::string reference_message;    // the kubelet's wording
  std::string message;              // ours: one paragraph with the facts, ready for a person
  std::string container;            // whose request failed; empty: the pod's
  std::vector<NodeShortage> nodes;  // for each resource asked for, what each NUMA node had
  std::vector<std::pair<std::string, uint64_t>> asked;  // resource, amount (CPUs or bytes)
  std::string remedy;  // the smallest change that would have admitted it; empty: not cheap to know
};

// The answer to one admission. The counters grow on refusals too.
struct AdmitResult {
  std::variant<StateChange, Rejection> outcome;
  CounterGrowth counters;
  // A refusal can change the node's books, though never what a pod holds: the reference books the containers before
  // the one that failed and returns them, and a return within a group of NUMA nodes need not restore how much each node
  // gave, or the group (memorymanager/policy_static.go releaseMemory). Later decisions depend on it, so it is
  // reproduced: where given, it is to be applied and committed like any change.
  std::optional<StateChange> books_after_refusal;
  bool admitted() const { return std::holds_alternative<StateChange>(outcome); }
};

}  // namespace podfence
