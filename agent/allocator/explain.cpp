#include "agent/allocator/explain.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_format.h"
#include "agent/core/text.h"

namespace podfence {
namespace {

std::string Join(const std::vector<std::string>& parts, std::string_view between, std::string_view last) {
  std::string joined;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (i > 0) joined += i + 1 < parts.size() ? between : last;
    joined += parts[i];
  }
  return joined;
}
std::string List(const std::vector<std::string>& parts) { return Join(parts, ", ", " and "); }

// "4.8Gi": enough to see what is what; exact amounts are in Rejection::nodes.
std::string ShowBytes(uint64_t bytes) {
  constexpr std::array<std::string_view, 5> kUnits = {"", "Ki", "Mi", "Gi", "Ti"};
  size_t unit = 0;
  auto amount = static_cast<double>(bytes);
  for (; amount >= 1024 && unit + 1 < kUnits.size(); ++unit) amount /= 1024;
  std::string text = absl::StrFormat("%.1f", amount);
  if (text.ends_with(".0")) text.resize(text.size() - 2);
  return Cat(text, kUnits[unit]);
}

std::string ShowNodes(NumaSet nodes) {
  if (nodes.empty()) return "any NUMA node";
  return Cat(nodes.size() == 1 ? "NUMA node " : "NUMA nodes ", nodes.ToString());
}

// The Memory manager lets a node serve alone or within one group, as long as something is on it.
std::string ShowGroup(const std::vector<NumaNodeMemory>& books, int id) {
  for (const NumaNodeMemory& book : books) {
    if (book.id != id || book.assignments == 0) continue;
    return book.cells.size() > 1 ? Cat(" (memory only together with ", (book.cells - NumaSet{id}).ToString(), ")")
                                 : " (memory only by itself)";
  }
  return "";
}

std::string ShowFree(const Shortage& shortage, const Draft& draft) {
  constexpr size_t kMostNodes = 16;
  std::vector<std::string> nodes;
  const size_t count = shortage.nodes.size() / shortage.asked.size();
  bool memory = false;
  for (const auto& [resource, amount] : shortage.asked) memory |= resource != kCpu;
  for (size_t n = 0; n < std::min(count, kMostNodes); ++n) {
    std::vector<std::string> parts;
    for (size_t r = 0; r < shortage.asked.size(); ++r) {
      const NodeShortage& node = shortage.nodes[r * count + n];
      parts.push_back(node.resource == kCpu
                          ? Cat(node.free, " of ", node.capacity, " CPUs")
                          : Cat(ShowBytes(node.free), " of ", ShowBytes(node.capacity), " ", node.resource));
    }
    const int id = shortage.nodes[n].numa_node;
    nodes.push_back(Cat("NUMA node ", id, " ", List(parts), memory ? ShowGroup(draft.nodes, id) : ""));
  }
  if (count > kMostNodes) nodes.push_back(Cat(count - kMostNodes, " NUMA nodes more"));
  return Join(nodes, "; ", "; ");
}

// A resource that the policy would refuse even if it were alone.
std::string ShowLack(const ResourceHints& hints, const Merged& alone, const Shortage& shortage) {
  for (const auto& [resource, amount] : shortage.asked) {
    if (resource != hints.resource) continue;
    if (shortage.CapacityOf(resource) < amount) return Cat(resource, " is more than the whole node has to give");
    if (shortage.FreeOf(resource) < amount) {
      return Cat(resource, " lacks ", ShowAmount(resource, amount - shortage.FreeOf(resource)));
    }
  }
  const bool nothing = hints.kind == ResourceHints::Kind::kList && hints.list.empty();
  if (nothing) return Cat(hints.resource, " can be served by no set of NUMA nodes");
  return Cat(hints.resource, alone.best.preferred ? " needs " : " now needs ", ShowNodes(alone.best.numa),
             alone.best.preferred ? "" : ", not as few or as near as on an empty machine");
}

std::string ShowMerge(const Admittance& admittance, const AdmissionFailure& failure, const Shortage& shortage) {
  const HintMerger& merger = admittance.managers.merger;
  const HintMerger lax = merger.WithPolicy(TopologyPolicy::kBestEffort);
  std::vector<std::string> lacking;
  std::vector<std::string> content;
  for (const ProviderHints& provider : failure.provided) {
    for (const ResourceHints& hints : provider) {
      if (hints.kind == ResourceHints::Kind::kNoPreference) continue;
      const std::vector<ProviderHints> alone = {{hints}};
      const Merged best = lax.Merge(alone);
      if (merger.Merge(alone).admit) {
        content.push_back(Cat(hints.resource, " would have ", ShowNodes(best.best.numa)));
      } else {
        lacking.push_back(ShowLack(hints, best, shortage));
      }
    }
  }
  const bool single = admittance.managers.topology.policy == TopologyPolicy::kSingleNumaNode;
  const std::string demand = Cat("topologyManagerPolicy ", admittance.policy.topology_manager_policy, " admits ",
                                 single ? "one NUMA node only" : "preferred NUMA nodes only");
  if (lacking.empty()) return Cat(List(content), ", which do not meet, and ", demand);
  return Cat(List(lacking), ", and ", demand);
}

// What failed, as a clause.
std::string ShowFailure(const Admittance& admittance, const AdmissionFailure& failure, const Shortage& shortage) {
  if (!failure.provider) return ShowMerge(admittance, failure, shortage);
  std::string_view words = failure.refusal.message;
  constexpr std::string_view kBefore = "Allocate failed due to ";
  constexpr std::string_view kAfter = ", which is unexpected";
  if (words.starts_with(kBefore)) words.remove_prefix(kBefore.size());
  if (words.ends_with(kAfter)) words.remove_suffix(kAfter.size());
  return Cat(*failure.provider == Resource::kCpu ? "the CPU" : "the Memory", " manager refuses it: ", words);
}

}  // namespace

