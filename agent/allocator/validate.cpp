#include "agent/allocator/validate.h"

#include <array>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "agent/allocator/cpu_requests.h"
#include "agent/allocator/memory_books.h"
#include "agent/core/text.h"

namespace podfence {
namespace {

template <typename... Parts>
absl::Status Violation(const Parts&... parts) {
  return absl::InternalError(Cat("invariant violated: ", parts...));
}

std::string NameOf(const PodAllocation& pod) { return Cat("pod ", pod.pod->FullName(), " (uid ", pod.pod->uid, ")"); }
std::string NameOf(const PodAllocation& pod, const ContainerAllocation& container) {
  return Cat("container ", container.name, " of ", NameOf(pod));
}

// All CPUs the pod keeps others off.
CpuSet Owned(const PodAllocation& pod) {
  if (pod.cpus) return *pod.cpus;
  CpuSet owned;
  for (const ContainerAllocation& container : pod.containers) {
    if (container.cpus) owned |= *container.cpus;
  }
  return owned;
}

// The blocks that the books count: the pod's own, or else its containers'.
template <typename Visitor>
void ForEachBooked(const PodAllocation& pod, Visitor&& visit) {
  for (const MemoryBlock& block : pod.memory) visit(block);
  if (!pod.memory.empty()) return;
  for (const ContainerAllocation& container : pod.containers) {
    for (const MemoryBlock& block : container.memory) visit(block);
  }
}

std::string HolderOf(int cpu, const PodAllocation& pod, const ContainerAllocation* other_than) {
  for (const ContainerAllocation& container : pod.containers) {
    if (&container != other_than && container.cpus && container.cpus->Contains(cpu)) return NameOf(pod, container);
  }
  return NameOf(pod);
}

// The pod, of all but one, that owns the CPU; for messages.
std::string OwnerOf(int cpu, const NodeState& state, std::string_view other_than) {
  for (const auto& [uid, pod] : state.pods) {
    if (uid != other_than && Owned(pod).Contains(cpu)) return HolderOf(cpu, pod, nullptr);
  }
  return "nobody that is known";
}

bool IsIsolated(const ContainerAllocation& container) { return container.cpu_isolation == Isolation::kContainer; }

// One container's CPUs, against those that others of the pod keep while it runs.
absl::Status ValidateCpus(const PodAllocation& pod, const Container& container, const ContainerAllocation& allocation,
                          const CpuSet& kept) {
  const CpuSet& cpus = *allocation.cpus;
  if (cpus.empty()) return Violation("the pod shared pool of ", NameOf(pod, allocation), " is empty");
  if (pod.cpus && !cpus.IsSubsetOf(*pod.cpus)) {
    return Violation("CPU ", (cpus - *pod.cpus).First(), " is held by ", NameOf(pod, allocation),
                     " but is not among the pod's CPUs ", pod.cpus->ToString());
  }
  if (IsIsolated(allocation)) {
    const int asked = ContainerExclusiveCpus(*pod.pod, container);
    if (cpus.size() != asked) {
      return Violation(NameOf(pod, allocation), " holds ", cpus.size(), " exclusive CPUs and asked for ", asked);
    }
  } else if (!pod.cpus) {
    return Violation(NameOf(pod, allocation), " holds CPUs ", cpus.ToString(), " without having asked for any");
  }
  if (cpus.Intersects(kept)) {
    const int cpu = (cpus & kept).First();
    return Violation("CPU ", cpu, " is held by ", NameOf(pod, allocation), " and by ", HolderOf(cpu, pod, &allocation));
  }
  return absl::OkStatus();
}

absl::Status ValidatePod(const PodAllocation& pod) {
  const size_t count = pod.pod->init_containers.size() + pod.pod->containers.size();
  if (pod.containers.size() != count) {
    return Violation(NameOf(pod), " has ", count, " containers but ", pod.containers.size(), " allocations");
  }
  // A one-shot init container is gone when the app containers start: it meets the sidecars before it only. Whoever
  // shares for the pod's whole life meets every slice, and so is looked at when all slices are known.
  CpuSet kept;
  for (const bool sharers : {false, true}) {
    size_t index = 0;
    absl::Status status;
    ForEachContainer(*pod.pod, [&](const Container& container, bool is_init) {
      const ContainerAllocation& allocation = pod.containers[index++];
      if (!status.ok() || !allocation.cpus) return;
      const bool one_shot = is_init && !IsSidecar(container);
      if ((!one_shot && !IsIsolated(allocation)) != sharers) return;
      status = ValidateCpus(pod, container, allocation, kept);
      if (IsIsolated(allocation) && !one_shot) kept |= *allocation.cpus;
    });
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

// The blocks of a pod that the books count fit the nodes they name; its containers' parts of them are on the same
// nodes.
absl::Status ValidateBlocks(const PodAllocation& pod, const std::vector<NumaNodeMemory>& nodes) {
  absl::Status status;
  ForEachBooked(pod, [&](const MemoryBlock& block) {
    uint64_t allocatable = 0;
    bool wrapped = false;
    for (int id : block.numa) {
      const NumaNodeMemory* node = FindBook(nodes, id);
      const NodeMemory* entry = node == nullptr ? nullptr : FindEntry(*node, block.resource);
      if (entry == nullptr) continue;
      wrapped |= HasWrapped(*entry);
      allocatable += entry->allocatable;
    }
    if (status.ok() && !wrapped && block.bytes > allocatable) {
      status = Violation(NameOf(pod), " holds ", block.bytes, " bytes of ", block.resource, " on NUMA nodes ",
                         block.numa.ToString(), ", which have ", allocatable);
    }
  });
  if (pod.memory.empty() || !status.ok()) return status;
  for (const ContainerAllocation& container : pod.containers) {
    for (const MemoryBlock& block : container.memory) {
      if (block.numa == pod.memory.front().numa) continue;
      return Violation(NameOf(pod, container), " has memory on NUMA nodes ", block.numa.ToString(), ", its pod on ",
                       pod.memory.front().numa.ToString());
    }
  }
  return absl::OkStatus();
}

// How many booked blocks of the pod name each node.
using NamedBy = std::array<int, NumaSet::kMaxNode + 1>;
void CountBlocks(const PodAllocation& pod, int sign, NamedBy& named) {
  ForEachBooked(pod, [&](const MemoryBlock& block) {
    for (int id : block.numa) named[id] += sign;
  });
}

absl::Status ValidateCells(const NumaNodeMemory& node) {
  if (node.assignments < 0 || !node.cells.Contains(node.id) || (node.assignments == 0 && node.cells.size() > 1)) {
    return Violation("NUMA node ", node.id, " has ", node.assignments, " blocks and serves in the group ",
                     node.cells.ToString());
  }
  return absl::OkStatus();
}

// The books after a change: the same entries, each node's bytes conserved, and as many blocks more as the pod has.
absl::Status ValidateNode(const NumaNodeMemory& before, const NumaNodeMemory& after, int more_blocks) {
  if (before.id != after.id || before.memory.size() != after.memory.size()) {
    return Violation("NUMA node ", before.id, " is not in the books as it was");
  }
  if (after.assignments - before.assignments != more_blocks) {
    return Violation("NUMA node ", after.id, " had ", before.assignments, " blocks and has ", after.assignments,
                     ", though the pod has ", more_blocks, " more");
  }
  for (size_t i = 0; i < after.memory.size(); ++i) {
    const NodeMemory& was = before.memory[i];
    const NodeMemory& is = after.memory[i];
    if (is.resource != was.resource || is.allocatable != was.allocatable ||
        is.free + is.reserved != was.free + was.reserved) {
      return Violation("NUMA node ", after.id, " had ", was.free, " bytes of ", was.resource, " free and ",
                       was.reserved, " reserved, and has ", is.free, " and ", is.reserved);
    }
  }
  const bool same = before.assignments == after.assignments && before.cells == after.cells;
  return same ? absl::OkStatus() : ValidateCells(after);
}

// Bytes by resource, of which there are few.
class Bytes {
 public:
  void Add(std::string_view resource, uint64_t more, uint64_t less) {
    if (more == less) return;
    for (auto& [name, bytes] : sums_) {
      if (name != resource) continue;
      bytes += static_cast<int64_t>(more - less);
      return;
    }
    sums_.emplace_back(resource, static_cast<int64_t>(more - less));
  }
  auto begin() const { return sums_.begin(); }
  auto end() const { return sums_.end(); }

 private:
  std::vector<std::pair<std::string_view, int64_t>> sums_;
};

// What the pod takes is reserved to the byte. What it returns may stay reserved in part (releaseMemory loses track of
// it), but no more is set free than it returns.
absl::Status ValidateBytes(const NodeState& before, const StateChange& change, const PodAllocation* was,
                           const PodAllocation* is) {
  Bytes unaccounted;  // more reserved than the blocks say
  for (size_t n = 0; n < change.nodes.size(); ++n) {
    for (size_t i = 0; i < change.nodes[n].memory.size(); ++i) {
      const NodeMemory& entry = change.nodes[n].memory[i];
      unaccounted.Add(entry.resource, entry.reserved, before.nodes[n].memory[i].reserved);
    }
  }
  if (is != nullptr)
    ForEachBooked(*is, [&](const MemoryBlock& block) { unaccounted.Add(block.resource, 0, block.bytes); });
  if (was != nullptr) {
    ForEachBooked(*was, [&](const MemoryBlock& block) { unaccounted.Add(block.resource, block.bytes, 0); });
  }
  const bool admission = was == nullptr && is != nullptr;
  for (const auto& [resource, bytes] : unaccounted) {
    if (admission ? bytes == 0 : bytes >= 0) continue;
    return Violation("the NUMA nodes together have ", bytes, " bytes of ", resource,
                     " more reserved than the blocks of the pod with uid ", change.uid, " say");
  }
  return absl::OkStatus();
}

absl::Status ValidateMemoryChange(const NodeState& before, const StateChange& change, const PodAllocation* was,
                                  const PodAllocation* is) {
  if (before.nodes.size() != change.nodes.size()) {
    return Violation("the books had ", before.nodes.size(), " NUMA nodes and have ", change.nodes.size());
  }
  if (before.nodes.empty()) return absl::OkStatus();
  NamedBy more{};
  if (is != nullptr) CountBlocks(*is, 1, more);
  if (was != nullptr) CountBlocks(*was, -1, more);
  for (size_t n = 0; n < change.nodes.size(); ++n) {
    absl::Status status = ValidateNode(before.nodes[n], change.nodes[n], more[change.nodes[n].id]);
    if (!status.ok()) return status;
  }
  if (is != nullptr) {
    if (absl::Status status = ValidateBlocks(*is, change.nodes); !status.ok()) return status;
  }
  return ValidateBytes(before, change, was, is);
}

absl::Status ValidateCpuChange(const CpuSet& never_exclusive, const NodeState& before, const StateChange& change,
                               const PodAllocation* was, const PodAllocation* is) {
  const CpuSet had = was == nullptr ? CpuSet() : Owned(*was);
  const CpuSet has = is == nullptr ? CpuSet() : Owned(*is);
  if (is != nullptr) {
    const CpuSet gained = has - had;
    if (!gained.IsSubsetOf(before.shared_cpus)) {
      const int cpu = (gained - before.shared_cpus).First();
      return Violation("CPU ", cpu, " goes to ", HolderOf(cpu, *is, nullptr), " but is owned by ",
                       OwnerOf(cpu, before, change.uid));
    }
    if (gained.Intersects(never_exclusive)) {
      const int cpu = (gained & never_exclusive).First();
      return Violation("CPU ", cpu, " goes to ", HolderOf(cpu, *is, nullptr), " but is reserved for the system");
    }
  }
  CpuSet shared = before.shared_cpus;
  shared |= had;
  shared -= has;
  if (shared != change.shared_cpus) {
    return Violation("the node shared pool is ", change.shared_cpus.ToString(), " but ", shared.ToString(),
                     " is what the pod with uid ", change.uid, " leaves of it");
  }
  return absl::OkStatus();
}

// The state's CPUs: each in the node shared pool or with one pod, together those of the node without pods.
absl::Status ValidateOwners(const NodeState& initial, const CpuSet& never_exclusive, const NodeState& state) {
  CpuSet seen = state.shared_cpus;
  for (const auto& [uid, pod] : state.pods) {
    const CpuSet owned = Owned(pod);
    if (owned.Intersects(state.shared_cpus)) {
      const int cpu = (owned & state.shared_cpus).First();
      return Violation("CPU ", cpu, " is held by ", HolderOf(cpu, pod, nullptr), " and is in the node shared pool");
    }
    if (owned.Intersects(seen)) {
      const int cpu = (owned & seen).First();
      return Violation("CPU ", cpu, " is held by ", HolderOf(cpu, pod, nullptr), " and by ", OwnerOf(cpu, state, uid));
    }
    if (owned.Intersects(never_exclusive)) {
      const int cpu = (owned & never_exclusive).First();
      return Violation("CPU ", cpu, " is held by ", HolderOf(cpu, pod, nullptr), " and reserved for the system");
    }
    seen |= owned;
  }
  if (seen == initial.shared_cpus) return absl::OkStatus();
  if (!seen.IsSubsetOf(initial.shared_cpus)) {
    return Violation("CPUs ", (seen - initial.shared_cpus).ToString(), " are in the state but never were assignable");
  }
  return Violation("CPUs ", (initial.shared_cpus - seen).ToString(), " have neither an owner nor are they shared");
}

}  // namespace

CpuSet NeverExclusive(const Machine& machine, const CpuSet& reserved) {
  std::map<int, size_t> cpus_of_socket;
  for (const NumaNode& node : machine.nodes) {
    for (const Core& core : node.cores) cpus_of_socket[core.socket] += core.threads.size();
  }
  for (const auto& [socket, cpus] : cpus_of_socket) {
    if (cpus != cpus_of_socket.begin()->second) return {};
  }
  return reserved;
}

absl::Status ValidateState(const NodeState& initial, const CpuSet& never_exclusive, const NodeState& state) {
  if (absl::Status status = ValidateOwners(initial, never_exclusive, state); !status.ok()) return status;
  if (initial.nodes.size() != state.nodes.size()) {
    return Violation("the machine has ", initial.nodes.size(), " NUMA nodes and the books ", state.nodes.size());
  }
  NamedBy named{};
  Bytes unaccounted;
  for (const auto& [uid, pod] : state.pods) {
    if (absl::Status status = ValidatePod(pod); !status.ok()) return status;
    if (state.nodes.empty()) continue;
    if (absl::Status status = ValidateBlocks(pod, state.nodes); !status.ok()) return status;
    CountBlocks(pod, 1, named);
    ForEachBooked(pod, [&](const MemoryBlock& block) { unaccounted.Add(block.resource, 0, block.bytes); });
  }
  for (size_t n = 0; n < state.nodes.size(); ++n) {
    const NumaNodeMemory& node = state.nodes[n];
    absl::Status status = ValidateNode(initial.nodes[n], node, named[node.id]);
    if (!status.ok()) return status;
    for (const NodeMemory& entry : node.memory) unaccounted.Add(entry.resource, entry.reserved, 0);
  }
  for (const auto& [resource, bytes] : unaccounted) {
    if (bytes < 0) return Violation("blocks have ", -bytes, " bytes of ", resource, " that no NUMA node has reserved");
  }
  return absl::OkStatus();
}

absl::Status ValidateChange(const CpuSet& never_exclusive, const NodeState& before, const StateChange& change) {
  const auto found = before.pods.find(change.uid);
  const PodAllocation* was = found == before.pods.end() ? nullptr : &found->second;
  const PodAllocation* is = change.pod ? &*change.pod : nullptr;
  if (is != nullptr) {
    if (absl::Status status = ValidatePod(*is); !status.ok()) return status;
  }
  if (absl::Status status = ValidateCpuChange(never_exclusive, before, change, was, is); !status.ok()) return status;
  return ValidateMemoryChange(before, change, was, is);
}

}  // namespace podfence
