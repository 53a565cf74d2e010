#include <algorithm>
#include <array>

#include "absl/strings/str_join.h"
#include "agent/cgroup/cgroup.h"
#include "agent/cgroup/control.h"
#include "agent/core/text.h"

namespace podfence {
namespace {

constexpr std::array<std::string_view, 3> kNeeded = {"cpuset", "cpu", "memory"};

// The needed controllers that are not among those listed in file.
absl::StatusOr<std::vector<std::string>> Missing(const Cgroup& cgroup, std::string_view file) {
  const absl::StatusOr<std::vector<std::string>> present = ReadControllers(cgroup, file);
  if (!present.ok()) return present.status();
  std::vector<std::string> missing;
  for (std::string_view name : kNeeded) {
    if (std::find(present->begin(), present->end(), name) == present->end()) missing.emplace_back(name);
  }
  return missing;
}

}  // namespace

absl::StatusOr<Cgroup> OpenHierarchy(const std::string& root) {
  absl::StatusOr<Cgroup> cgroup = Cgroup::Open(root);
  if (!cgroup.ok()) return cgroup.status();
  if (!cgroup->Has("cgroup.controllers")) {
    const bool hybrid = cgroup->Has("unified/cgroup.controllers");
    return absl::FailedPreconditionError(
        Cat(root, " is not cgroup v2 (no cgroup.controllers)",
            hybrid || cgroup->Has("cpuset") ? ": this host runs the old cgroup v1, and its controllers are there" : "",
            ". Boot with systemd.unified_cgroup_hierarchy=1, or with cgroup_no_v1=all and cgroup2 mounted at ", root));
  }
  const absl::StatusOr<std::vector<std::string>> missing = Missing(*cgroup, "cgroup.controllers");
  if (!missing.ok()) return missing.status();
  if (!missing->empty()) {
    return absl::FailedPreconditionError(
        Cat("cgroup v2 at ", root, " lacks the controllers ", absl::StrJoin(*missing, ", "),
            ": another hierarchy (cgroup v1) holds them, they are switched off (cgroup_disable=), or the parent cgroup "
            "does not pass them on. Boot with cgroup_no_v1=all, or enable them in the parent's "
            "cgroup.subtree_control"));
  }
  return cgroup;
}

absl::StatusOr<std::vector<std::string>> MissingControllers(const Cgroup& cgroup) {
  return Missing(cgroup, kSubtreeControl);
}

absl::Status EnableControllers(const Cgroup& cgroup) {
  const absl::StatusOr<std::vector<std::string>> missing = MissingControllers(cgroup);
  if (!missing.ok()) return missing.status();
  if (missing->empty()) return absl::OkStatus();
  const std::string change = Cat("+", absl::StrJoin(*missing, " +"));
  absl::Status status = cgroup.Write(kSubtreeControl, change);
  if (status.ok()) return status;
  return absl::FailedPreconditionError(
      Cat("enable controllers: ", ToStd(status.message()),
          status.code() == absl::StatusCode::kFailedPrecondition
              ? ". Processes live in this cgroup itself; move them to a cgroup below it"
              : ". Its parent must pass these controllers on (cgroup.controllers lists what is available)"));
}

}  // namespace podfence
