#pragma once

#include "agent/commands/commands.h"

namespace podfence {

// `podfence verify`: the one-shot check of this node. Not in commands/, since it looks through the enforcer's and the
// verifier's eyes.
void AddVerifyCommand(CLI::App& app, Invocation& invocation);

}  // namespace podfence
