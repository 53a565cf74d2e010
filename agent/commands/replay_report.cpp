#include "agent/commands/replay_report.h"

#include <algorithm>
#include <array>
#include <iomanip>
#include <numeric>
#include <sstream>

#include "agent/core/text.h"

namespace podfence {
namespace {

using nlohmann::json;

// Microseconds.
struct Spread {
  double mean = 0;
  double p50 = 0;
  double p99 = 0;
  double max = 0;
};

Spread SpreadOf(std::vector<uint64_t> times) {
  if (times.empty()) return {};
  std::ranges::sort(times);
  const auto at = [&times](double share) {
    return static_cast<double>(times[static_cast<size_t>(share * static_cast<double>(times.size() - 1))]) / 1e3;
  };
  const double sum = std::accumulate(times.begin(), times.end(), 0.0);
  return {.mean = sum / static_cast<double>(times.size()) / 1e3, .p50 = at(0.5), .p99 = at(0.99), .max = at(1)};
}

struct Timing {
  Spread here;
  Spread reference;
};

// Only calls whose reference time was recorded can be set beside it.
Timing TimingOf(const std::vector<CallTime>& calls) {
  std::vector<uint64_t> here;
  std::vector<uint64_t> reference;
  for (const CallTime& call : calls) {
    if (call.reference_ns == 0) continue;
    here.push_back(call.ns);
    reference.push_back(call.reference_ns);
  }
  return {.here = SpreadOf(std::move(here)), .reference = SpreadOf(std::move(reference))};
}

constexpr std::array<std::pair<const char*, double Spread::*>, 4> kFigures{
    {{"mean", &Spread::mean}, {"p50", &Spread::p50}, {"p99", &Spread::p99}, {"max", &Spread::max}}};

double Ratio(double reference, double here) { return here > 0 ? reference / here : 0; }

void PrintTiming(const char* what, const std::vector<CallTime>& calls, std::ostream& out) {
  if (calls.empty()) return;
  const Timing timing = TimingOf(calls);
  std::ostringstream table;
  table << std::fixed << std::setprecision(1) << std::left << std::setw(8) << what << std::right << std::setw(14)
        << "podfence us" << std::setw(16) << "reference us" << std::setw(12) << "ratio" << '\n';
  for (const auto& [name, figure] : kFigures) {
    const double here = timing.here.*figure;
    const double reference = timing.reference.*figure;
    table << "  " << std::left << std::setw(6) << name << std::right << std::setw(14) << here << std::setw(16)
          << reference << std::setw(11) << Ratio(reference, here) << "x\n";
  }
  out << table.str();
}

json TimingToJson(const std::vector<CallTime>& calls) {
  const Timing timing = TimingOf(calls);
  json figures = json::object();
  for (const auto& [name, figure] : kFigures) {
    figures[name] = {{"podfence_us", timing.here.*figure},
                     {"reference_us", timing.reference.*figure},
                     {"ratio", Ratio(timing.reference.*figure, timing.here.*figure)}};
  }
  return figures;
}

json DifferencesToJson(const std::vector<Difference>& differences) {
  json list = json::array();
  for (const Difference& difference : differences) {
    list.push_back({{"scenario", difference.scenario},
                    {"op", difference.op},
                    {"path", difference.path},
                    {"expected", difference.expected},
                    {"got", difference.got}});
  }
  return list;
}

std::string Totals(const ReplayResult& result) {
  std::string totals = "replayed ";
  if (result.scenarios > 0 || result.merges == 0) {
    totals += Cat(result.scenarios, " scenarios, ", result.steps, " steps");
    if (result.merges > 0) totals += ", ";
  }
  if (result.merges > 0) totals += Cat(result.merges, " merges");
  return Cat(totals, ": ", result.mismatches, " mismatches");
}

}  // namespace

void PrintReplay(const ReplayResult& result, bool timing, std::ostream& out) {
  for (const Difference& difference : result.differences) {
    out << difference.scenario << ": op " << difference.op << ": " << difference.path << "\n  expected "
        << difference.expected << "\n  got      " << difference.got << '\n';
  }
  if (result.mismatches > result.differences.size()) {
    out << "… and " << result.mismatches - result.differences.size() << " more\n";
  }
  if (timing) {
    PrintTiming("admit", result.admits, out);
    PrintTiming("merge", result.merge_calls, out);
  }
  out << Totals(result) << '\n';
}

json ReplayToJson(const ReplayResult& result, bool timing) {
  json object = {{"scenarios", result.scenarios},
                 {"steps", result.steps},
                 {"merges", result.merges},
                 {"mismatches", result.mismatches},
                 {"differences", DifferencesToJson(result.differences)}};
  if (timing && !result.admits.empty()) object["timing"]["admit"] = TimingToJson(result.admits);
  if (timing && !result.merge_calls.empty()) object["timing"]["merge"] = TimingToJson(result.merge_calls);
  return object;
}

void PrintStep(const ReplayStep& step, std::ostream& out) {
  out << "op " << step.op << '\n';
  for (const auto& [key, value] : step.step.items()) {
    if (!value.is_object()) {
      out << "  " << key << ": " << (value.is_string() ? value.get<std::string>() : value.dump()) << '\n';
      continue;
    }
    for (const auto& [name, amount] : value.items()) out << "  " << name << " +" << amount.dump() << '\n';
  }
  for (const auto& [part, value] : step.state.items()) {
    if (!value.is_object()) {
      out << "  " << part << ": " << (value.is_string() ? value.get<std::string>() : value.dump()) << '\n';
      continue;
    }
    for (const auto& [key, entry] : value.items()) out << "  " << part << '.' << key << ": " << entry.dump() << '\n';
  }
  for (const Difference& difference : step.differences) {
    out << "  MISMATCH " << difference.path << ": expected " << difference.expected << ", got " << difference.got
        << '\n';
  }
}

json StepToJson(const ReplayStep& step) {
  json object = step.step;
  object["op"] = step.op;
  object["state"] = step.state;
  object["differences"] = DifferencesToJson(step.differences);
  return object;
}

}  // namespace podfence