std::string ShowAmount(std::string_view resource, uint64_t amount) {
  if (resource != kCpu) return Cat(ShowBytes(amount), " of ", resource);
  return Cat(amount, amount == 1 ? " exclusive CPU" : " exclusive CPUs");
}

uint64_t Shortage::FreeOf(std::string_view resource) const {
  uint64_t sum = 0;
  for (const NodeShortage& node : nodes) sum += node.resource == resource ? node.free : 0;
  return sum;
}

uint64_t Shortage::CapacityOf(std::string_view resource) const {
  uint64_t sum = 0;
  for (const NodeShortage& node : nodes) sum += node.resource == resource ? node.capacity : 0;
  return sum;
}

Shortage FindShortage(const Admittance& admittance, const Draft& draft, const AdmissionFailure& failure) {
  const Managers& managers = admittance.managers;
  const Pod& pod = *draft.pod;
  const Container* container = failure.container.empty() ? nullptr : pod.FindContainer(failure.container);
  Shortage shortage;
  const int cpus = container != nullptr ? managers.cpu.ExclusiveCpus(pod, *container) : managers.cpu.ExclusiveCpus(pod);
  if (cpus > 0) {
    shortage.asked.emplace_back(kCpu, static_cast<uint64_t>(cpus));
    for (const NumaNode& node : admittance.machine.nodes) {
      const CpuSet assignable = admittance.machine.CpusOf(node) - managers.cpu.reserved_cpus();
      shortage.nodes.push_back({.numa_node = node.id,
                                .resource = std::string(kCpu),
                                .free = static_cast<uint64_t>(assignable.IntersectionSize(draft.shared_cpus)),
                                .capacity = static_cast<uint64_t>(assignable.size())});
    }
  }
  const auto memory = container != nullptr ? managers.memory.Requests(pod, *container) : managers.memory.Requests(pod);
  for (const auto& [resource, bytes] : memory) {
    shortage.asked.emplace_back(resource, bytes);
    for (const NumaNodeMemory& node : draft.nodes) {
      NodeShortage& entry = shortage.nodes.emplace_back();
      entry.numa_node = node.id;
      entry.resource = resource;
      for (const NodeMemory& book : node.memory) {
        if (book.resource != resource) continue;
        entry.free = book.free;
        entry.capacity = book.allocatable;
      }
    }
  }
  return shortage;
}

Rejection Explain(const Admittance& admittance, const Draft& draft, const AdmissionFailure& failure) {
  Shortage shortage = FindShortage(admittance, draft, failure);
  Rejection rejection;
  rejection.reason = failure.refusal.reason;
  rejection.reference_message = failure.refusal.message;
  rejection.container = failure.container;
  rejection.remedy = FindRemedy(admittance, draft, failure, shortage);

  std::vector<std::string> asked;
  for (const auto& [resource, amount] : shortage.asked) asked.push_back(ShowAmount(resource, amount));
  rejection.message = failure.container.empty() ? "pod " : Cat("container ", failure.container, " of pod ");
  rejection.message += draft.pod->FullName();
  if (!asked.empty()) rejection.message += Cat(" asks for ", List(asked));
  rejection.message += Cat(": ", ShowFailure(admittance, failure, shortage), ".");
  if (!asked.empty()) rejection.message += Cat(" Free: ", ShowFree(shortage, draft), ".");
  if (!rejection.remedy.empty()) rejection.message += Cat(" ", rejection.remedy, ".");
  rejection.asked = std::move(shortage.asked);
  rejection.nodes = std::move(shortage.nodes);
  return rejection;
}

}  // namespace podfence
