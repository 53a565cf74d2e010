#include "agent/allocator/memory_books.h"

#include <algorithm>
#include <limits>
#include <map>
#include <set>
#include <utility>

#include "agent/core/text.h"

namespace podfence {
namespace {

NumaNodeMemory* FindBook(std::vector<NumaNodeMemory>& nodes, int id) {
  return const_cast<NumaNodeMemory*>(podfence::FindBook(std::as_const(nodes), id));
}
NodeMemory* FindEntry(NumaNodeMemory& node, std::string_view resource) {
  return const_cast<NodeMemory*>(podfence::FindEntry(std::as_const(node), resource));
}

absl::Status ReservationError(std::string_view what) {
  return absl::InvalidArgumentError(Cat("reservedMemory: ", what));
}

// What the kubelet refuses when it reads its file (apis/config/validation/validation_reserved_memory.go).
absl::Status CheckEntries(const Policy& policy) {
  std::set<std::pair<int, std::string_view>> seen;
  for (const NumaReservation& reservation : policy.reserved_memory) {
    for (const auto& [resource, amount] : reservation.limits) {
      if (!IsMemoryResource(resource)) {
        return ReservationError(Cat("invalid configuration: the limit type \"", resource, "\" for NUMA node ",
                                    reservation.numa_node,
                                    " is not supported, only [memory hugepages-<HugePageSize>] is accepted"));
      }
      if (amount.IsZero()) {
        return ReservationError(Cat("invalid configuration: reserved memory may not be zero for NUMA node ",
                                    reservation.numa_node, " and resource \"", resource, "\""));
      }
      if (!seen.emplace(reservation.numa_node, resource).second) {
        return ReservationError(Cat("invalid configuration: the reserved memory has a duplicate value for NUMA node ",
                                    reservation.numa_node, " and resource \"", resource, "\""));
      }
    }
  }
  return absl::OkStatus();
}

// The reservations of all nodes are together what is reserved of the node.
absl::Status CheckSums(const Machine& machine, const Policy& policy) {
  std::map<std::string_view, std::pair<Quantity, Quantity>> sums;  // by resource: per NUMA node, of the node
  for (const NumaReservation& reservation : policy.reserved_memory) {
    if (machine.FindNode(reservation.numa_node) == nullptr) {
      return ReservationError(Cat("the reserved memory configuration references a NUMA node ", reservation.numa_node,
                                  " that does not exist on this machine"));
    }
    for (const auto& [resource, amount] : reservation.limits) sums[resource].first += amount;
  }
  for (const auto& [resource, amount] : policy.reserved) {
    if (IsMemoryResource(resource)) sums[resource].second += amount;
  }
  for (const auto& [resource, sum] : sums) {
    if (sum.first == sum.second) continue;
    return ReservationError(Cat("the total amount \"", sum.first.ToString(), "\" of type \"", resource,
                                "\" is not equal to the value \"", sum.second.ToString(),
                                "\" determined by Node Allocatable feature"));
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> ReservedOn(const Policy& policy, int node, std::string_view resource) {
  for (const NumaReservation& reservation : policy.reserved_memory) {
    if (reservation.numa_node != node) continue;
    const auto amount = reservation.limits.find(resource);
    if (amount == reservation.limits.end()) continue;
    const int64_t bytes = amount->second.Value();
    if (bytes < 0 || Quantity::FromInt(bytes) != amount->second) {
      return ReservationError(Cat("could not covert a variable of type Quantity to int64: \"", resource,
                                  "\" of NUMA node ", node, " is \"", amount->second.ToString(), "\""));
    }
    return static_cast<uint64_t>(bytes);
  }
  return 0;
}

// The entry of a resource that the node has total bytes of, used bytes of them by other means. A node that holds back
// more than it has wraps around, as in the reference: see HasWrapped.
absl::StatusOr<NodeMemory> FreshEntry(const Policy& policy, int node, std::string resource, uint64_t total,
                                      uint64_t used) {
  const absl::StatusOr<uint64_t> reserved = ReservedOn(policy, node, resource);
  if (!reserved.ok()) return reserved.status();
  const uint64_t allocatable = total - used - *reserved;
  return NodeMemory{std::move(resource), allocatable, allocatable, 0};
}

absl::StatusOr<NumaNodeMemory> FreshBook(const NumaNode& node, const Policy& policy) {
  NumaNodeMemory book{.id = node.id, .assignments = 0, .cells = NumaSet{node.id}, .memory = {}};
  uint64_t in_huge_pages = 0;
  for (const HugePages& pages : node.hugepages) {
    const Quantity page_size =
        Quantity::FromInt(static_cast<int64_t>(pages.page_size_kb * 1024), Quantity::Format::kBinarySI);
    const uint64_t bytes = pages.page_size_kb * 1024 * pages.count;
    absl::StatusOr<NodeMemory> entry =
        FreshEntry(policy, node.id, Cat(kHugePagesPrefix, page_size.ToString()), bytes, 0);
    if (!entry.ok()) return entry.status();
    book.memory.push_back(*std::move(entry));
    in_huge_pages += bytes;
  }
  absl::StatusOr<NodeMemory> entry = FreshEntry(policy, node.id, std::string(kMemory), node.memory, in_huge_pages);
  if (!entry.ok()) return entry.status();
  book.memory.push_back(*std::move(entry));
  std::sort(book.memory.begin(), book.memory.end(),
            [](const NodeMemory& a, const NodeMemory& b) { return a.resource < b.resource; });
  return book;
}

}  // namespace

absl::StatusOr<std::vector<NumaNodeMemory>> FreshBooks(const Machine& machine, const Policy& policy) {
  if (absl::Status entries = CheckEntries(policy); !entries.ok()) return entries;
  if (absl::Status sums = CheckSums(machine, policy); !sums.ok()) return sums;
  bool some = false;
  for (const NumaReservation& reservation : policy.reserved_memory) some |= reservation.limits.contains(kMemory);
  if (!some) return ReservationError("[memorymanager] you should specify the system reserved memory");
  std::vector<NumaNodeMemory> books;
  for (const NumaNode& node : machine.nodes) {
    absl::StatusOr<NumaNodeMemory> book = FreshBook(node, policy);
    if (!book.ok()) return book.status();
    for (const NodeMemory& entry : book->memory) {
      if (!HasWrapped(entry) || machine.nodes.size() <= kMaxWalkedNodes) continue;
      return ReservationError(Cat("NUMA node ", node.id, " has less ", entry.resource,
                                  " than huge pages and the reservation hold together; reserve it on another node"));
    }
    books.push_back(*std::move(book));
  }
  return books;
}

bool HasWrapped(const NodeMemory& entry) { return entry.allocatable > std::numeric_limits<int64_t>::max(); }

const NumaNodeMemory* FindBook(const std::vector<NumaNodeMemory>& nodes, int id) {
  // Most machines number their nodes 0, 1, 2….
  if (static_cast<size_t>(id) < nodes.size() && nodes[id].id == id) return &nodes[id];
  for (const NumaNodeMemory& node : nodes) {
    if (node.id == id) return &node;
  }
  return nullptr;
}

const NodeMemory* FindEntry(const NumaNodeMemory& node, std::string_view resource) {
  for (const NodeMemory& entry : node.memory) {
    if (entry.resource == resource) return &entry;
  }
  return nullptr;
}

void TakeMemory(std::vector<NumaNodeMemory>& nodes, NumaSet group, std::string_view resource, uint64_t bytes) {
  for (int id : group) {
    NumaNodeMemory* node = FindBook(nodes, id);
    if (node == nullptr) continue;
    ++node->assignments;
    node->cells = group;
    NodeMemory* entry = FindEntry(*node, resource);
    if (entry == nullptr) continue;
    const uint64_t part = std::min(entry->free, bytes);
    entry->free -= part;
    entry->reserved += part;
    bytes -= part;
  }
}

void ReturnMemory(std::vector<NumaNodeMemory>& nodes, const MemoryBlock& block) {
  uint64_t bytes = block.bytes;
  for (int id : block.numa) {
    NumaNodeMemory* node = FindBook(nodes, id);
    if (node == nullptr) continue;
    if (--node->assignments == 0) node->cells = NumaSet{id};
    NodeMemory* entry = FindEntry(*node, block.resource);
    if (entry == nullptr) continue;
    const uint64_t part = std::min(entry->reserved, bytes);
    entry->free += part;
    entry->reserved -= part;
    bytes -= part;
  }
}

bool HasFree(const std::vector<NumaNodeMemory>& nodes, NumaSet group, const MemoryRequests& requests) {
  for (const MemoryRequest& request : requests) {
    uint64_t free = 0;
    for (int id : group) {
      const NumaNodeMemory* node = FindBook(nodes, id);
      const NodeMemory* entry = node == nullptr ? nullptr : FindEntry(*node, request.resource);
      if (entry != nullptr) free += entry->free;
    }
    if (free < request.bytes) return false;
  }
  return true;
}

bool ViolatesGroups(const std::vector<NumaNodeMemory>& nodes, NumaSet group) {
  if (group.size() == 1) return false;
  for (int id : group) {
    const NumaNodeMemory* node = FindBook(nodes, id);
    if (node == nullptr || node->assignments == 0) continue;
    if (node->cells.size() == 1 || node->cells != group) return true;
  }
  return false;
}

}  // namespace podfence
