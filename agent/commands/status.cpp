#include <unistd.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "absl/time/clock.h"
#include "agent/commands/api_client.h"
#include "agent/commands/commands.h"
#include "agent/commands/status_view.h"
#include "agent/core/text.h"
#include "agent/server/snapshot_json.h"

namespace podfence {
namespace {

struct StatusFlags {
  std::string server = kDefaultServer;
  std::string output = "table";
  double window = 1;
  bool probes = false;
};

int ExitCode(const Snapshot& snapshot) {
  const auto& findings = snapshot.findings;
  return std::any_of(findings.begin(), findings.end(), [](const FindingView& finding) { return finding.active; });
}

int Fail(const absl::Status& status, Invocation& invocation) {
  invocation.err << "podfence status: " << ToStd(status.message()) << '\n';
  return 2;
}

// Whether what a probe finds is found, by it or by another one.
bool Covered(const ProbeView& probe) { return probe.running || !probe.wanted || !probe.fallback.empty(); }

int RunProbes(const StatusFlags& flags, Invocation& invocation) {
  const absl::StatusOr<Snapshot> now = FetchSnapshot(flags.server);
  if (!now.ok()) return Fail(now.status(), invocation);
  if (flags.output == "json") {
    nlohmann::json rows = nlohmann::json::array();
    for (const ProbeView& probe : now->probes) {
      rows.push_back({{"probe", probe.name},
                      {"hook", probe.hook},
                      {"state", ProbeState(probe)},
                      {"finds", probe.finds},
                      {"reason", probe.reason},
                      {"fallback", probe.fallback}});
    }
    invocation.out << rows.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
  } else {
    invocation.out << RenderProbeTable(*now, DetectTerminal(STDOUT_FILENO));
  }
  return std::ranges::all_of(now->probes, Covered) ? 0 : 1;
}

int RunStatus(const StatusFlags& flags, Invocation& invocation) {
  if (flags.probes) return RunProbes(flags, invocation);
  if (flags.output == "json") {
    const absl::StatusOr<nlohmann::json> state = FetchState(flags.server);
    if (!state.ok()) return Fail(state.status(), invocation);
    const absl::StatusOr<Snapshot> snapshot = SnapshotFromJson(*state);
    if (!snapshot.ok()) return Fail(snapshot.status(), invocation);
    invocation.out << state->dump(2) << '\n';
    return ExitCode(*snapshot);
  }
  std::optional<Snapshot> before;
  if (flags.window > 0) {
    absl::StatusOr<Snapshot> first = FetchSnapshot(flags.server);
    if (!first.ok()) return Fail(first.status(), invocation);
    before = *std::move(first);
    absl::SleepFor(absl::Seconds(flags.window));
  }
  const absl::StatusOr<Snapshot> now = FetchSnapshot(flags.server);
  if (!now.ok()) return Fail(now.status(), invocation);
  invocation.out << RenderStatus(*now, before ? &*before : nullptr, DetectTerminal(STDOUT_FILENO));
  return ExitCode(*now);
}

}  // namespace

void AddStatusCommand(CLI::App& app, Invocation& invocation) {
  CLI::App* command = app.add_subcommand("status", "Show who owns which CPU, and whether the kernel holds it");
  const auto flags = std::make_shared<StatusFlags>();
  command->add_option("--server", flags->server, "Where the agent listens")->capture_default_str();
  command->add_option("--window", flags->window, "Seconds over which CPU time is measured; 0: not measured")
      ->check(CLI::Range(0.0, 3600.0))
      ->capture_default_str();
  command->add_flag("--probes", flags->probes,
                    "Show the kernel's probes alone: what each finds, why one is down, and what takes its place");
  command->add_option("-o,--output", flags->output, "table, or json: the agent's state as its API gives it")
      ->check(CLI::IsMember({"table", "json"}))
      ->capture_default_str();
  command->footer(
      "Examples:\n"
      "  podfence status\n"
      "  podfence status --window 10\n"
      "  podfence status --probes --output json | jq '.[] | select(.state == \"down\")'\n"
      "  podfence status --server http://node-a:9551 --output json | jq .findings\n"
      "Exit status: 0 nothing to complain of, 1 a finding is active (--probes: what a probe finds is found by none), 2 "
      "no\n"
      "state could be had.");
  command->callback([flags, &invocation] { invocation.exit_code = RunStatus(*flags, invocation); });
}

}  // namespace podfence
