#pragma once

#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "agent/allocator/draft.h"
#include "agent/core/machine.h"
#include "agent/core/policy.h"

namespace podfence {

// The CPU manager: policies none and static with every option (cpumanager/policy_static.go, policy_options.go).
// Immutable after Create.
class CpuManager {
 public:
  // InvalidArgument: unknown or clashing options, or CPUs that cannot be reserved, in the reference's terms.
  static absl::StatusOr<CpuManager> Create(const Machine& machine, const Policy& policy);
  CpuManager(CpuManager&&) noexcept;
  ~CpuManager();

  const CpuSet& reserved_cpus() const;
  // The node shared pool before any pod; empty under none.
  CpuSet InitialSharedCpus() const;

  ProviderHints ContainerHints(const Draft& draft, const Container& container) const;
  ProviderHints PodHints(const Draft& draft) const;
  // Gives the container its exclusive CPUs, if it asks for any; affinity empty: any node.
  std::optional<Refusal> Allocate(Draft& draft, const Container& container, const Hint& affinity) const;
  // Gives the pod its bubble and parts it among the containers (AllocatePod).
  std::optional<Refusal> AllocatePod(Draft& draft, const Hint& affinity) const;
  // Returns everything the pod of draft.allocation holds to draft.shared_cpus.
  void Release(Draft& draft) const;

  // What the container is fenced to, as the reference's container_manager_linux.go says for the CPU side.
  Isolation IsolationOf(const Draft& draft, const Container& container) const;
  // Exclusive CPUs the container asks for under this policy; 0: it shares (guaranteedCPUs).
  int ExclusiveCpus(const Pod& pod, const Container& container) const;
  // Exclusive CPUs the pod asks for as a whole (podGuaranteedCPUs).
  int ExclusiveCpus(const Pod& pod) const;

 private:
  struct Rules;
  explicit CpuManager(std::unique_ptr<Rules> rules);
  std::unique_ptr<Rules> rules_;
};

}  // namespace podfence
