#include "agent/commands/policy_flags.h"

#include <filesystem>
#include <system_error>
#include <utility>

#include "agent/core/text.h"

namespace podfence {

void AddPolicyFlags(CLI::App& command, PolicyFlags& flags) {
  command.add_option("--config", flags.config_file, "Configuration file; what it leaves out keeps its default")
      ->type_name("FILE");
  command.add_option("--machine", flags.machine, "live, an hwloc XML file, or an hwloc synthetic description")
      ->type_name("M");
  command.add_option("--cpu-manager-policy", flags.cpu_policy, "none | static")->type_name("P");
  command.add_option("--memory-manager-policy", flags.memory_policy, "None | Static")->type_name("P");
  command
      .add_option("--topology-manager-policy", flags.topology_policy,
                  "none | best-effort | restricted | single-numa-node")
      ->type_name("P");
  command.add_option("--topology-manager-scope", flags.topology_scope, "container | pod")->type_name("S");
  command.add_option("--reserved-cpus", flags.reserved_cpus, "CPUs that are never exclusive (reservedSystemCPUs)")
      ->type_name("LIST");
}

void AddNodeFlags(CLI::App& command, NodeFlags& flags) {
  AddPolicyFlags(command, flags.policy);
  CLI::Option* config = command.get_option("--config");
  config->description(Cat(config->get_description(), " [", kNodeConfigFile, " where there is one]"));
  command.add_option("--state-dir", flags.state_dir, "Checkpoint, lock and records (stateDirectory)")->type_name("DIR");
  command.add_option("--cgroup-hierarchy", flags.cgroup_hierarchy, "Where cgroup v2 is mounted")->type_name("DIR");
  // Callbacks, since CLI11 gives an optional flag that was not named the value false.
  command.add_flag_callback(
      "--fence-host", [&flags] { flags.fence_host = true; },
      "Keep the host's own processes off exclusive CPUs (fenceHost)");
  command.add_flag_callback(
      "--no-fence-host", [&flags] { flags.fence_host = false; }, "Leave the host's own processes where they are");
}

absl::StatusOr<Config> ConfigFromFlags(const PolicyFlags& flags) {
  absl::StatusOr<Config> config = flags.config_file.empty() ? Config() : LoadConfigFile(flags.config_file);
  if (!config.ok()) return config.status();
  Override(flags.machine, config->machine);
  Override(flags.cpu_policy, config->policy.cpu_manager_policy);
  Override(flags.memory_policy, config->policy.memory_manager_policy);
  Override(flags.topology_policy, config->policy.topology_manager_policy);
  Override(flags.topology_scope, config->policy.topology_manager_scope);
  Override(flags.reserved_cpus, config->policy.reserved_system_cpus);
  return config;
}

absl::StatusOr<Config> ConfigFromFlags(const NodeFlags& flags, std::string_view node_config_file) {
  PolicyFlags policy = flags.policy;
  std::error_code unknown;
  if (policy.config_file.empty() && std::filesystem::exists(node_config_file, unknown)) {
    policy.config_file = node_config_file;
  }
  absl::StatusOr<Config> config = ConfigFromFlags(policy);
  if (!config.ok()) return config.status();
  Override(flags.state_dir, config->state_directory);
  Override(flags.cgroup_hierarchy, config->cgroup_hierarchy);
  Override(flags.fence_host, config->fence_host);
  return config;
}

absl::StatusOr<Allocator> AllocatorFor(const Config& config, const LoadOptions& options) {
  absl::StatusOr<Machine> machine = LoadMachine(config.machine, options);
  if (!machine.ok()) return machine.status();
  absl::StatusOr<Policy> policy = ComposePolicy(config, *machine);
  if (!policy.ok()) return policy.status();
  return Allocator::Create(*std::move(machine), *std::move(policy));
}

}  // namespace podfence
