// What holds for every machine, configuration and course of events. PODFENCE_PROPERTY_STEPS says for how many events in
// all (the soak of `make bench` takes a million); RC_PARAMS is RapidCheck's own (seed=… repeats a failure).

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "agent/allocator/allocator.h"
#include "agent/allocator/validate.h"
#include "agent/core/text.h"
#include "agent/pods/validation.h"
#include "tests/unit/allocator/arbitrary.h"

#ifndef PODFENCE_PROPERTY_STEPS
#define PODFENCE_PROPERTY_STEPS 10000
#endif

namespace podfence {
namespace {

constexpr int kEventsPerCase = 40;

// RapidCheck reads its parameters once, from the environment.
void SetNumberOfCases() {
  const char* given = std::getenv("PODFENCE_PROPERTY_STEPS");
  const long steps = given != nullptr ? std::strtol(given, nullptr, 10) : PODFENCE_PROPERTY_STEPS;
  const char* params = std::getenv("RC_PARAMS");
  const std::string cases = Cat("max_success=", std::max(steps / kEventsPerCase, 1L), " max_discard_ratio=100 ",
                                params == nullptr ? "" : params);
  setenv("RC_PARAMS", cases.c_str(), 1);
}

bool SameChange(const StateChange& a, const StateChange& b) {
  return a.uid == b.uid && a.shared_cpus == b.shared_cpus && a.nodes == b.nodes &&
         a.pod.has_value() == b.pod.has_value() &&
         (!a.pod ||
          (a.pod->containers == b.pod->containers && a.pod->cpus == b.pod->cpus && a.pod->memory == b.pod->memory));
}

bool SameResult(const AdmitResult& a, const AdmitResult& b) {
  if (a.admitted() != b.admitted() || a.counters != b.counters) return false;
  if (a.admitted()) return SameChange(std::get<StateChange>(a.outcome), std::get<StateChange>(b.outcome));
  const auto& x = std::get<Rejection>(a.outcome);
  const auto& y = std::get<Rejection>(b.outcome);
  return x.reason == y.reason && x.message == y.message && x.container == y.container &&
         a.books_after_refusal.has_value() == b.books_after_refusal.has_value();
}

// Some node is named by blocks on different sets of nodes: there the reference's books depend on the order of things,
// and lose track of bytes (memorymanager/policy_static.go releaseMemory).
bool HasMixedGroups(const NodeState& state) {
  std::vector<NumaSet> seen;
  const auto look = [&](const std::vector<MemoryBlock>& blocks) {
    for (const MemoryBlock& block : blocks) seen.push_back(block.numa);
  };
  for (const auto& [uid, pod] : state.pods) {
    look(pod.memory);
    for (const ContainerAllocation& container : pod.containers) look(container.memory);
  }
  for (NumaSet a : seen) {
    for (NumaSet b : seen) {
      if (a != b && !(a & b).empty()) return true;
    }
  }
  return false;
}

// What of the books does not depend on where within a group bytes are booked.
std::vector<std::pair<std::string, uint64_t>> Totals(const NodeState& state) {
  std::map<std::string, uint64_t> reserved;
  std::vector<std::pair<std::string, uint64_t>> totals;
  for (const NumaNodeMemory& node : state.nodes) {
    totals.emplace_back(Cat("blocks on ", node.id, " in ", node.cells.ToString()), node.assignments);
    for (const NodeMemory& entry : node.memory) reserved[entry.resource] += entry.reserved;
  }
  totals.insert(totals.end(), reserved.begin(), reserved.end());
  return totals;
}

class Course {
 public:
  Course(const Allocator& allocator, const Machine& machine)
      : allocator_(allocator),
        never_exclusive_(NeverExclusive(machine, allocator.reserved_cpus())),
        initial_(allocator.InitialState()),
        state_(initial_) {}

  void Run() {
    CheckState();
    for (int i = 0; i < kEventsPerCase; ++i) {
      const int kind = *rc::gen::inRange(0, 10);
      if (kind < 6 || state_.pods.empty()) {
        Admit(arbitrary::AnyPod(i));
      } else if (kind < 8) {
        Start();
      } else {
        Remove(AnyAdmitted());
      }
      CheckState();
    }
    RemovalsCommute();
    while (!state_.pods.empty()) Remove(AnyAdmitted());
    CheckState();
    RC_ASSERT(state_.shared_cpus == initial_.shared_cpus);
    for (const NumaNodeMemory& node : state_.nodes) RC_ASSERT(node.assignments == 0);
    if (!ever_mixed_) RC_ASSERT(state_.nodes == initial_.nodes);
  }

