#include <charconv>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "agent/allocator/merge.h"
#include "agent/core/text.h"

namespace podfence {
namespace {

constexpr int kDefaultMaxNumaNodes = 8;
constexpr std::string_view kPreferClosest = "prefer-closest-numa-nodes";
constexpr std::string_view kMaxNumaNodes = "max-allowable-numa-nodes";

// The spellings of Go's strconv.ParseBool.
std::optional<bool> ParseGoBool(std::string_view text) {
  for (std::string_view yes : {"1", "t", "T", "true", "TRUE", "True"}) {
    if (text == yes) return true;
  }
  for (std::string_view no : {"0", "f", "F", "false", "FALSE", "False"}) {
    if (text == no) return false;
  }
  return std::nullopt;
}

// As Go's strconv.Atoi: an optional sign and decimal digits.
std::optional<int> ParseGoInt(std::string_view text) {
  if (text.starts_with('+')) {
    text.remove_prefix(1);
    if (text.starts_with('-')) return std::nullopt;
  }
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

absl::Status ParseOption(std::string_view name, std::string_view value, TopologyOptions& options) {
  const auto invalid = [&](const std::string& what) {
    return absl::InvalidArgumentError(Cat("topologyManagerPolicyOptions: ", what));
  };
  if (name == kPreferClosest) {
    const std::optional<bool> parsed = ParseGoBool(value);
    if (!parsed) return invalid(Cat("bad value \"", value, "\" for option \"", name, "\": write true or false"));
    options.prefer_closest_numa = *parsed;
    return absl::OkStatus();
  }
  if (name == kMaxNumaNodes) {
    const std::optional<int> parsed = ParseGoInt(value);
    if (!parsed) return invalid(Cat("option \"", name, "\" must be a whole number, not \"", value, "\""));
    if (*parsed < kDefaultMaxNumaNodes) {
      return invalid(Cat("the minimum value of \"", name, "\" is ", kDefaultMaxNumaNodes, ", not ", *parsed));
    }
    options.max_allowable_numa_nodes = *parsed;
    return absl::OkStatus();
  }
  return invalid(Cat("unknown Topology Manager Policy option: \"", name, "\"; there are ", kPreferClosest, " and ",
                     kMaxNumaNodes));
}

}  // namespace

absl::StatusOr<TopologyOptions> ParseTopologyOptions(const Machine& machine, const Policy& policy) {
  TopologyOptions options;
  const std::string& name = policy.topology_manager_policy;
  if (name == "none") return options;
  for (const auto& [option, value] : policy.topology_manager_policy_options) {
    if (absl::Status status = ParseOption(option, value, options); !status.ok()) return status;
  }
  if (machine.nodes.size() > static_cast<size_t>(options.max_allowable_numa_nodes)) {
    return absl::InvalidArgumentError(Cat("topologyManagerPolicy ", name, ": unsupported on machines with more than ",
                                          options.max_allowable_numa_nodes, " NUMA nodes, and this one has ",
                                          machine.nodes.size(), "; raise topologyManagerPolicyOptions ",
                                          kMaxNumaNodes));
  }
  if (name == "best-effort") {
    options.policy = TopologyPolicy::kBestEffort;
  } else if (name == "restricted") {
    options.policy = TopologyPolicy::kRestricted;
  } else if (name == "single-numa-node") {
    options.policy = TopologyPolicy::kSingleNumaNode;
  } else {
    return absl::InvalidArgumentError(Cat("topologyManagerPolicy: unknown policy: \"", name,
                                          "\"; there are none, best-effort, restricted and single-numa-node"));
  }
  const std::string& scope = policy.topology_manager_scope;
  if (scope == "pod") {
    options.scope = TopologyScope::kPod;
  } else if (scope != "container") {
    return absl::InvalidArgumentError(
        Cat("topologyManagerScope: unknown scope: \"", scope, "\"; there are container and pod"));
  }
  return options;
}

}  // namespace podfence
