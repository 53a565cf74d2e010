#include "agent/ledger.h"

#include <chrono>
#include <utility>

#include "agent/core/text.h"
#include "agent/state/adopt.h"

namespace podfence {
namespace {

template <size_t N, size_t M>
void AddAll(std::array<std::array<uint64_t, N>, M>& sum, const std::array<std::array<uint64_t, N>, M>& growth) {
  for (size_t i = 0; i < M; ++i) {
    for (size_t j = 0; j < N; ++j) sum[i][j] += growth[i][j];
  }
}

}  // namespace

Ledger::Ledger(Allocator allocator, std::optional<StateStore> store)
    : allocator_(std::move(allocator)), store_(std::move(store)) {}

absl::StatusOr<Ledger::Opened> Ledger::Open(Allocator allocator, StateStore store) {
  Opened opened{.ledger = Ledger(std::move(allocator), std::move(store)), .damage = {}, .misfits = {}};
  Ledger& ledger = opened.ledger;
  absl::StatusOr<LoadedState> loaded = ledger.store_->Load();
  if (!loaded.ok()) return loaded.status();
  if (!loaded->damage.empty()) opened.damage = Cat(loaded->damage, "; set aside as ", loaded->set_aside);
  opened.restored = loaded->found;
  opened.rebooted = loaded->rebooted;
  AdoptedState adopted = AdoptState(loaded->state, ledger.allocator_.InitialState(), ledger.allocator_.machine(),
                                    ledger.allocator_.reserved_cpus());
  opened.misfits = std::move(adopted.misfits);
  if (absl::Status status = ledger.Commit(std::move(adopted.state)); !status.ok()) return status;
  return opened;
}

Ledger Ledger::Following(Allocator allocator) { return {std::move(allocator), std::nullopt}; }

void Ledger::Follow(NodeState state) {
  for (const auto& [uid, pod] : state.pods) {
    const auto before = state_.pods.find(uid);
    for (const ContainerAllocation& container : pod.containers) {
      const ContainerAllocation* held = before == state_.pods.end() ? nullptr : before->second.Find(container.name);
      const auto count = [&](Resource resource, bool bubble, Isolation now, Isolation then) {
        if (now == then || now == Isolation::kHost) return;
        const Assignment exclusive = bubble ? Assignment::kPodExclusive : Assignment::kNodeExclusive;
        ++counters_.Assignments(resource, now == Isolation::kPod ? Assignment::kPodShared : exclusive);
      };
      count(Resource::kCpu, pod.cpus.has_value(), container.cpu_isolation,
            held == nullptr ? Isolation::kHost : held->cpu_isolation);
      count(Resource::kMemory, !pod.memory.empty(), container.memory_isolation,
            held == nullptr ? Isolation::kHost : held->memory_isolation);
    }
  }
  state_ = std::move(state);
}

absl::Status Ledger::Commit(NodeState next) {
  if (!store_) return absl::FailedPreconditionError("another decides on this node; nothing is decided here");
  if (absl::Status status = store_->Commit(next); !status.ok()) {
    ++commit_errors_;
    return status;
  }
  ++commits_;
  state_ = std::move(next);
  return absl::OkStatus();
}

absl::Status Ledger::Commit(const StateChange& change) {
  NodeState next = state_;
  Apply(change, next);
  return Commit(std::move(next));
}

absl::StatusOr<AdmitResult> Ledger::Admit(std::shared_ptr<const Pod> pod, Trace& trace) {
  const auto begin = std::chrono::steady_clock::now();
  AdmitResult result = allocator_.Admit(state_, std::move(pod), {}, &trace);
  last_decision_seconds_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  if (const auto* change = std::get_if<StateChange>(&result.outcome)) {
    if (absl::Status status = Commit(*change); !status.ok()) return status;
    ++admitted_;
  } else {
    if (result.books_after_refusal) {
      if (absl::Status status = Commit(*result.books_after_refusal); !status.ok()) return status;
    }
    ++rejected_;
    if (std::get<Rejection>(result.outcome).reason == kInvariantViolation) ++invariant_violations_;
  }
  AddAll(counters_.allocations, result.counters.allocations);
  AddAll(counters_.allocation_errors, result.counters.allocation_errors);
  AddAll(counters_.assignments, result.counters.assignments);
  return result;
}

absl::Status Ledger::Restore(PodAllocation allocation) {
  absl::StatusOr<StateChange> change = allocator_.Restore(state_, std::move(allocation));
  if (!change.ok()) return change.status();
  return Commit(*change);
}

absl::Status Ledger::Start(std::string_view uid, std::string_view container) {
  absl::StatusOr<StateChange> change = allocator_.Start(state_, uid, container);
  if (!change.ok()) return change.status();
  const auto before = state_.pods.find(uid);
  const bool same = change->nodes == state_.nodes && before != state_.pods.end() && change->pod &&
                    change->pod->containers == before->second.containers;
  if (same) return absl::OkStatus();
  return Commit(*change);
}

absl::Status Ledger::Remove(std::string_view uid, bool ended) {
  absl::StatusOr<StateChange> change = allocator_.Remove(state_, uid);
  if (!change.ok()) return change.status();
  NodeState next = state_;
  Apply(*change, next);
  if (ended) next.ended.insert(std::string(uid));
  return Commit(std::move(next));
}

absl::Status Ledger::ForgetEnded(const std::set<std::string, std::less<>>& manifests) {
  NodeState next = state_;
  std::erase_if(next.ended, [&](const std::string& uid) { return !manifests.contains(uid); });
  if (next.ended == state_.ended) return absl::OkStatus();
  return Commit(std::move(next));
}

}  // namespace podfence
