#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "agent/allocator/allocator.h"
#include "agent/config/config.h"
#include "agent/topology/topology.h"

namespace podfence {

// The flags that decide where pods go, for every command that decides: each given flag wins over the file.
struct PolicyFlags {
  std::string config_file;
  std::optional<std::string> machine;
  std::optional<std::string> cpu_policy;
  std::optional<std::string> memory_policy;
  std::optional<std::string> topology_policy;
  std::optional<std::string> topology_scope;
  std::optional<std::string> reserved_cpus;
};

// Of the agent, for every command that looks at what an agent does on this node: named alike, they mean the same.
struct NodeFlags {
  PolicyFlags policy;
  std::optional<std::string> state_dir;
  std::optional<std::string> cgroup_hierarchy;
  std::optional<bool> fence_host;
};

template <typename Value>
void Override(const std::optional<Value>& flag, Value& value) {
  if (flag) value = *flag;
}

// Where an installed agent has its configuration (package and image).
inline constexpr char kNodeConfigFile[] = "/etc/podfence/podfence.yaml";

// Adds the flags to a command; flags must outlive it.
void AddPolicyFlags(CLI::App& command, PolicyFlags& flags);
void AddNodeFlags(CLI::App& command, NodeFlags& flags);

// The configuration of the file, or the default one, under the flags. Errors are LoadConfigFile's; what is wrong with
// a flag's value is the allocator's to say (Allocator::Create).
absl::StatusOr<Config> ConfigFromFlags(const PolicyFlags& flags);
// The same for this node: without a file named, that of its agent where there is one, so that what looks at the node
// sees it as the agent does.
absl::StatusOr<Config> ConfigFromFlags(const NodeFlags& flags, std::string_view node_config_file = kNodeConfigFile);

// Who decides under a configuration: on its machine, by its policy. Errors name what is wrong with either.
absl::StatusOr<Allocator> AllocatorFor(const Config& config, const LoadOptions& options = {});

}  // namespace podfence
