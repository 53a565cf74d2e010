#include "agent/commands/policy_flags.h"

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

}  // namespace podfence
