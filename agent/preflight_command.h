#pragma once

#include "agent/commands/commands.h"

namespace podfence {

// `podfence preflight`: what stands in the way of mode manage on this node.
void AddPreflightCommand(CLI::App& app, Invocation& invocation);

}  // namespace podfence
