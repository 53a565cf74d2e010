#pragma once

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "agent/allocator/draft.h"
#include "agent/core/machine.h"
#include "agent/core/policy.h"

namespace podfence {

// The Memory manager: policies None and Static (memorymanager/policy_static.go, memory_manager.go). Immutable after
// Create.
class MemoryManager {
 public:
  // InvalidArgument: reservations that do not add up or name what the machine lacks, in the reference's terms.
  static absl::StatusOr<MemoryManager> Create(const Machine& machine, const Policy& policy);
  MemoryManager(MemoryManager&&) noexcept;
  ~MemoryManager();

  // The books before any pod; empty under None.
  std::vector<NumaNodeMemory> InitialNodes() const;

  ProviderHints ContainerHints(const Draft& draft, const Container& container) const;
  ProviderHints PodHints(const Draft& draft) const;
  std::optional<Refusal> Allocate(Draft& draft, const Container& container, const Hint& affinity) const;
  std::optional<Refusal> AllocatePod(Draft& draft, const Hint& affinity) const;
  // A container was started: shrinks the blocks of earlier one-shot init containers (AddContainer).
  void Start(Draft& draft, const Container& container) const;
  // Returns everything the pod of draft.allocation holds to draft.nodes.
  void Release(Draft& draft) const;
  // The inverse: books what draft.allocation holds. FailedPrecondition where that is not free.
  absl::Status Restore(Draft& draft) const;

  Isolation IsolationOf(const Draft& draft, const Container& container) const;
  // Memory and huge pages asked for, in bytes and resource order; empty: it shares.
  std::vector<std::pair<std::string, uint64_t>> Requests(const Pod& pod, const Container& container) const;
  std::vector<std::pair<std::string, uint64_t>> Requests(const Pod& pod) const;

 private:
  struct Rules;
  explicit MemoryManager(std::unique_ptr<Rules> rules);
  // The policy is Static and the pod Guaranteed: others share all nodes.
  bool Manages(const Pod& pod) const;
  std::unique_ptr<Rules> rules_;
};

}  // namespace podfence
