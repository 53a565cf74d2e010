#pragma once

#include "agent/commands/commands.h"

namespace podfence {

// `podfence agent`: runs the agent until SIGTERM or SIGINT. Exit code 0 after an orderly end, 1 when the agent cannot
// start or fails, 2 for bad configuration or usage.
void AddAgentCommand(CLI::App& app, Invocation& invocation);

}  // namespace podfence
