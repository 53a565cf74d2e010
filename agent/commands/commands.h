#pragma once

// commands/ holds the subcommands of podfence that only read: topology, status, replay, plan, explain, version. Each
// Add…Command adds one to app with its flags, its --help and examples; when it is the one that was called, it runs,
// writes results to out and complaints to err, and leaves the exit code: 0 success, 1 a negative answer (mismatch,
// does not fit, a broken promise), 2 bad input or usage.

#include <CLI/CLI.hpp>
#include <ostream>

namespace podfence {

struct Invocation {
  std::ostream& out;
  std::ostream& err;
  int exit_code = 0;
};

void AddTopologyCommand(CLI::App& app, Invocation& invocation);
void AddStatusCommand(CLI::App& app, Invocation& invocation);
void AddReportCommand(CLI::App& app, Invocation& invocation);
void AddReplayCommand(CLI::App& app, Invocation& invocation);
void AddPlanCommand(CLI::App& app, Invocation& invocation);
void AddExplainCommand(CLI::App& app, Invocation& invocation);
void AddVersionCommand(CLI::App& app, Invocation& invocation);

}  // namespace podfence
