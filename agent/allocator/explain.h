#pragma once

// Why a pod was refused, in facts: what was asked, what each NUMA node had, what the policy refused, and what would
// have helped. What would have helped is not guessed but tried: the allocator is a function, so it is asked again.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "agent/allocator/admit.h"
#include "agent/allocator/hints.h"
#include "agent/core/decision.h"

namespace podfence {

// The hints of all providers, resource by resource; at most ShownHints::kMaxShownHints of each.
std::vector<ShownHints> ShowHints(const std::vector<ProviderHints>& providers, const NodePositions& positions);

// What an explanation may look at.
struct Admittance {
  const Machine& machine;
  const Policy& policy;
  const Managers& managers;
  const std::vector<DeviceHints>& devices;
};

// Turns a failure into a rejection. draft is as the failure left it.
Rejection Explain(const Admittance& admittance, const Draft& draft, const AdmissionFailure& failure);

// What the container or pod that failed asks for, and what each NUMA node has of it.
struct Shortage {
  std::vector<std::pair<std::string, uint64_t>> asked;  // resource, CPUs or bytes
  std::vector<NodeShortage> nodes;                      // resource by resource, nodes ascending

  // Sums over the nodes.
  uint64_t FreeOf(std::string_view resource) const;
  uint64_t CapacityOf(std::string_view resource) const;
};
Shortage FindShortage(const Admittance& admittance, const Draft& draft, const AdmissionFailure& failure);

// The smallest change that would have admitted the pod, as a sentence without its full stop; empty: none of those that
// are cheap to try.
std::string FindRemedy(const Admittance& admittance, const Draft& draft, const AdmissionFailure& failure,
                       const Shortage& shortage);

// "6 exclusive CPUs", "12Gi of memory".
std::string ShowAmount(std::string_view resource, uint64_t amount);

}  // namespace podfence
