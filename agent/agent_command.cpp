#include "agent/agent_command.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <optional>
#include <string>

#include "agent/agent.h"
#include "agent/config/config.h"
#include "agent/core/text.h"

namespace podfence {
namespace {

// What the command line says; each given flag wins over the file.
struct Flags {
  std::string config_file;
  std::optional<std::string> machine;
  std::optional<std::string> manifests;
  std::optional<std::string> state_dir;
  std::optional<std::string> log_dir;
  std::optional<std::string> cgroup_hierarchy;
  std::optional<std::string> listen;
  std::optional<std::string> cpu_policy;
  std::optional<std::string> memory_policy;
  std::optional<std::string> topology_policy;
  std::optional<std::string> topology_scope;
  std::optional<std::string> reserved_cpus;
  std::optional<std::string> log_level;
  std::optional<bool> fence_host;
  std::optional<bool> per_pod_metrics;
};

template <typename Value>
void Override(const std::optional<Value>& flag, Value& value) {
  if (flag) value = *flag;
}

absl::StatusOr<Config> Configure(const Flags& flags) {
  absl::StatusOr<Config> config = flags.config_file.empty() ? Config() : LoadConfigFile(flags.config_file);
  if (!config.ok()) return config.status();
  Override(flags.machine, config->machine);
  Override(flags.manifests, config->static_pod_path);
  Override(flags.state_dir, config->state_directory);
  Override(flags.log_dir, config->pod_logs_dir);
  Override(flags.cgroup_hierarchy, config->cgroup_hierarchy);
  Override(flags.cpu_policy, config->policy.cpu_manager_policy);
  Override(flags.memory_policy, config->policy.memory_manager_policy);
  Override(flags.topology_policy, config->policy.topology_manager_policy);
  Override(flags.topology_scope, config->policy.topology_manager_scope);
  Override(flags.reserved_cpus, config->policy.reserved_system_cpus);
  Override(flags.log_level, config->log_level);
  Override(flags.fence_host, config->fence_host);
  Override(flags.per_pod_metrics, config->per_pod_metrics);
  if (flags.listen) {
    absl::StatusOr<ListenAddress> address = ParseListenAddress(*flags.listen);
    if (!address.ok()) return absl::InvalidArgumentError(Cat("--listen: ", ToStd(address.status().message())));
    config->listen_address = *std::move(address);
  }
  return config;
}

void Run(const Flags& flags, Invocation& invocation) {
  absl::StatusOr<Config> config = Configure(flags);
  if (!config.ok()) {
    invocation.err << "podfence agent: " << config.status().message() << '\n';
    invocation.exit_code = 2;
    return;
  }
  spdlog::set_default_logger(spdlog::stderr_color_mt("podfence"));
  spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %^%l%$ %v");
  spdlog::set_level(spdlog::level::from_str(config->log_level));
  absl::StatusOr<std::unique_ptr<Agent>> agent = Agent::Create(*std::move(config));
  absl::Status status = agent.ok() ? (*agent)->Run() : agent.status();
  if (status.ok()) return;
  invocation.err << "podfence agent: " << status.message() << '\n';
  invocation.exit_code = absl::IsInvalidArgument(status) ? 2 : 1;
}

}  // namespace

void AddAgentCommand(CLI::App& app, Invocation& invocation) {
  CLI::App* agent = app.add_subcommand("agent", "Decide, fence, run, verify and export the pods of a directory");
  auto flags = std::make_shared<Flags>();
  agent->add_option("--config", flags->config_file, "Configuration file; what it leaves out keeps its default")
      ->type_name("FILE");
  agent->add_option("--manifests", flags->manifests, "Directory of Pod manifests (staticPodPath)")->type_name("DIR");
  agent->add_option("--machine", flags->machine, "live, an hwloc XML file, or an hwloc synthetic description")
      ->type_name("M");
  agent->add_option("--state-dir", flags->state_dir, "Checkpoint, lock and records (stateDirectory)")->type_name("DIR");
  agent->add_option("--log-dir", flags->log_dir, "Containers' output (podLogsDir)")->type_name("DIR");
  agent->add_option("--listen", flags->listen, "Address of /metrics, /api and the page (listenAddress)")
      ->type_name("HOST:PORT");
  agent->add_option("--cpu-manager-policy", flags->cpu_policy, "none | static")->type_name("P");
  agent->add_option("--memory-manager-policy", flags->memory_policy, "None | Static")->type_name("P");
  agent
      ->add_option("--topology-manager-policy", flags->topology_policy,
                   "none | best-effort | restricted | single-numa-node")
      ->type_name("P");
  agent->add_option("--topology-manager-scope", flags->topology_scope, "container | pod")->type_name("S");
  agent->add_option("--reserved-cpus", flags->reserved_cpus, "CPUs that are never exclusive (reservedSystemCPUs)")
      ->type_name("LIST");
  agent->add_option("--cgroup-hierarchy", flags->cgroup_hierarchy, "Where cgroup v2 is mounted")->type_name("DIR");
  // Callbacks, since CLI11 gives an optional flag that was not named the value false.
  agent->add_flag_callback(
      "--fence-host", [flags] { flags->fence_host = true; },
      "Keep the host's own processes off exclusive CPUs (fenceHost)");
  agent->add_flag_callback(
      "--no-fence-host", [flags] { flags->fence_host = false; }, "Leave the host's own processes where they are");
  agent->add_flag_callback(
      "--per-pod-metrics", [flags] { flags->per_pod_metrics = true; },
      "Export series of single containers (perPodMetrics)");
  agent->add_option("--log-level", flags->log_level, "trace | debug | info | warning | error")->type_name("L");
  agent->footer(
      "Containers are processes of each container's `command`, in cgroups of their own: no images, no namespaces.\n"
      "They go on when the agent ends, and the next agent adopts them with the CPUs they have.\n\n"
      "Examples:\n"
      "  podfence agent --config /etc/podfence/podfence.yaml\n"
      "  podfence agent --manifests ./pods --topology-manager-scope pod --state-dir /run/podfence\n");
  agent->callback([flags, &invocation] { Run(*flags, invocation); });
}

}  // namespace podfence
