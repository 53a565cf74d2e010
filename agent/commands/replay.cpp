#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "agent/commands/commands.h"
#include "agent/commands/replay_input.h"
#include "agent/commands/replay_report.h"
#include "agent/commands/replay_run.h"
#include "agent/core/text.h"

namespace podfence {
namespace {

struct ReplayFlags {
  std::vector<std::string> files;
  std::string scenario;
  std::string output = "text";
  bool timing = false;
};

int RunReplay(const ReplayFlags& flags, Invocation& invocation) {
  const bool as_json = flags.output == "json";
  Replay replay(flags.scenario);
  nlohmann::json steps = nlohmann::json::array();
  if (!flags.scenario.empty()) {
    replay.ShowSteps([&](const ReplayStep& step) {
      if (as_json) {
        steps.push_back(StepToJson(step));
      } else {
        PrintStep(step, invocation.out);
      }
    });
  }
  for (const std::string& file : flags.files) {
    const absl::Status status = ForEachVector(file, [&](const RecordedVector& recorded) { replay.Run(recorded); });
    if (!status.ok()) {
      invocation.err << "podfence replay: " << ToStd(status.message()) << '\n';
      return 2;
    }
  }
  const ReplayResult& result = replay.result();
  if (!flags.scenario.empty() && result.scenarios + result.merges == 0) {
    invocation.err << "podfence replay: no vector is named " << flags.scenario << '\n';
    return 2;
  }
  if (as_json) {
    nlohmann::json report = ReplayToJson(result, flags.timing);
    if (!flags.scenario.empty()) report["trace"] = std::move(steps);
    invocation.out << report.dump(2) << '\n';
  } else {
    PrintReplay(result, flags.timing, invocation.out);
  }
  return result.mismatches == 0 ? 0 : 1;
}

}  // namespace

void AddReplayCommand(CLI::App& app, Invocation& invocation) {
  CLI::App* command = app.add_subcommand("replay", "Replay recorded decisions of the kubelet and compare");
  auto flags = std::make_shared<ReplayFlags>();
  command->add_option("FILE", flags->files, "Vector files: scenarios or merges, .jsonl or .jsonl.gz")->required();
  command->add_option("--scenario", flags->scenario, "Replay only the vector of this name and print each step");
  command->add_flag("--timing", flags->timing, "Set the time of the calls beside the reference's");
  command->add_option("--output", flags->output, "text or json")->check(CLI::IsMember({"text", "json"}));
  command->footer(
      "Examples:\n"
      "  podfence replay tests/data/vectors/scenarios.jsonl.gz --timing\n"
      "  podfence replay tests/data/vectors/scenarios.jsonl.gz --scenario seed-00-best-effort-pod\n"
      "  podfence replay tests/data/vectors/*.jsonl.gz --output json\n"
      "Exit status: 0 no mismatch, 1 mismatches, 2 bad input.");
  command->callback([flags, &invocation] { invocation.exit_code = RunReplay(*flags, invocation); });
}

}  // namespace podfence
