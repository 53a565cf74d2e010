#include "agent/verifier/expectations.h"

#include <set>

#include "agent/core/text.h"

namespace podfence {

std::string_view FenceKindName(FenceKind kind) {
  switch (kind) {
    case FenceKind::kExclusive: return "exclusive";
    case FenceKind::kShared: return "shared";
    case FenceKind::kPause: return "pause";
    case FenceKind::kPods: return "pods";
  }
  return "unknown";
}

absl::Status ValidateExpectations(const Expectations& expectations) {
  std::set<std::string_view> cgroups;
  for (const ExpectedFence& fence : expectations.fences) {
    const std::string who = Cat(FenceKindName(fence.kind), " fence of cgroup \"", fence.cgroup, "\"");
    if (fence.cgroup.empty() || fence.cgroup.front() == '/') {
      return absl::InvalidArgumentError(Cat(who, ": its path must be relative to the cgroup root and not empty"));
    }
    if (!cgroups.insert(fence.cgroup).second) {
      return absl::InvalidArgumentError(Cat(who, ": the cgroup is expected twice; give it one fence"));
    }
    if (fence.kind == FenceKind::kExclusive || fence.kind == FenceKind::kShared) {
      if (fence.cpus.empty()) {
        return absl::InvalidArgumentError(Cat(who, " has no CPUs; a fence of this kind needs some"));
      }
      if (fence.pod.empty()) return absl::InvalidArgumentError(Cat(who, " has no pod UID"));
    }
  }
  return absl::OkStatus();
}

}  // namespace podfence
