#include "agent/commands/node_map.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "absl/strings/str_join.h"
#include "agent/core/text.h"

namespace podfence {
namespace {

constexpr int kMaxDrawnCpus = 128;
constexpr std::string_view kLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

// An owner as it is drawn.
struct Drawn {
  CpuOwner owner;
  std::string mark;
  Colour colour = Colour::kPlain;
};

void AddPodOwners(const PodAllocation& allocation, std::vector<CpuOwner>& owners) {
  const std::string pod = allocation.pod == nullptr ? "" : allocation.pod->FullName();
  const size_t first = owners.size();
  CpuOwner shared{Ownership::kPodShared, pod, {}, {}};
  if (allocation.cpus) shared.cpus = *allocation.cpus;
  for (const ContainerAllocation& container : allocation.containers) {
    if (container.cpu_isolation == Isolation::kPod) {
      shared.containers.push_back(container.name);
      if (container.cpus) shared.cpus |= *container.cpus;
    }
    if (container.cpu_isolation != Isolation::kContainer || !container.cpus) continue;
    CpuOwner owner{Ownership::kExclusive, pod, {}, *container.cpus};
    // Later containers take over the CPUs of one-shot init containers.
    for (size_t i = first; i < owners.size(); ++i) {
      if (!owners[i].cpus.Intersects(owner.cpus)) continue;
      owner.containers.insert(owner.containers.end(), owners[i].containers.begin(), owners[i].containers.end());
      owners[i].cpus -= owner.cpus;
    }
    owner.containers.push_back(container.name);
    owners.push_back(std::move(owner));
  }
  for (size_t i = first; i < owners.size(); ++i) shared.cpus -= owners[i].cpus;
  owners.push_back(std::move(shared));
}

std::vector<Drawn> Draw(std::vector<CpuOwner> owners) {
  static constexpr Colour kPodColours[] = {Colour::kGreen, Colour::kCyan, Colour::kYellow, Colour::kMagenta,
                                           Colour::kBlue};
  std::map<std::string, Colour> colours;  // a pod's exclusive slices and shared pool have one colour
  std::vector<Drawn> drawn;
  size_t letter = 0;
  for (CpuOwner& owner : owners) {
    Drawn entry;
    switch (owner.ownership) {
      case Ownership::kExclusive:
      case Ownership::kPodShared:
        entry.mark = letter < kLetters.size() ? std::string(1, kLetters[letter]) : "";
        ++letter;
        entry.colour =
            colours.try_emplace(owner.pod, kPodColours[colours.size() % std::size(kPodColours)]).first->second;
        break;
      case Ownership::kNodeShared: entry.mark = "·"; break;
      case Ownership::kReserved:
        entry.mark = "#";
        entry.colour = Colour::kDim;
        break;
      case Ownership::kUnmanaged: entry.mark = "-"; break;
    }
    entry.owner = std::move(owner);
    drawn.push_back(std::move(entry));
  }
  return drawn;
}

std::string MemoryText(const NumaNode& node, const NodeState& state) {
  std::string text = FormatBytes(node.memory);
  const auto book = std::find_if(state.nodes.begin(), state.nodes.end(),
                                 [&](const NumaNodeMemory& candidate) { return candidate.id == node.id; });
  if (book == state.nodes.end()) return text;
  for (const NodeMemory& memory : book->memory) {
    if (memory.allocatable == 0) continue;
    absl::StrAppend(&text, memory.resource == kMemory ? "" : Cat(", ", memory.resource), " (", FormatBytes(memory.free),
                    " of ", FormatBytes(memory.allocatable), " free for pods)");
  }
  return text;
}

// Cores that share a socket and an L3 cache.
using Places = std::map<std::pair<int, std::optional<int>>, std::vector<const Core*>>;
Places PlacesOf(const NumaNode& node) {
  Places places;
  for (const Core& core : node.cores) places[{core.socket, core.l3}].push_back(&core);
  return places;
}

std::string PlaceName(const Places::key_type& place) {
  return Cat("socket ", place.first, place.second ? Cat(", L3 ", *place.second) : "");
}

std::string Heading(const Machine& machine, const NumaNode& node, const NodeState& state, const Terminal& terminal) {
  const Places places = PlacesOf(node);
  std::string facts;
  if (places.size() == 1) facts = Cat(PlaceName(places.begin()->first), ", ");
  facts += node.cores.empty() ? "memory only" : Cat(machine.CpusOf(node).size(), " CPUs");
  absl::StrAppend(&facts, ", ", MemoryText(node, state));
  const std::string name = Cat("NUMA node ", node.id);
  const std::vector<std::string> lines = Wrap(facts, terminal.width - name.size() - 2);
  return Cat(Paint(name, Colour::kBold, terminal), "  ",
             absl::StrJoin(lines, Cat("\n", std::string(name.size() + 2, ' '))), "\n");
}

// Draws machines core by core.
class Canvas {
 public:
  Canvas(const Machine& machine, const std::vector<Drawn>& owners, const Terminal& terminal) : terminal_(terminal) {
    for (const Drawn& drawn : owners) {
      for (int cpu : drawn.owner.cpus) of_[cpu] = &drawn;
    }
    int highest = 0;
    for (int cpu : machine.Cpus()) highest = cpu;
    digits_ = Cat(highest).size();
  }

