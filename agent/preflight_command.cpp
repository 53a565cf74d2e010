#include "agent/preflight_command.h"

#include <unistd.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "agent/commands/policy_flags.h"
#include "agent/commands/table.h"
#include "agent/core/text.h"
#include "agent/preflight.h"

namespace podfence {
namespace {

using State = PreflightCheck::State;

struct PreflightFlags {
  NodeFlags node;
  PreflightOptions options;
  std::string output = "table";
};

Colour ColourOf(State state) {
  switch (state) {
    case State::kOk: return Colour::kGreen;
    case State::kWarning: return Colour::kYellow;
    case State::kFailed: return Colour::kRed;
  }
  return Colour::kRed;
}

std::string Render(const std::vector<PreflightCheck>& checks, std::string_view verb, const Terminal& terminal) {
  Table table({{"Check"}, {"State"}, {"Found"}});
  std::string remedies;
  for (const PreflightCheck& check : checks) {
    table.AddRow(
        {check.name, Table::Cell(std::string(PreflightStateName(check.state)), ColourOf(check.state)), check.found});
    if (!check.remedy.empty()) absl::StrAppend(&remedies, check.name, ": ", check.remedy, ".\n");
  }
  const bool failed = PreflightExitCode(checks) != 0;
  return Cat(table.Render(terminal), remedies.empty() ? "" : "\n", remedies, "\n",
             failed ? "podfence cannot " : "podfence can ", verb, " this node\n");
}

int RunPreflight(const PreflightFlags& flags, Invocation& invocation) {
  const absl::StatusOr<Config> config = ConfigFromFlags(flags.node);
  if (!config.ok()) {
    invocation.err << "podfence preflight: " << config.status().message() << '\n';
    return 2;
  }
  const std::vector<PreflightCheck> checks = Preflight(*config, flags.options);
  if (flags.output == "json") {
    nlohmann::json list = nlohmann::json::array();
    for (const PreflightCheck& check : checks) {
      list.push_back({{"name", check.name},
                      {"state", std::string(PreflightStateName(check.state))},
                      {"found", check.found},
                      {"remedy", check.remedy}});
    }
    const nlohmann::json result = {{"passed", PreflightExitCode(checks) == 0}, {"checks", std::move(list)}};
    invocation.out << result.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
  } else {
    invocation.out << Render(checks, config->mode == "audit" ? "audit" : "manage", DetectTerminal(STDOUT_FILENO));
  }
  return PreflightExitCode(checks);
}

}  // namespace

void AddPreflightCommand(CLI::App& app, Invocation& invocation) {
  CLI::App* command =
      app.add_subcommand("preflight", "Say what stands in the way of managing, or auditing, this Kubernetes node");
  const auto flags = std::make_shared<PreflightFlags>();
  AddNodeFlags(*command, flags->node);
  command->add_option("--kubelet-config", flags->options.kubelet_config, "The kubelet's configuration file")
      ->capture_default_str();
  command->add_option("-o,--output", flags->output, "table or json")
      ->check(CLI::IsMember({"table", "json"}))
      ->capture_default_str();
  command->footer(
      "Looks at cgroups, whether the policy fits the machine, the kubelet's configuration and state, the runtime's\n"
      "NRI socket and its plugins, capabilities and which kernel programs attach. Changes nothing but that the state\n"
      "directory is made.\n\n"
      "Examples:\n"
      "  podfence preflight\n"
      "  podfence preflight --config /etc/podfence/podfence.yaml --output json\n"
      "Exit status: 0 nothing stands in the way, 1 something does, 2 bad flags or configuration.");
  command->callback([flags, &invocation] { invocation.exit_code = RunPreflight(*flags, invocation); });
}

}  // namespace podfence
