#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "agent/core/cpu_set.h"
#include "agent/core/numa_set.h"

namespace podfence {

// One physical core: the logical CPUs (threads) that are online, ascending. Its id is its lowest logical CPU.
struct Core {
  int socket = 0;
  std::optional<int> l3;     // L3 (uncore) cache id; none known: the reference takes the socket's id
  std::vector<int> threads;  // never empty

  int id() const { return threads.front(); }
  friend bool operator==(const Core&, const Core&) = default;
};

// A pool of huge pages of one size on one NUMA node.
struct HugePages {
  uint64_t page_size_kb = 0;
  uint64_t count = 0;
  friend bool operator==(const HugePages&, const HugePages&) = default;
};

// One NUMA node; one without cores holds memory only.
struct NumaNode {
  int id = 0;                        // OS index
  uint64_t memory = 0;               // bytes, huge pages included
  std::vector<uint64_t> distances;   // to every node, in node order (ACPI SLIT values, 10 = local)
  std::vector<HugePages> hugepages;  // ascending by page size
  std::vector<Core> cores;           // ascending by id
  friend bool operator==(const NumaNode&, const NumaNode&) = default;
};

// What the allocator knows of the hardware. Nodes ascend by id; ids may be sparse.
struct Machine {
  std::vector<NumaNode> nodes;
  CpuSet offline;    // present but offline: for display only, never allocated
  std::string name;  // where it was read from, for messages: "live", a file, a synthetic string

  CpuSet Cpus() const;
  CpuSet CpusOf(const NumaNode& node) const;
  NumaSet NodeIds() const;
  const NumaNode* FindNode(int id) const;
};

// What must hold for any Machine, whatever it was read from: at least one node and one CPU, node ids ascending in
// 0…63, a CPU on one core only, one distance for every node. InvalidArgument names the node or CPU.
absl::Status ValidateMachine(const Machine& machine);

}  // namespace podfence