  std::string Node(const NumaNode& node) const {
    const Places places = PlacesOf(node);
    std::string text;
    for (const auto& [place, cores] : places) {
      if (places.size() > 1) absl::StrAppend(&text, "  ", PlaceName(place), "\n");
      // Each core takes "│ NN X ", the last one a "│" more.
      const size_t cell = digits_ + 5;
      const size_t fit = std::max<size_t>(1, (terminal_.width - 3) / cell);
      const size_t bands = (cores.size() + fit - 1) / fit;
      const size_t in_band = (cores.size() + bands - 1) / bands;
      for (size_t begin = 0; begin < cores.size(); begin += in_band) {
        text += Band({cores.begin() + static_cast<ptrdiff_t>(begin),
                      cores.begin() + static_cast<ptrdiff_t>(std::min(begin + in_band, cores.size()))});
      }
    }
    return text;
  }

 private:
  std::string Band(const std::vector<const Core*>& cores) const {
    size_t threads = 0;
    for (const Core* core : cores) threads = std::max(threads, core->threads.size());
    std::string text;
    for (size_t thread = 0; thread < threads; ++thread) {
      text += "  ";
      for (const Core* core : cores) {
        text += "│ ";
        if (thread < core->threads.size()) {
          text += Cpu(core->threads[thread]);
        } else {
          text.append(digits_ + 2, ' ');
        }
        text += ' ';
      }
      text += "│\n";
    }
    return text;
  }

  std::string Cpu(int cpu) const {
    const std::string number = Cat(cpu);
    const auto drawn = of_.find(cpu);
    const bool known = drawn != of_.end();
    return Cat(std::string(digits_ - number.size(), ' '),
               Paint(Cat(number, " ", known ? drawn->second->mark : "-"),
                     known ? drawn->second->colour : Colour::kPlain, terminal_));
  }

