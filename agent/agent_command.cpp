#include "agent/agent_command.h"

#include <malloc.h>
#include <signal.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <optional>
#include <string>

#include "agent/agent.h"
#include "agent/cgroup/descriptor_limit.h"
#include "agent/commands/policy_flags.h"
#include "agent/config/config.h"
#include "agent/core/text.h"

namespace podfence {
namespace {

// What the command line says; each given flag wins over the file.
struct Flags {
  NodeFlags node;
  std::optional<std::string> manifests;
  std::optional<std::string> log_dir;
  std::optional<std::string> listen;
  std::optional<std::string> mode;
  std::optional<std::string> node_name;
  std::optional<std::string> log_level;
  std::optional<bool> per_pod_metrics;
  std::optional<bool> measure_interrupts;
  std::optional<bool> repair_drift;
};

absl::StatusOr<Config> Configure(const Flags& flags) {
  absl::StatusOr<Config> config = ConfigFromFlags(flags.node);
  if (!config.ok()) return config.status();
  Override(flags.manifests, config->static_pod_path);
  Override(flags.log_dir, config->pod_logs_dir);
  Override(flags.log_level, config->log_level);
  Override(flags.mode, config->mode);
  Override(flags.node_name, config->node_name);
  Override(flags.per_pod_metrics, config->per_pod_metrics);
  Override(flags.measure_interrupts, config->measure_interrupts);
  Override(flags.repair_drift, config->repair_drift);
  if (flags.listen) {
    absl::StatusOr<ListenAddress> address = ParseListenAddress(*flags.listen);
    if (!address.ok()) return absl::InvalidArgumentError(Cat("--listen: ", ToStd(address.status().message())));
    config->listen_address = *std::move(address);
  }
  return config;
}

// Who supervises this process would start it again if it ended by itself, and take the node back from the successor.
void AwaitEnd() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  int signal = 0;
  sigwait(&signals, &signal);
}

// glibc keeps an arena for every thread, and raises its thresholds to the largest block that was ever freed, unless one
// of them is set, if only to its default: what one look at the whole node takes for a moment would stay with the agent.
void KeepLittleMemory() {
  mallopt(M_ARENA_MAX, 1);
  mallopt(M_MMAP_THRESHOLD, 128 << 10);
}

void Run(const Flags& flags, Invocation& invocation) {
  KeepLittleMemory();
  absl::StatusOr<Config> config = Configure(flags);
  if (!config.ok()) {
    invocation.err << "podfence agent: " << config.status().message() << '\n';
    invocation.exit_code = 2;
    return;
  }
  spdlog::set_default_logger(spdlog::stderr_color_mt("podfence"));
  spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %^%l%$ %v");
  spdlog::set_level(spdlog::level::from_str(config->log_level));
  RaiseDescriptorLimit();
  absl::StatusOr<std::unique_ptr<Agent>> agent = Agent::Create(*std::move(config));
  absl::Status status = agent.ok() ? (*agent)->Run() : agent.status();
  if (status.ok() && (*agent)->left()) {
    agent->reset();
    AwaitEnd();
  }
  if (status.ok()) return;
  invocation.err << "podfence agent: " << status.message() << '\n';
  invocation.exit_code = absl::IsInvalidArgument(status) ? 2 : 1;
}

}  // namespace

void AddAgentCommand(CLI::App& app, Invocation& invocation) {
  CLI::App* agent = app.add_subcommand("agent", "Decide, fence, verify and export the pods of this node");
  auto flags = std::make_shared<Flags>();
  AddNodeFlags(*agent, flags->node);
  agent->add_option("--mode", flags->mode, "local | manage | audit")
      ->type_name("M")
      ->check(CLI::IsMember({"local", "manage", "audit"}));
  agent->add_option("--node-name", flags->node_name, "This node's name in Kubernetes (nodeName)")->type_name("NAME");
  agent->add_option("--manifests", flags->manifests, "Directory of Pod manifests (staticPodPath)")->type_name("DIR");
  agent->add_option("--log-dir", flags->log_dir, "Containers' output (podLogsDir)")->type_name("DIR");
  agent->add_option("--listen", flags->listen, "Address of /metrics, /api and the page (listenAddress)")
      ->type_name("HOST:PORT");
  // A callback, since CLI11 gives an optional flag that was not named the value false.
  agent->add_flag_callback(
      "--per-pod-metrics", [flags] { flags->per_pod_metrics = true; },
      "Export series of single containers (perPodMetrics)");
  agent->add_flag_callback(
      "--measure-interrupts", [flags] { flags->measure_interrupts = true; },
      "Measure the time of interrupts on exclusive CPUs (measureInterrupts)");
  agent->add_flag_callback(
      "--findings-only", [flags] { flags->repair_drift = false; },
      "Report what others change in a fence, and let it be (repairDrift: false)");
  agent->add_option("--log-level", flags->log_level, "trace | debug | info | warning | error")->type_name("L");
  agent->footer(
      "Mode local runs the pods of a directory: containers are processes of each container's `command`, in cgroups\n"
      "of their own, without images and namespaces. In mode manage the kubelet and the runtime run them; in mode\n"
      "audit the kubelet decides too, and nothing is written. Containers go on when the agent ends, and the next\n"
      "agent adopts them with the CPUs they have.\n\n"
      "Examples:\n"
      "  podfence agent --config /etc/podfence/podfence.yaml\n"
      "  podfence agent --manifests ./pods --topology-manager-scope pod --state-dir /run/podfence\n"
      "  podfence agent --mode audit --config /etc/podfence/podfence.yaml\n"
      "Exit status: 0 ended when told to, 1 something of the node failed, 2 bad flags or configuration.");
  agent->callback([flags, &invocation] { Run(*flags, invocation); });
}

}  // namespace podfence
