#include <iostream>

#include "agent/agent_command.h"
#include "agent/commands/commands.h"
#include "agent/commands/version.h"
#include "agent/core/text.h"
#include "agent/preflight_command.h"
#include "agent/verify_command.h"

int main(int argc, char** argv) {
  CLI::App app("Podfence: exclusive CPUs and memory for containers that are really exclusive.", "podfence");
  app.require_subcommand(1);
  app.set_version_flag("--version", podfence::Cat("podfence ", podfence::PodfenceVersion()));
  app.get_formatter()->column_width(36);
  app.footer("Run `podfence COMMAND --help` for the flags and examples of a command.");
  podfence::Invocation invocation{.out = std::cout, .err = std::cerr};
  podfence::AddAgentCommand(app, invocation);
  podfence::AddStatusCommand(app, invocation);
  podfence::AddVerifyCommand(app, invocation);
  podfence::AddPreflightCommand(app, invocation);
  podfence::AddReportCommand(app, invocation);
  podfence::AddExplainCommand(app, invocation);
  podfence::AddPlanCommand(app, invocation);
  podfence::AddTopologyCommand(app, invocation);
  podfence::AddReplayCommand(app, invocation);
  podfence::AddVersionCommand(app, invocation);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // 0 for --help; every misuse is 2, whatever CLI11 numbers it.
    return app.exit(error, std::cout, std::cerr) == 0 ? 0 : 2;
  }
  return invocation.exit_code;
}
