#include "agent/allocator/cpu_manager.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "agent/allocator/cpu_distributed.h"
#include "agent/allocator/cpu_options.h"
#include "agent/allocator/cpu_packed.h"
#include "agent/allocator/cpu_requests.h"
#include "agent/allocator/cpu_topology.h"
#include "agent/core/text.h"

namespace podfence {
namespace {

std::string ListOptions(const std::map<std::string, std::string>& options) {
  std::string list;
  for (const auto& [name, value] : options) list += Cat(list.empty() ? "" : " ", name, ":", value);
  return list;
}

// "CPUs 1-3,17-19: 6 on NUMA node 0; 3 whole cores, 0 single threads".
std::string Describe(const CpuTopology& topology, const CpuSet& cpus) {
  std::string nodes;
  for (const CpuTopology::Unit& node : topology.nodes) {
    const int count = cpus.IntersectionSize(node.cpus);
    if (count > 0) nodes += Cat(nodes.empty() ? "" : ", ", count, " on NUMA node ", node.id);
  }
  int whole = 0;
  int single = 0;
  for (const CpuTopology::Core& core : topology.cores) {
    int count = 0;
    for (int cpu : topology.ThreadsOf(core)) count += cpus.Contains(cpu) ? 1 : 0;
    if (count == core.thread_count) {
      ++whole;
    } else {
      single += count;
    }
  }
  return Cat("CPUs ", cpus.ToString(), ": ", nodes, "; ", whole, " whole cores, ", single, " single threads");
}

}  // namespace

struct CpuManager::Rules {
  explicit Rules(const Machine& machine) : topology(machine) {}

  absl::Status Reserve(const Policy& policy);
  // unowned: PackedOptions'.
  absl::StatusOr<CpuSet> Take(const CpuSet& available, int count, const CpuSet* unowned = nullptr) const;
  CpuSet Available(const Draft& draft) const { return draft.shared_cpus - withheld; }
  CpuSet Aligned(const CpuSet& available, NumaSet affinity) const;
  std::optional<Refusal> CheckWholeCores(const Draft& draft, int count) const;
  // Takes from the node shared pool and `reusable`, first within the affinity.
  absl::StatusOr<CpuSet> TakeFromNode(Draft& draft, int count, NumaSet affinity, const CpuSet& reusable) const;
  // Parts the bubble among the pod's containers.
  absl::Status Part(Draft& draft, const CpuSet& bubble) const;
  ProviderHints Hints(const Draft& draft, int count) const;

