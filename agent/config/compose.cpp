#include <algorithm>
#include <limits>

#include "agent/config/config.h"
#include "agent/config/eviction.h"
#include "agent/core/text.h"

namespace podfence {
namespace {

Quantity Bytes(uint64_t bytes) {
  constexpr uint64_t kMax = std::numeric_limits<int64_t>::max();
  return Quantity::FromInt(static_cast<int64_t>(std::min(bytes, kMax)), Quantity::Format::kBinarySI);
}

void AddTo(ResourceList& sum, const ResourceList& more) {
  for (const auto& [name, amount] : more) sum[name] += amount;
}

// What a node has beside its huge pages.
uint64_t PlainMemory(const NumaNode& node) {
  uint64_t huge = 0;
  for (const HugePages& pool : node.hugepages) huge += pool.page_size_kb * pool.count * 1024;
  return node.memory - std::min(huge, node.memory);
}

absl::StatusOr<std::vector<NumaReservation>> SpreadMemory(const Quantity& reserved, const Machine& machine) {
  std::vector<NumaReservation> spread;
  Quantity left = reserved;
  for (const NumaNode& node : machine.nodes) {
    const Quantity here = std::min(left, Bytes(PlainMemory(node)));
    if (here.IsZero()) continue;
    NumaReservation reservation{.numa_node = node.id, .limits = {}};
    reservation.limits.emplace(std::string(kMemory), here);
    spread.push_back(std::move(reservation));
    left -= here;
  }
  if (!left.IsZero()) {
    return absl::InvalidArgumentError(Cat(
        "systemReserved, kubeReserved and evictionHard reserve ", reserved.ToString(), " of memory, ", left.ToString(),
        " more than the machine has beside its huge pages: reserve less, or set memoryManagerPolicy to None"));
  }
  return spread;
}

}  // namespace

absl::StatusOr<Policy> ComposePolicy(const Config& config, const Machine& machine) {
  Policy policy = config.policy;
  policy.reserved.clear();
  AddTo(policy.reserved, config.system_reserved);
  AddTo(policy.reserved, config.kube_reserved);
  if (const auto threshold = config.eviction_hard.find("memory.available"); threshold != config.eviction_hard.end()) {
    uint64_t capacity = 0;
    for (const NumaNode& node : machine.nodes) capacity += node.memory;
    const absl::StatusOr<Quantity> amount = ThresholdAmount(threshold->second, Bytes(capacity));
    if (!amount.ok()) return amount.status();
    policy.reserved[std::string(kMemory)] += *amount;
  }
  if (!policy.reserved_system_cpus.empty()) {
    const absl::StatusOr<CpuSet> cpus = CpuSet::Parse(policy.reserved_system_cpus);
    if (!cpus.ok()) return cpus.status();
    if (!cpus->empty()) policy.reserved[std::string(kCpu)] = Quantity::FromInt(cpus->size());
  }
  std::erase_if(policy.reserved, [](const auto& entry) { return entry.second.IsZero(); });
  const auto memory = policy.reserved.find(kMemory);
  if (policy.memory_manager_policy == "Static" && policy.reserved_memory.empty() && memory != policy.reserved.end()) {
    absl::StatusOr<std::vector<NumaReservation>> spread = SpreadMemory(memory->second, machine);
    if (!spread.ok()) return spread.status();
    policy.reserved_memory = *std::move(spread);
  }
  return policy;
}

}  // namespace podfence
