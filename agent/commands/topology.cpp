#include "agent/commands/topology.h"

#include <unistd.h>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_join.h"
#include "agent/commands/commands.h"
#include "agent/commands/table.h"
#include "agent/core/text.h"
#include "agent/topology/machine_json.h"
#include "agent/topology/topology.h"

namespace podfence {
namespace {

std::string Hugepages(const NumaNode& node) {
  std::vector<std::string> pools;
  for (const HugePages& pool : node.hugepages) {
    pools.push_back(Cat(pool.count, " x ", FormatBytes(pool.page_size_kb * 1024)));
  }
  return pools.empty() ? "-" : absl::StrJoin(pools, ", ");
}

std::string Nodes(const Machine& machine, const Terminal& terminal) {
  using enum Table::Align;
  Table table(
      {{"NUMA node", kRight}, {"Memory", kRight}, {"Huge pages"}, {"Socket"}, {"L3"}, {"Cores", kRight}, {"CPUs"}});
  for (const NumaNode& node : machine.nodes) {
    std::set<int> sockets;
    std::set<int> caches;
    for (const Core& core : node.cores) {
      sockets.insert(core.socket);
      if (core.l3) caches.insert(*core.l3);
    }
    table.AddRow({Cat(node.id), FormatBytes(node.memory), Hugepages(node),
                  sockets.empty() ? "-" : absl::StrJoin(sockets, ","),
                  caches.empty() ? "-" : absl::StrJoin(caches, ","), Cat(node.cores.size()),
                  node.cores.empty() ? "none: memory only" : machine.CpusOf(node).ToString()});
  }
  return table.Render(terminal);
}

// One line for the cores of a node that share a socket and an L3; a core's CPUs are joined by "+".
std::string Cores(const Machine& machine, const Terminal& terminal) {
  using enum Table::Align;
  Table table({{"NUMA node", kRight}, {"Socket", kRight}, {"L3", kRight}, {"Cores, as their CPUs"}});
  for (const NumaNode& node : machine.nodes) {
    std::map<std::pair<int, std::optional<int>>, std::vector<std::string>> groups;
    for (const Core& core : node.cores) {
      groups[{core.socket, core.l3}].push_back(absl::StrJoin(core.threads, "+"));
    }
    for (const auto& [place, cores] : groups) {
      table.AddRow(
          {Cat(node.id), Cat(place.first), place.second ? Cat(*place.second) : "-", absl::StrJoin(cores, " ")});
    }
  }
  return table.Render(terminal);
}

// A plain matrix, as dense as it can be: a machine may have 64 nodes.
std::string Distances(const Machine& machine) {
  size_t width = 2;
  for (const NumaNode& node : machine.nodes) {
    for (uint64_t distance : node.distances) width = std::max(width, Cat(distance).size());
  }
  const auto right = [width](uint64_t number) {
    const std::string text = Cat(number);
    return Cat(std::string(width - std::min(width, text.size()), ' '), text);
  };
  std::string text = "from/to";
  for (const NumaNode& node : machine.nodes) absl::StrAppend(&text, " ", right(static_cast<uint64_t>(node.id)));
  text += '\n';
  for (const NumaNode& node : machine.nodes) {
    absl::StrAppend(&text, node.id < 10 ? "      " : "     ", node.id);
    for (uint64_t distance : node.distances) absl::StrAppend(&text, " ", right(distance));
    text += '\n';
  }
  return text;
}

struct TopologyFlags {
  std::string machine = "live";
  std::string output = "table";
};

int RunTopology(const TopologyFlags& flags, Invocation& invocation) {
  std::string notes;
  LoadOptions options;
  options.notes = &notes;
  const absl::StatusOr<Machine> machine = LoadMachine(flags.machine, options);
  if (!machine.ok()) {
    invocation.err << "podfence topology: " << ToStd(machine.status().message()) << '\n';
    return 2;
  }
  if (!notes.empty()) invocation.err << "podfence topology: hwloc says of " << machine->name << ": " << notes << '\n';
  if (flags.output == "json") {
    invocation.out << MachineToJson(*machine).dump(2) << '\n';
  } else {
    invocation.out << RenderTopology(*machine, DetectTerminal(STDOUT_FILENO));
  }
  return 0;
}

}  // namespace

std::string RenderTopology(const Machine& machine, const Terminal& terminal) {
  size_t cores = 0;
  std::set<int> sockets;
  for (const NumaNode& node : machine.nodes) {
    cores += node.cores.size();
    for (const Core& core : node.cores) sockets.insert(core.socket);
  }
  std::string text = Cat(Paint(machine.name, Colour::kBold, terminal), ": ",
                         Count(static_cast<size_t>(machine.Cpus().size()), "CPU", "CPUs"), ", ",
                         Count(cores, "core", "cores"), ", ", Count(machine.nodes.size(), "NUMA node", "NUMA nodes"),
                         ", ", Count(sockets.size(), "socket", "sockets"), "\n");
  if (!machine.offline.empty()) absl::StrAppend(&text, "Offline CPUs: ", machine.offline.ToString(), "\n");
  absl::StrAppend(&text, "\n", Nodes(machine, terminal), "\n", Cores(machine, terminal), "\n",
                  Paint("Distances", Colour::kBold, terminal), "\n", Distances(machine));
  return text;
}

void AddTopologyCommand(CLI::App& app, Invocation& invocation) {
  CLI::App* command = app.add_subcommand("topology", "Show CPUs, cores, caches, NUMA nodes and memory of a machine");
  const auto flags = std::make_shared<TopologyFlags>();
  command
      ->add_option("--machine", flags->machine,
                   "live; an hwloc XML file (has a / or ends in .xml); or an hwloc synthetic string")
      ->capture_default_str();
  command->add_option("-o,--output", flags->output, "table or json (the topology array of the decision vectors)")
      ->check(CLI::IsMember({"table", "json"}))
      ->capture_default_str();
  command->footer(
      "Examples:\n"
      "  podfence topology\n"
      "  podfence topology --machine \"numa:2 l3:1 core:6 pu:2\"\n"
      "  podfence topology --machine \"package:2 [numa(memory=64GiB)] l3:1 core:8 pu:2\" --output json\n"
      "  lstopo --of xml node-a.xml; podfence topology --machine node-a.xml\n"
      "Exit status: 0, or 2 where the machine cannot be read.");
  command->callback([flags, &invocation] { invocation.exit_code = RunTopology(*flags, invocation); });
}

}  // namespace podfence