  bool is_static = false;
  CpuTopology topology;
  CpuOptions options;
  CpuSet reserved;
  // Never exclusive: the reserved CPUs; under full-pcpus-only also cores that have fewer threads than others (none on
  // the reference's machines), since requests are whole numbers of the larger ones.
  CpuSet withheld;
  CpuSet withheld_cores;          // the whole cores of the withheld CPUs
  std::vector<int> widest_nodes;  // CPUs of the largest, the two largest, … NUMA nodes
  std::vector<NumaSet> sockets;   // NUMA nodes of each socket
  NumaSet universe;               // NUMA nodes with CPUs
};

absl::Status CpuManager::Rules::Reserve(const Policy& policy) {
  const auto amount = policy.reserved.find(kCpu);
  if (amount == policy.reserved.end()) {
    return absl::InvalidArgumentError(
        "systemReserved, kubeReserved: [cpumanager] unable to determine reserved CPU resources for static policy: set "
        "cpu in one of them, or reservedSystemCPUs");
  }
  if (amount->second.IsZero()) {
    return absl::InvalidArgumentError(
        "systemReserved, kubeReserved: [cpumanager] the static policy requires systemreserved.cpu + kubereserved.cpu "
        "to be greater than zero");
  }
  const int64_t count = amount->second.Value();
  absl::StatusOr<CpuSet> explicit_set = CpuSet::Parse(policy.reserved_system_cpus);
  if (!explicit_set.ok()) {
    return absl::InvalidArgumentError(Cat("reservedSystemCPUs: ", explicit_set.status().message()));
  }
  reserved = *std::move(explicit_set);
  if (reserved.empty() && count > 0 && count <= topology.cpu_count) {
    absl::StatusOr<CpuSet> lowest = Take(topology.cpus, static_cast<int>(count));
    if (!lowest.ok()) return lowest.status();
    reserved = *std::move(lowest);
  }
  if (reserved.size() != count) {
    return absl::InvalidArgumentError(
        Cat(policy.reserved_system_cpus.empty() ? "systemReserved, kubeReserved" : "reservedSystemCPUs",
            ": [cpumanager] unable to reserve the required amount of CPUs (size of ", reserved.ToString(),
            " did not equal ", count, "; the machine has ", topology.cpu_count, " CPUs)"));
  }
  for (int cpu : reserved) {
    if (!topology.Knows(cpu)) {
      return absl::InvalidArgumentError(
          Cat("reservedSystemCPUs: [cpumanager] unable to build the reserved physical CPUs from the reserved set: "
              "unknown CPU ID: ",
              cpu, "; the machine has CPUs ", topology.cpus.ToString()));
    }
  }
  withheld = reserved;
  for (const CpuTopology::Core& core : topology.cores) {
    CpuSet cpus;
    for (int cpu : topology.ThreadsOf(core)) cpus.Add(cpu);
    if (options.full_pcpus_only && core.thread_count < topology.threads_per_core) withheld |= cpus;
    if (withheld.Intersects(cpus)) withheld_cores |= cpus;
  }
  return absl::OkStatus();
}

absl::StatusOr<CpuManager> CpuManager::Create(const Machine& machine, const Policy& policy) {
  auto rules = std::make_unique<Rules>(machine);
  if (policy.cpu_manager_policy == "none") {
    if (!policy.cpu_manager_policy_options.empty()) {
      return absl::InvalidArgumentError(
          Cat("cpuManagerPolicyOptions: new none policy error: None policy: received unsupported options=map[",
              ListOptions(policy.cpu_manager_policy_options), "]"));
    }
    return CpuManager(std::move(rules));
  }
  if (policy.cpu_manager_policy != "static") {
    return absl::InvalidArgumentError(
        Cat("cpuManagerPolicy: unknown policy: \"", policy.cpu_manager_policy, "\"; there are none and static"));
  }
  rules->is_static = true;
  absl::StatusOr<CpuOptions> options = ParseCpuOptions(policy.cpu_manager_policy_options);
  if (!options.ok()) return options.status();
  rules->options = *options;
  const CpuTopology& topology = rules->topology;
  if (absl::Status status = CheckCpuOptions(*options, topology, policy.topology_manager_policy); !status.ok()) {
    return status;
  }
  if (absl::Status status = rules->Reserve(policy); !status.ok()) return status;

  for (const CpuTopology::Unit& node : topology.nodes) {
    rules->universe.Add(node.id);
    rules->widest_nodes.push_back(node.size);
  }
  std::sort(rules->widest_nodes.begin(), rules->widest_nodes.end(), std::greater<>());
  for (size_t i = 1; i < rules->widest_nodes.size(); ++i) rules->widest_nodes[i] += rules->widest_nodes[i - 1];
  for (const CpuTopology::Unit& socket : topology.sockets) {
    NumaSet& nodes = rules->sockets.emplace_back();
    for (CpuTopology::Index cell : socket.cells) nodes.Add(topology.nodes[topology.cells[cell].node].id);
  }
  return CpuManager(std::move(rules));
}

CpuManager::CpuManager(std::unique_ptr<Rules> rules) : rules_(std::move(rules)) {}
CpuManager::CpuManager(CpuManager&&) noexcept = default;
CpuManager::~CpuManager() = default;

const CpuSet& CpuManager::reserved_cpus() const { return rules_->reserved; }

CpuSet CpuManager::InitialSharedCpus() const {
  if (!rules_->is_static) return {};
  return rules_->options.strict_cpu_reservation ? rules_->topology.cpus - rules_->reserved : rules_->topology.cpus;
}

int CpuManager::ExclusiveCpus(const Pod& pod, const Container& container) const {
  return rules_->is_static ? ContainerExclusiveCpus(pod, container) : 0;
}

int CpuManager::ExclusiveCpus(const Pod& pod) const { return rules_->is_static ? PodExclusiveCpus(pod) : 0; }

absl::StatusOr<CpuSet> CpuManager::Rules::Take(const CpuSet& available, int count, const CpuSet* unowned) const {
  if (options.distribute_across_numa) {
    const int group = options.full_pcpus_only ? topology.threads_per_core : 1;
    return TakeDistributed(topology, available, count, group, options.align_by_socket, unowned);
  }
  return TakePacked(topology, available, count,
                    {.spread_across_cores = options.distribute_across_cores,
                     .align_by_uncore = options.prefer_align_by_uncore_cache,
                     .unowned = unowned});
}

// The available CPUs of the affinity's NUMA nodes; under align-by-socket, of all sockets these nodes touch.
CpuSet CpuManager::Rules::Aligned(const CpuSet& available, NumaSet affinity) const {
  CpuSet mask;
  if (options.align_by_socket) {
    for (size_t i = 0; i < sockets.size(); ++i) {
      if (!(sockets[i] & affinity).empty()) mask |= topology.sockets[i].cpus;
    }
  } else {
    for (const CpuTopology::Unit& node : topology.nodes) {
      if (affinity.Contains(node.id)) mask |= node.cpus;
    }
  }
  return mask &= available;
}

// full-pcpus-only (enforceSMTAlignment).
std::optional<Refusal> CpuManager::Rules::CheckWholeCores(const Draft& draft, int count) const {
  if (!options.full_pcpus_only) return std::nullopt;
  const int per_core = topology.threads_per_core;
  if (count % per_core != 0) {
    return Refusal{"SMTAlignmentError",
                   Cat("SMT Alignment Error: requested ", count, " cpus not multiple cpus per core = ", per_core)};
  }
  const int available = (draft.shared_cpus - withheld_cores).size();
  if (count > available) {
    return Refusal{"SMTAlignmentError",
                   Cat("SMT Alignment Error: not enough free physical CPUs: available physical CPUs = ", available,
                       ", requested CPUs = ", count, ", CPUs per core = ", per_core)};
  }
  return std::nullopt;
}

absl::StatusOr<CpuSet> CpuManager::Rules::TakeFromNode(Draft& draft, int count, NumaSet affinity,
                                                       const CpuSet& reusable) const {
  CpuSet available = Available(draft) | reusable;
  CpuSet unowned = draft.shared_cpus;
  CpuSet taken;
  if (!affinity.empty()) {
    const CpuSet aligned = Aligned(available, affinity);
    absl::StatusOr<CpuSet> first = Take(aligned, std::min(count, aligned.size()), &unowned);
    if (!first.ok()) return first.status();
    taken = *std::move(first);
    available -= taken;
    unowned -= taken;
  }
  absl::StatusOr<CpuSet> rest = Take(available, count - taken.size(), &unowned);
  if (!rest.ok()) return rest.status();
  taken |= *rest;
  draft.shared_cpus -= taken;
  if (draft.trace != nullptr) draft.trace->notes.push_back(Cat("took ", Describe(topology, taken)));
  return taken;
}

// One-shot init containers run before the app containers, so they may use all that the sidecars before them left;
// sidecars and app containers keep their slices. What no slice holds is the pod shared pool.
absl::Status CpuManager::Rules::Part(Draft& draft, const CpuSet& bubble) const {
  const Pod& pod = *draft.pod;
  CpuSet pool = bubble;
  const auto give = [&](const Container& container, bool keeps) -> absl::Status {
    const int count = ContainerExclusiveCpus(pod, container);
    absl::StatusOr<CpuSet> slice = Take(pool, count);
    if (!slice.ok()) return slice.status();
    ++draft.counters.Assignments(Resource::kCpu, Assignment::kPodExclusive);
    if (keeps) pool -= *slice;
    if (draft.trace != nullptr) {
      draft.trace->notes.push_back(Cat("container ", container.name, ": ", Describe(topology, *slice)));
    }
    draft.allocation.Find(container.name)->cpus = *std::move(slice);
    return absl::OkStatus();
  };
  for (const Container& container : pod.init_containers) {
    if (ContainerExclusiveCpus(pod, container) > 0) {
      if (absl::Status status = give(container, IsSidecar(container)); !status.ok()) return status;
    } else if (!IsSidecar(container)) {
      ++draft.counters.Assignments(Resource::kCpu, Assignment::kPodShared);
      draft.allocation.Find(container.name)->cpus = pool;
    }
  }
  for (const Container& container : pod.containers) {
    if (ContainerExclusiveCpus(pod, container) == 0) continue;
    if (absl::Status status = give(container, true); !status.ok()) return status;
  }
  for (ContainerAllocation& container : draft.allocation.containers) {
    if (!container.cpus.has_value()) {
      container.cpus = pool;
      ++draft.counters.Assignments(Resource::kCpu, Assignment::kPodShared);
    }
    ++draft.counters.Allocations(Resource::kCpu, Source::kPod);
  }
  if (draft.trace != nullptr) draft.trace->notes.push_back(Cat("pod shared pool: CPUs ", pool.ToString()));
  return absl::OkStatus();
}

// The hints for `count` CPUs: every set of NUMA nodes with enough of them, and with all that are to be reused
// (generateCPUTopologyHints). Preferred are those of as few nodes as the machine could ever need.
ProviderHints CpuManager::Rules::Hints(const Draft& draft, int count) const {
  ResourceHints hints;
  hints.resource = kCpu;
  hints.kind = ResourceHints::Kind::kFamily;
  HintFamily& family = hints.family;
  family.universe = universe;
  HintThreshold& threshold = family.thresholds.emplace_back();
  threshold.request = static_cast<uint64_t>(count);
  const CpuSet available = Available(draft);
  for (const CpuTopology::Unit& node : topology.nodes) {
    const int reusable = draft.cpus_to_reuse.IntersectionSize(node.cpus);
    if (reusable > 0) family.required.Add(node.id);
    threshold.amount.push_back(static_cast<uint64_t>(available.IntersectionSize(node.cpus) + reusable));
  }
  // Without a single set the reference lists none, which cannot be met, rather than having no preference.
  if (std::accumulate(threshold.amount.begin(), threshold.amount.end(), uint64_t{0}) < threshold.request) {
    hints.kind = ResourceHints::Kind::kList;
    return {std::move(hints)};
  }
  const auto enough = std::lower_bound(widest_nodes.begin(), widest_nodes.end(), count);
  const auto nodes = static_cast<int>(widest_nodes.size());
  family.preferred_size = std::min(static_cast<int>(enough - widest_nodes.begin()) + 1, nodes);
  if (options.align_by_socket) {
    // CheckCpuOptions made sure that there are at least as many nodes as sockets.
    const int nodes_per_socket = nodes / static_cast<int>(sockets.size());
    family.sockets = sockets;
    family.preferred_sockets = (family.preferred_size + nodes_per_socket - 1) / nodes_per_socket;
  }
  return {std::move(hints)};
}

ProviderHints CpuManager::ContainerHints(const Draft& draft, const Container& container) const {
  const int count = ExclusiveCpus(*draft.pod, container);
  if (count == 0) return {};
  return rules_->Hints(draft, count);
}

ProviderHints CpuManager::PodHints(const Draft& draft) const {
  const int count = ExclusiveCpus(*draft.pod);
  if (count == 0) return {};
  if (draft.pod->HasPodLevelResources() && !CheckPodSharedCpus(*draft.pod).ok()) {
    ResourceHints impossible;
    impossible.resource = kCpu;
    impossible.kind = ResourceHints::Kind::kList;
    return {std::move(impossible)};
  }
  return rules_->Hints(draft, count);
}

std::optional<Refusal> CpuManager::Allocate(Draft& draft, const Container& container, const Hint& affinity) const {
  const int count = ExclusiveCpus(*draft.pod, container);
  if (count == 0) return std::nullopt;
  std::optional<Refusal> refusal = rules_->CheckWholeCores(draft, count);
  absl::StatusOr<CpuSet> cpus;
  if (!refusal) {
    cpus = rules_->TakeFromNode(draft, count, affinity.numa, draft.cpus_to_reuse);
    if (!cpus.ok()) refusal = Unexpected(ToStd(cpus.status().message()));
  }
  if (refusal) {
    ++draft.counters.Errors(Resource::kCpu, Source::kNode);
    return refusal;
  }
  if (IsOneShotInit(*draft.pod, container)) {
    draft.cpus_to_reuse |= *cpus;
  } else {
    draft.cpus_to_reuse -= *cpus;
  }
  draft.allocation.Find(container.name)->cpus = *std::move(cpus);
  ++draft.counters.Allocations(Resource::kCpu, Source::kNode);
  ++draft.counters.Assignments(Resource::kCpu, Assignment::kNodeExclusive);
  return std::nullopt;
}

std::optional<Refusal> CpuManager::AllocatePod(Draft& draft, const Hint& affinity) const {
  const int count = ExclusiveCpus(*draft.pod);
  if (count == 0) return std::nullopt;
  const auto refuse = [&](Refusal refusal) {
    ++draft.counters.Errors(Resource::kCpu, Source::kPod);
    return refusal;
  };
  if (absl::Status status = CheckPodSharedCpus(*draft.pod); !status.ok()) {
    return refuse({"EmptyPodSharedPoolError", std::string(status.message())});
  }
  if (std::optional<Refusal> refusal = rules_->CheckWholeCores(draft, count)) return refuse(*std::move(refusal));
  absl::StatusOr<CpuSet> bubble = rules_->TakeFromNode(draft, count, affinity.numa, {});
  if (!bubble.ok()) return refuse(Unexpected(ToStd(bubble.status().message())));
  draft.allocation.cpus = *bubble;
  if (absl::Status status = rules_->Part(draft, *bubble); !status.ok()) {
    return refuse(Unexpected(ToStd(status.message())));
  }
  return std::nullopt;
}

void CpuManager::Release(Draft& draft) const {
  // A bubble returns whole, when its last container is gone; else every container returns what none of its siblings
  // still holds.
  if (draft.allocation.cpus.has_value()) {
    draft.shared_cpus |= *draft.allocation.cpus;
    return;
  }
  for (const ContainerAllocation& container : draft.allocation.containers) {
    if (container.cpus.has_value()) draft.shared_cpus |= *container.cpus;
  }
}

Isolation CpuManager::IsolationOf(const Draft& draft, const Container& container) const {
  const ContainerAllocation* allocation = draft.allocation.Find(container.name);
  if (allocation == nullptr || !allocation->cpus.has_value()) return Isolation::kHost;
  return ExclusiveCpus(*draft.pod, container) > 0 ? Isolation::kContainer : Isolation::kPod;
}

}  // namespace podfence
