#include <unistd.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "agent/commands/api_client.h"
#include "agent/commands/commands.h"
#include "agent/commands/node_map.h"
#include "agent/commands/promises.h"
#include "agent/commands/status_view.h"
#include "agent/core/text.h"

namespace podfence {
namespace {

struct ReportFlags {
  std::string server = kDefaultServer;
  std::string window = "10s";
  std::string settle = "2s";
  std::string patience = "60s";
  int windows = 3;
  int pods = 1;
  bool busy = false;
  std::string output = "table";
};

bool AllRun(const Snapshot& snapshot, int pods) {
  if (static_cast<int>(snapshot.pods.size() + snapshot.rejected.size()) < pods) return false;
  for (const PodView& pod : snapshot.pods) {
    for (const ContainerView& container : pod.containers) {
      if (container.kind != "init" && container.phase != "running") return false;
    }
  }
  return true;
}

// Waits until every pod's containers run: a report of a node that is still starting would break every promise.
absl::Status AwaitStart(const ReportFlags& flags, absl::Duration patience) {
  const absl::Time deadline = absl::Now() + patience;
  while (true) {
    const absl::StatusOr<Snapshot> snapshot = FetchSnapshot(flags.server);
    if (!snapshot.ok() && !absl::IsFailedPrecondition(snapshot.status())) return snapshot.status();
    if (snapshot.ok() && AllRun(*snapshot, flags.pods)) return absl::OkStatus();
    if (absl::Now() >= deadline) return absl::OkStatus();  // the report says what does not run
    absl::SleepFor(absl::Milliseconds(500));
  }
}

absl::StatusOr<std::vector<Snapshot>> Measure(const ReportFlags& flags, absl::Duration window, std::ostream& progress) {
  std::vector<Snapshot> snapshots;
  for (int i = 0; i <= flags.windows; ++i) {
    if (i > 0) {
      progress << "window " << i << " of " << flags.windows << ": " << absl::FormatDuration(window) << " …"
               << std::endl;
      absl::SleepFor(window);
    }
    absl::StatusOr<Snapshot> snapshot = FetchSnapshot(flags.server);
    if (!snapshot.ok()) return snapshot.status();
    snapshots.push_back(*std::move(snapshot));
  }
  return snapshots;
}

// The lines of the three reference counters in the exposition, as Prometheus gets them.
std::vector<std::string> ScrapedCounters(const std::string& exposition) {
  std::vector<std::string> lines;
  size_t begin = 0;
  while (begin < exposition.size()) {
    const size_t end = std::min(exposition.find('\n', begin), exposition.size());
    std::string line = exposition.substr(begin, end - begin);
    if (line.starts_with("resource_manager_")) lines.push_back(std::move(line));
    begin = end + 1;
  }
  return lines;
}

nlohmann::json PromisesToJson(const std::vector<Promise>& promises) {
  nlohmann::json list = nlohmann::json::array();
  for (const Promise& promise : promises) {
    list.push_back({{"pod", promise.pod},
                    {"container", promise.container},
                    {"what", promise.what},
                    {"expected", promise.expected},
                    {"seen", promise.seen},
                    {"kept", promise.kept}});
  }
  return list;
}

void PrintTable(const std::vector<Snapshot>& snapshots, const std::vector<Promise>& promises,
                const std::vector<std::string>& counters, std::ostream& out) {
  const Terminal terminal = DetectTerminal(STDOUT_FILENO);
  out << RenderStatus(snapshots.back(), &snapshots.front(), terminal) << "\nCounters as scraped from /metrics\n";
  for (const std::string& line : counters) out << "  " << line << '\n';
  out << "\nPromises\n";
  size_t kept = 0;
  for (const Promise& promise : promises) {
    kept += promise.kept ? 1 : 0;
    if (promise.kept) continue;
    out << "  BROKEN  " << promise.pod << (promise.container.empty() ? "" : "/") << promise.container << ": "
        << promise.what << ": expected " << promise.expected << ", seen " << promise.seen << '\n';
  }
  out << "  " << kept << " of " << promises.size() << " held\n";
}

int RunReport(const ReportFlags& flags, Invocation& invocation) {
  const auto fail = [&](std::string_view message) {
    invocation.err << "podfence report: " << message << '\n';
    return 2;
  };
  absl::Duration window;
  absl::Duration settle;
  absl::Duration patience;
  if (!absl::ParseDuration(flags.window, &window) || window <= absl::ZeroDuration()) {
    return fail(Cat("--window ", flags.window, ": not a duration such as 10s"));
  }
  if (!absl::ParseDuration(flags.settle, &settle) || !absl::ParseDuration(flags.patience, &patience)) {
    return fail("--settle and --wait take durations such as 2s");
  }
  absl::Status status = AwaitStart(flags, patience);
  if (!status.ok()) return fail(ToStd(status.message()));
  absl::SleepFor(settle);
  const absl::StatusOr<std::vector<Snapshot>> snapshots = Measure(flags, window, invocation.err);
  if (!snapshots.ok()) return fail(ToStd(snapshots.status().message()));
  const absl::StatusOr<std::string> exposition = FetchFromAgent(flags.server, "/metrics");
  if (!exposition.ok()) return fail(ToStd(exposition.status().message()));
  const std::vector<std::string> counters = ScrapedCounters(*exposition);
  const std::vector<Promise> promises = JudgePromises(*snapshots, flags.busy);
  const bool all_kept = std::ranges::all_of(promises, &Promise::kept) && !promises.empty() &&
                        snapshots->back().rejected.empty() &&
                        static_cast<int>(snapshots->back().pods.size()) >= flags.pods;
  if (flags.output == "json") {
    invocation.out << nlohmann::json({{"kept", all_kept},
                                      {"promises", PromisesToJson(promises)},
                                      {"counters", counters},
                                      {"rejected", snapshots->back().rejected.size()}})
                          .dump(2)
                   << '\n';
  } else {
    PrintTable(*snapshots, promises, counters, invocation.out);
  }
  return all_kept ? 0 : 1;
}

}  // namespace

void AddReportCommand(CLI::App& app, Invocation& invocation) {
  CLI::App* command = app.add_subcommand("report", "Measure whether every promise to the pods is kept");
  const auto flags = std::make_shared<ReportFlags>();
  command->add_option("--server", flags->server, "Where the agent listens")->capture_default_str();
  command->add_option("--windows", flags->windows, "How many windows are measured; their median counts")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_option("--window", flags->window, "Length of a window")->capture_default_str();
  command->add_option("--pods", flags->pods, "At least so many pods must be admitted and run")->capture_default_str();
  command->add_option("--wait", flags->patience, "How long to wait for all containers to run")->capture_default_str();
  command->add_option("--settle", flags->settle, "Pause before the first window")->capture_default_str();
  command->add_flag("--busy", flags->busy, "The containers want all CPUs they can get: CPU time is a promise too");
  command->add_option("-o,--output", flags->output, "table or json")
      ->check(CLI::IsMember({"table", "json"}))
      ->capture_default_str();
  command->footer(
      "Examples:\n"
      "  podfence report --busy --pods 2\n"
      "  podfence report --windows 1 --window 60s --output json | jq '.promises[] | select(.kept | not)'\n"
      "Exit status: 0 every promise held, 1 one was broken, 2 nothing could be measured.");
  command->callback([flags, &invocation] { invocation.exit_code = RunReport(*flags, invocation); });
}

}  // namespace podfence
