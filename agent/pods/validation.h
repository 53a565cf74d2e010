#pragma once

#include <string>
#include <vector>

#include "agent/core/pod.h"

namespace podfence {

// One thing that the API would refuse in a Pod.
struct PodProblem {
  std::string field;   // spec.containers[0].resources.requests
  std::string reason;  // the API's class of error: "Invalid value", "Required value", "Forbidden", …
  std::string detail;  // the value and the rule it breaks, for people

  std::string Short() const { return field + ": " + reason; }
  std::string Full() const { return Short() + ": " + detail; }
};

// Checks a pod that DefaultPod has completed by the API's rules (pkg/apis/core/validation: ValidatePodCreate, of what
// Podfence keeps): names, labels and annotations, images, and everything about resources at container and pod level.
// Sorted by Short; an error that the API reports twice is here twice. Empty: the pod is valid. Costs no allocation
// then.
std::vector<PodProblem> CheckPod(const Pod& pod);

// The same as "field: reason", as the decision vectors have it.
std::vector<std::string> ValidatePod(const Pod& pod);

}  // namespace podfence