 private:
  const std::string& AnyAdmitted() {
    const auto count = static_cast<std::ptrdiff_t>(state_.pods.size());
    return std::next(state_.pods.begin(), *rc::gen::inRange<std::ptrdiff_t>(0, count))->first;
  }

  void CheckState() {
    Succeeds(ValidateState(initial_, never_exclusive_, state_));
    ever_mixed_ |= HasMixedGroups(state_);
  }

  static void Succeeds(const absl::Status& status) {
    if (!status.ok()) RC_LOG() << status.message() << std::endl;
    RC_ASSERT(status.ok());
  }

  void Admit(const std::shared_ptr<const Pod>& pod) {
    if (!ValidatePod(*pod).empty()) return;
    const AdmitResult result = allocator_.Admit(state_, pod);
    RC_ASSERT(SameResult(result, allocator_.Admit(state_, pod)));
    Trace trace;
    RC_ASSERT(SameResult(result, allocator_.Admit(state_, pod, {}, &trace)));
    if (!result.admitted()) {
      const auto& rejection = std::get<Rejection>(result.outcome);
      if (rejection.reason == kInvariantViolation) Succeeds(absl::InternalError(rejection.message));
      if (result.books_after_refusal) LeaveNoTrace(*result.books_after_refusal);
      return;
    }
    const NodeState before = state_;
    Apply(std::get<StateChange>(result.outcome), state_);
    const absl::StatusOr<StateChange> removal = allocator_.Remove(state_, pod->uid);
    Succeeds(removal.status());
    NodeState undone = state_;
    Apply(*removal, undone);
    RC_ASSERT(undone.pods.size() == before.pods.size());
    RC_ASSERT(undone.shared_cpus == before.shared_cpus);
    if (!HasMixedGroups(state_) && !ever_mixed_) RC_ASSERT(Totals(undone) == Totals(before));
  }

  // A refused pod holds nothing; at most bytes have moved within a group of nodes.
  void LeaveNoTrace(const StateChange& books) {
    RC_ASSERT(!books.pod.has_value());
    RC_ASSERT(books.shared_cpus == state_.shared_cpus);
    const size_t pods = state_.pods.size();
    Apply(books, state_);
    RC_ASSERT(state_.pods.size() == pods);
    ever_mixed_ = true;  // the refused pod's own blocks, seen by nobody, may have been the other set
  }

  void Start() {
    const std::string uid = AnyAdmitted();
    const PodAllocation pod = state_.pods.at(uid);
    const size_t index = *rc::gen::inRange<size_t>(0, pod.containers.size());
    const absl::StatusOr<StateChange> change = allocator_.Start(state_, uid, pod.containers[index].name);
    Succeeds(change.status());
    RC_ASSERT(change->shared_cpus == state_.shared_cpus);
    RC_ASSERT(change->pod->containers[index] == pod.containers[index]);
    Apply(*change, state_);
    const absl::StatusOr<StateChange> again = allocator_.Start(state_, uid, pod.containers[index].name);
    RC_ASSERT(again.ok() && SameChange(*again, *change));
  }

  void Remove(const std::string& uid) {
    const absl::StatusOr<StateChange> change = allocator_.Remove(state_, uid);
    Succeeds(change.status());
    Apply(*change, state_);
  }

  // Two pods may leave in any order.
  void RemovalsCommute() {
    if (state_.pods.size() < 2) return;
    const std::string a = AnyAdmitted();
    const std::string b = AnyAdmitted();
    if (a == b) return;
    const NodeState before = state_;
    Remove(a);
    Remove(b);
    const NodeState one_way = std::exchange(state_, before);
    Remove(b);
    Remove(a);
    RC_ASSERT(one_way.shared_cpus == state_.shared_cpus);
    if (!ever_mixed_) RC_ASSERT(Totals(one_way) == Totals(state_));
    state_ = before;
  }

  const Allocator& allocator_;
  CpuSet never_exclusive_;
  NodeState initial_;
  NodeState state_;
  bool ever_mixed_ = false;
};

TEST(AllocatorProperties, HoldOnEveryMachineUnderEveryPolicy) {
  SetNumberOfCases();
  const bool held = rc::check("the allocator's invariants", [] {
    const Machine machine = arbitrary::AnyMachine();
    const Policy policy = arbitrary::AnyPolicy(machine);
    const absl::StatusOr<Allocator> allocator = Allocator::Create(machine, policy);
    RC_PRE(allocator.ok());
    Course(*allocator, machine).Run();
  });
  EXPECT_TRUE(held);
}

}  // namespace
}  // namespace podfence