  const Terminal& terminal_;
  std::map<int, const Drawn*> of_;
  size_t digits_ = 1;
};

// Who runs on an owner's CPUs.
std::string Users(const CpuOwner& owner, const NodeState& state) {
  switch (owner.ownership) {
    case Ownership::kExclusive: return absl::StrJoin(owner.containers, ", then ");
    case Ownership::kPodShared: return owner.containers.empty() ? "nobody" : absl::StrJoin(owner.containers, ", ");
    case Ownership::kNodeShared: return "all others";
    case Ownership::kReserved:
      return owner.cpus.Intersects(state.shared_cpus) ? "the system, all others" : "the system";
    case Ownership::kUnmanaged: return "anyone";
  }
  return "";
}

// The owners of the CPUs in `within`, pod by pod.
std::string OwnerTable(const std::vector<Drawn>& owners, const CpuSet& within, const NodeState& state,
                       const Terminal& terminal) {
  Table table({{""}, {"Who"}, {"Assignment"}, {"Count", Table::Align::kRight}, {"CPUs"}});
  const std::string* pod = nullptr;
  for (const Drawn& drawn : owners) {
    const CpuSet cpus = drawn.owner.cpus & within;
    if (cpus.empty()) continue;
    if (pod == nullptr || *pod != drawn.owner.pod) {
      pod = &drawn.owner.pod;
      table.AddGroup({pod->empty() ? "node" : *pod, drawn.owner.pod.empty() ? Colour::kPlain : drawn.colour});
    }
    table.AddRow({{Cat("  ", drawn.mark), drawn.colour},
                  Users(drawn.owner, state),
                  std::string(OwnershipName(drawn.owner.ownership)),
                  Cat(cpus.size()),
                  cpus.ToString()});
  }
  return table.Render(terminal);
}

}  // namespace

std::string_view OwnershipName(Ownership ownership) {
  switch (ownership) {
    case Ownership::kExclusive: return "exclusive";
    case Ownership::kPodShared: return "pod shared pool";
    case Ownership::kNodeShared: return "node shared pool";
    case Ownership::kReserved: return "reserved";
    case Ownership::kUnmanaged: return "not managed";
  }
  return "";
}

std::vector<CpuOwner> CpuOwners(const Machine& machine, const NodeState& state, const CpuSet& reserved) {
  std::vector<CpuOwner> owners;
  for (const auto& [uid, allocation] : state.pods) AddPodOwners(allocation, owners);
  CpuSet rest = machine.Cpus();
  for (const CpuOwner& owner : owners) rest -= owner.cpus;
  std::erase_if(owners, [](const CpuOwner& owner) { return owner.cpus.empty(); });
  // Pods by their lowest CPU, and each pod's owners by theirs.
  std::map<std::string, int> lowest;
  for (const CpuOwner& owner : owners) {
    const auto [at, added] = lowest.try_emplace(owner.pod, owner.cpus.First());
    at->second = std::min(at->second, owner.cpus.First());
  }
  std::sort(owners.begin(), owners.end(), [&](const CpuOwner& a, const CpuOwner& b) {
    return std::pair(lowest[a.pod], a.cpus.First()) < std::pair(lowest[b.pod], b.cpus.First());
  });
  const auto add = [&](Ownership ownership, const CpuSet& cpus) {
    if (!cpus.empty()) owners.push_back({ownership, "", {}, cpus});
  };
  add(Ownership::kReserved, rest & reserved);
  rest -= reserved;
  add(Ownership::kNodeShared, rest & state.shared_cpus);
  add(Ownership::kUnmanaged, rest - state.shared_cpus);
  return owners;
}

std::string RenderNodeMap(const Machine& machine, const NodeState& state, const CpuSet& reserved,
                          const Terminal& terminal) {
  const std::vector<Drawn> owners = Draw(CpuOwners(machine, state, reserved));
  const CpuSet cpus = machine.Cpus();
  const bool marked = std::none_of(owners.begin(), owners.end(), [](const Drawn& d) { return d.mark.empty(); });
  const bool drawn = marked && cpus.size() <= kMaxDrawnCpus;
  std::string text;
  if (drawn) {
    const Canvas canvas(machine, owners, terminal);
    for (const NumaNode& node : machine.nodes) {
      absl::StrAppend(&text, Heading(machine, node, state, terminal), canvas.Node(node));
    }
    absl::StrAppend(&text, "\n", OwnerTable(owners, cpus, state, terminal));
  } else {
    for (const NumaNode& node : machine.nodes) {
      const CpuSet own = machine.CpusOf(node);
      absl::StrAppend(&text, Heading(machine, node, state, terminal), OwnerTable(owners, own, state, terminal));
    }
  }
  if (!machine.offline.empty()) absl::StrAppend(&text, "Offline CPUs: ", machine.offline.ToString(), "\n");
  return text;
}

}  // namespace podfence
