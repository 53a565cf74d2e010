#include "agent/verify_command.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/time/time.h"
#include "agent/cgroup/descriptor_limit.h"
#include "agent/commands/policy_flags.h"
#include "agent/commands/table.h"
#include "agent/core/text.h"
#include "agent/privileges.h"
#include "agent/verification.h"
#include "agent/verification_view.h"

namespace podfence {
namespace {

struct VerifyFlags {
  NodeFlags node;
  std::string window = "1s";
  std::string output = "table";
};

int RunVerify(const VerifyFlags& flags, Invocation& invocation) {
  const auto fail = [&](std::string_view message) {
    invocation.err << "podfence verify: " << message << '\n';
    return 2;
  };
  absl::Duration window;
  if (!absl::ParseDuration(flags.window, &window) || window < absl::ZeroDuration() || window > absl::Hours(1)) {
    return fail(Cat("--window ", flags.window, ": not a duration such as 1s, of 0 to 1h"));
  }
  const absl::StatusOr<Config> config = ConfigFromFlags(flags.node);
  if (!config.ok()) return fail(ToStd(config.status().message()));
  const absl::StatusOr<Allocator> allocator = AllocatorFor(*config);
  if (!allocator.ok()) return fail(ToStd(allocator.status().message()));
  spdlog::set_level(spdlog::level::off);  // whatever there is to say is in the answer
  RaiseDescriptorLimit();
  const Verification verification = VerifyNode(*config, *allocator, window, KeepNothing);
  if (flags.output == "json") {
    // Names of cgroups and tasks are whatever someone made them.
    const auto replace = nlohmann::json::error_handler_t::replace;
    invocation.out << VerificationToJson(verification).dump(2, ' ', false, replace) << '\n';
  } else {
    invocation.out << RenderVerification(verification, DetectTerminal(STDOUT_FILENO));
  }
  return verification.ExitCode();
}

}  // namespace

void AddVerifyCommand(CLI::App& app, Invocation& invocation) {
  CLI::App* command = app.add_subcommand("verify", "Check this node once against what was decided; needs no agent");
  const auto flags = std::make_shared<VerifyFlags>();
  AddNodeFlags(*command, flags->node);
  command->add_option("--window", flags->window, "How long the kernel is watched; 0: only what stands now is checked")
      ->capture_default_str();
  command->add_option("-o,--output", flags->output, "table or json")
      ->check(CLI::IsMember({"table", "json"}))
      ->capture_default_str();
  command->footer(
      "Holds the checkpoint (in mode audit the kubelet's) against cgroups, affinities, memory and the scheduler, and\n"
      "changes nothing. The agent may run meanwhile, or be dead; where it has other flags or another configuration\n"
      "file than this node's, give the same here.\n\n"
      "Examples:\n"
      "  podfence verify\n"
      "  podfence verify --config /etc/podfence/podfence.yaml --window 10s\n"
      "  podfence verify --state-dir /run/podfence --output json | jq -r '.findings[].message'\n"
      "Exit status: 0 clean, 1 findings, 2 bad flags or configuration, 3 unknown: something could not be looked at.");
  command->callback([flags, &invocation] { invocation.exit_code = RunVerify(*flags, invocation); });
}

}  // namespace podfence
