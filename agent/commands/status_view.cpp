#include "agent/commands/status_view.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_join.h"
#include "agent/commands/node_map.h"
#include "agent/commands/table.h"
#include "agent/core/text.h"

namespace podfence {
namespace {

using Cell = Table::Cell;
using enum Table::Align;

constexpr size_t kMaxShownCgroups = 40;

// "0", "350 us", "12.0 ms", "3.2 s": a duration that is measured in nanoseconds and adds up to days.
std::string Seconds(double seconds) {
  if (seconds <= 0) return "0";
  if (seconds < 1e-3) return Fixed(seconds * 1e6, 0) + " us";
  if (seconds < 1) return Fixed(seconds * 1e3, 1) + " ms";
  return Fixed(seconds, 1) + " s";
}

// "3 s", "12 min", "5 h", "3 d"
std::string Age(double seconds) {
  struct Unit {
    double size;
    const char* name;
  };
  static constexpr Unit kUnits[] = {{86400, " d"}, {3600, " h"}, {60, " min"}};
  for (const Unit& unit : kUnits) {
    if (seconds >= 2 * unit.size) return Fixed(seconds / unit.size, 0) + unit.name;
  }
  return Fixed(std::max(seconds, 0.0), 0) + " s";
}

const PodAllocation* AllocationOf(const Snapshot& snapshot, const std::string& uid) {
  const auto found = snapshot.state.pods.find(uid);
  return found == snapshot.state.pods.end() ? nullptr : &found->second;
}

std::string PodName(const Snapshot& snapshot, const std::string& uid) {
  const PodAllocation* allocation = AllocationOf(snapshot, uid);
  return allocation == nullptr || allocation->pod == nullptr ? uid : allocation->pod->FullName();
}

const ContainerView* FindContainer(const Snapshot& snapshot, const std::string& uid, const std::string& name) {
  for (const PodView& pod : snapshot.pods) {
    if (pod.uid != uid) continue;
    for (const ContainerView& container : pod.containers) {
      if (container.name == name) return &container;
    }
  }
  return nullptr;
}

// CPUs' worth of time that a container used between two snapshots; none without two, or where it started anew.
std::optional<double> Rate(const Snapshot& now, const Snapshot* before, const std::string& uid,
                           const ContainerView& container) {
  if (before == nullptr || now.monotonic <= before->monotonic) return std::nullopt;
  const ContainerView* earlier = FindContainer(*before, uid, container.name);
  if (earlier == nullptr || earlier->cpu_seconds > container.cpu_seconds) return std::nullopt;
  return (container.cpu_seconds - earlier->cpu_seconds) / (now.monotonic - before->monotonic);
}

bool IsExclusive(const ContainerView& container) { return container.assignment.ends_with("_exclusive"); }

bool IsMisplaced(const ContainerView& container) {
  return container.phase == "running" && !container.cpus.empty() && container.effective_cpus != container.cpus;
}

Cell CpusCell(const ContainerView& container) {
  if (container.cpus.empty()) return {"any", Colour::kDim};
  return {container.cpus.ToString(), IsMisplaced(container) ? Colour::kRed : Colour::kPlain};
}

// CPUs' worth of time, of an exclusive container also as a part of its promise; without a rate the whole time.
Cell UsedCell(std::optional<double> rate, const ContainerView& container) {
  if (!rate) return container.cpu_seconds > 0 ? Cell(Seconds(container.cpu_seconds)) : Cell("-", Colour::kDim);
  if (!IsExclusive(container) || container.promised_cpus <= 0) return Fixed(*rate, 2);
  return Cat(Fixed(*rate, 2), " ", Fixed(100 * *rate / container.promised_cpus, 1), "%");
}

Cell PromiseCell(const ContainerView& container) {
  if (container.promised_cpus <= 0) return {"-", Colour::kDim};
  const double whole = static_cast<double>(static_cast<uint64_t>(container.promised_cpus));
  const std::string amount = Fixed(container.promised_cpus, whole == container.promised_cpus ? 0 : 2);
  return IsExclusive(container) ? amount : Cat("≤ ", amount);
}

// At itself and every ancestor.
Cell ThrottledCell(const ContainerView& container) {
  double seconds = 0;
  uint64_t periods = 0;
  for (const ThrottlingView& level : container.throttling) {
    seconds += level.throttled_seconds;
    periods += level.throttled_periods;
  }
  if (seconds <= 0 && periods == 0) return "0";
  return {Seconds(seconds), IsExclusive(container) ? Colour::kRed : Colour::kYellow};
}

// Red where an operator can act on it.
Cell ForeignCell(const ContainerView& container) {
  if (!IsExclusive(container)) return {"-", Colour::kDim};
  const auto& seconds = container.foreign_seconds;
  const double total = std::accumulate(seconds.begin(), seconds.end(), 0.0);
  const bool all_bound = total <= seconds[static_cast<size_t>(ForeignClass::kBoundKthread)];
  return {Seconds(total), all_bound ? Colour::kPlain : Colour::kRed};
}

// What the columns do not say of a container; a line each.
std::vector<Cell> Notes(const ContainerView& container) {
  std::vector<Cell> notes;
  if (container.phase != "running" || container.restarts > 0 || !container.message.empty()) {
    std::string text = container.phase;
    if (container.restarts > 0) absl::StrAppend(&text, ", ", Count(container.restarts, "restart", "restarts"));
    if (!container.message.empty()) absl::StrAppend(&text, ": ", container.message);
    notes.emplace_back(std::move(text), container.phase == "failed" ? Colour::kRed : Colour::kYellow);
  }
  if (IsMisplaced(container)) {
    const std::string cpus = container.effective_cpus.ToString();
    notes.emplace_back(Cat("the kernel lets it run on ", cpus.empty() ? "no CPU known" : cpus), Colour::kRed);
  }
  if (container.escaped_seconds > 0) {
    notes.emplace_back(Cat("ran outside of its CPUs for ", Seconds(container.escaped_seconds)), Colour::kRed);
  }
  std::vector<std::string> foreign;
  for (size_t i = 0; i < kForeignClasses; ++i) {
    if (container.foreign_seconds[i] <= 0) continue;
    foreign.push_back(Cat(kForeignClassNames[i], " ", Seconds(container.foreign_seconds[i])));
  }
  if (IsExclusive(container) && !foreign.empty()) {
    notes.emplace_back(Cat("on its CPUs ran: ", absl::StrJoin(foreign, ", ")), Colour::kDim);
  }
  if (container.irq_seconds && container.softirq_seconds) {
    notes.emplace_back(Cat("interrupts on its CPUs: hard ", Seconds(*container.irq_seconds), ", soft ",
                           Seconds(*container.softirq_seconds)),
                       Colour::kDim);
  }
  return notes;
}

}  // namespace

std::string RenderHeadline(const Snapshot& now, const Terminal& terminal) {
  size_t containers = 0;
  for (const PodView& pod : now.pods) containers += pod.containers.size();
  const std::string summary =
      Cat("podfence ", now.version, " (", now.mode, "), up ", Age(now.time - now.started), ": ",
          Count(now.pods.size(), "pod", "pods"), ", ", Count(containers, "container", "containers"), ", ",
          now.decisions[0], " admitted, ", now.decisions[1], " rejected");
  std::string text;
  for (const std::string& line : Wrap(summary, terminal.width)) {
    absl::StrAppend(&text, Paint(line, Colour::kBold, terminal), "\n");
  }
  const auto warn = [&](uint64_t count, const char* one, const char* many) {
    if (count == 0) return;
    absl::StrAppend(&text, Paint(Cat("! ", Count(count, one, many)), Colour::kRed, terminal), "\n");
  };
  warn(static_cast<uint64_t>(
           std::count_if(now.findings.begin(), now.findings.end(), [](const FindingView& f) { return f.active; })),
       "finding is active", "findings are active");
  warn(now.rejected.size(), "pod is refused", "pods are refused");
  warn(now.invariant_violations, "decision was withheld: it broke an invariant",
       "decisions were withheld: they broke an invariant");
  warn(now.commit_errors, "commit of the state failed", "commits of the state failed");
  warn(now.lost_events, "event of the verifier was lost", "events of the verifier were lost");
  for (const CollectorView& collector : now.collectors) {
    if (collector.up) continue;
    absl::StrAppend(
        &text,
        Paint(Cat("! collector ", collector.name, " fails (", collector.errors, " errors)"), Colour::kRed, terminal),
        "\n");
  }
  return text;
}

std::string RenderContainers(const Snapshot& now, const Snapshot* before, const Terminal& terminal) {
  Table table({{" Container"},
               {"CPUs"},
               {"NUMA"},
               {before != nullptr ? "Used" : "CPU time", kRight},
               {"Promise", kRight},
               {"Throttled", kRight},
               {"Foreign", kRight}});
  for (const PodView& pod : now.pods) {
    table.AddGroup({PodName(now, pod.uid), Colour::kBold});
    for (const ContainerView& container : pod.containers) {
      table.AddRow({Cat(" ", container.name), CpusCell(container),
                    container.mems.empty() ? Cell("any") : Cell(container.mems.ToString()),
                    UsedCell(Rate(now, before, pod.uid, container), container), PromiseCell(container),
                    ThrottledCell(container), ForeignCell(container)});
      for (Cell& note : Notes(container)) {
        note.text.insert(0, "   ");
        table.AddGroup(std::move(note));
      }
    }
  }
  return table.Render(terminal);
}

std::string RenderThrottling(const Snapshot& now, const Terminal& terminal) {
  std::map<std::string, ThrottlingView> cgroups;  // in path order: an ancestor comes before what is below it
  for (const PodView& pod : now.pods) {
    for (const ContainerView& container : pod.containers) {
      for (const ThrottlingView& level : container.throttling) cgroups.emplace(level.cgroup, level);
    }
  }
  const bool whole = cgroups.size() <= kMaxShownCgroups;
  size_t left_out = 0;
  std::map<std::string, size_t> depths;  // of those shown
  Table table({{"Cgroup"}, {"Quota"}, {"Periods", kRight}, {"Throttled", kRight}, {"Time", kRight}});
  for (const auto& [path, view] : cgroups) {
    if (!whole && !view.limited && view.throttled_periods == 0) {
      ++left_out;
      continue;
    }
    // Below its parent, when that is shown, only the last part of the path is needed.
    const size_t slash = path.find_last_of('/');
    const std::string above = slash == std::string::npos ? "" : path.substr(0, slash);
    const auto parent = path.empty() ? depths.end() : depths.find(above);
    const size_t depth = parent == depths.end() ? 0 : parent->second + 1;
    depths.emplace(path, depth);
    const std::string name =
        depth == 0 ? path
                   : Cat(std::string(2 * depth, ' '), slash == std::string::npos ? path : path.substr(slash + 1));
    const Colour colour = view.throttled_periods > 0 ? Colour::kYellow : Colour::kPlain;
    table.AddRow({name.empty() ? "/" : name, view.limited ? "yes" : "none", Cat(view.periods),
                  Cell(Cat(view.throttled_periods), colour), Cell(Seconds(view.throttled_seconds), colour)});
  }
  std::string text = table.Render(terminal);
  if (left_out > 0) {
    absl::StrAppend(&text, Count(left_out, "cgroup has", "cgroups have"), " no quota and no throttling\n");
  }
  return text;
}

std::string RenderRejected(const Snapshot& now, const Terminal& terminal) {
  Table table({{"Pod"}, {"Reason"}, {"Why"}, {"Manifest"}});
  for (const RejectedView& rejected : now.rejected) {
    table.AddRow({rejected.pod, Cell(rejected.reason, Colour::kRed), rejected.message, rejected.source});
  }
  return table.Render(terminal);
}

std::string RenderFindings(const Snapshot& now, const Terminal& terminal) {
  std::vector<const FindingView*> findings;
  for (const FindingView& finding : now.findings) findings.push_back(&finding);
  std::stable_sort(findings.begin(), findings.end(),
                   [](const FindingView* a, const FindingView* b) { return a->active > b->active; });
  Table table({{"Finding"}, {"Where"}, {"What"}, {"Count", kRight}, {"Last seen", kRight}});
  for (const FindingView* finding : findings) {
    std::string where = finding->pod.empty() ? "node" : finding->pod;
    if (!finding->container.empty()) absl::StrAppend(&where, " ", finding->container);
    table.AddRow({Cell(finding->kind, finding->active ? Colour::kRed : Colour::kYellow), where, finding->message,
                  Cat(finding->count), finding->active ? "active" : Cat(Age(now.time - finding->last_seen), " ago")});
  }
  return table.Render(terminal);
}

std::string RenderUnknown(const Snapshot& now, const Terminal& terminal) {
  Table table({{"What"}, {"Why"}});
  for (const VerificationView::Reason& reason : now.verification.reasons) {
    table.AddRow({Cell(reason.what, Colour::kYellow), reason.reason});
  }
  return table.Render(terminal);
}

std::string_view ProbeState(const ProbeView& probe) {
  if (probe.running) return "up";
  return probe.wanted ? "down" : "off";
}

namespace {

Cell StateCell(const ProbeView& probe) {
  const Colour colour = probe.wanted ? Colour::kYellow : Colour::kDim;
  return {std::string(ProbeState(probe)), probe.running ? Colour::kGreen : colour};
}

}  // namespace

std::string RenderProbes(const Snapshot& now, const Terminal& terminal) {
  Table table({{"Probe"}, {"State"}, {"How"}, {"Time a run", kRight}});
  for (const ProbeView& probe : now.probes) {
    const std::string cost =
        probe.runs == 0 ? "-" : Cat(Fixed(probe.run_seconds / static_cast<double>(probe.runs) * 1e9, 0), " ns");
    table.AddRow(
        {probe.name, StateCell(probe), probe.running ? Cat(probe.hook, ": ", probe.finds) : probe.reason, cost});
  }
  return table.Render(terminal);
}

std::string RenderProbeTable(const Snapshot& now, const Terminal& terminal) {
  Table table({{"PROBE"}, {"HOOK"}, {"STATE"}, {"FINDS"}, {"REASON"}});
  for (const ProbeView& probe : now.probes) {
    const std::string instead = probe.fallback.empty() ? "" : Cat("; instead ", probe.fallback);
    table.AddRow({probe.name, probe.hook, StateCell(probe), probe.finds, Cat(probe.reason, instead)});
  }
  return table.Render(terminal);
}

std::string RenderCounters(const Snapshot& now, const Terminal& terminal) {
  static constexpr const char* kSources[] = {"pod", "node"};
  static constexpr const char* kAssignments[] = {"node_exclusive", "pod_exclusive", "pod_shared"};
  constexpr auto kCpuRow = static_cast<size_t>(Resource::kCpu);
  constexpr auto kMemoryRow = static_cast<size_t>(Resource::kMemory);
  Table table({{"Counter"}, {"Of"}, {"cpu", kRight}, {"memory", kRight}});
  const auto add = [&](const char* name, const char* label, const auto& counts, size_t column) {
    table.AddRow({name, label, Cat(counts[kCpuRow][column]), Cat(counts[kMemoryRow][column])});
  };
  for (size_t i = 0; i < std::size(kSources); ++i) {
    add("resource_manager_allocations_total", kSources[i], now.counters.allocations, i);
  }
  for (size_t i = 0; i < std::size(kSources); ++i) {
    add("resource_manager_allocation_errors_total", kSources[i], now.counters.allocation_errors, i);
  }
  for (size_t i = 0; i < std::size(kAssignments); ++i) {
    add("resource_manager_container_assignments", kAssignments[i], now.counters.assignments, i);
  }
  return table.Render(terminal);
}

std::string RenderStatus(const Snapshot& now, const Snapshot* before, const Terminal& terminal) {
  std::string text = RenderHeadline(now, terminal);
  absl::StrAppend(&text, "\n", RenderNodeMap(now.machine, now.state, now.reserved_cpus, terminal));
  AddSection(text, "Containers", RenderContainers(now, before, terminal), terminal);
  AddSection(text, "Throttling", RenderThrottling(now, terminal), terminal);
  AddSection(text, "Refused pods", RenderRejected(now, terminal), terminal);
  AddSection(text, "Findings", RenderFindings(now, terminal), terminal);
  AddSection(text, "Not known", RenderUnknown(now, terminal), terminal);
  AddSection(text, "Probes", RenderProbes(now, terminal), terminal);
  AddSection(text, "Counters", RenderCounters(now, terminal), terminal);
  return text;
}

}  // namespace podfence
