#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/verifier/expectations.h"
#include "bpf/podfence_bpf.h"

namespace podfence {

// The sizes of the programs' tables on this machine.
struct TableSizes {
  uint32_t cpus = 1;        // highest possible CPU + 1
  uint32_t max_fences = 1;  // without slot 0, which is "none"

  uint32_t slots() const { return max_fences + 1; }
  uint32_t mask_words() const { return (cpus + 63) / 64; }
};

// One half of the programs' tables, as bpf/tables.bpf.h lays them out.
struct TableImage {
  std::vector<podfence_owner> owners;    // [cpu]
  std::vector<podfence_fence> fences;    // [slot]
  std::vector<uint64_t> masks;           // [slot][word]
  std::map<uint64_t, uint32_t> cgroups;  // cgroup id to slot
};

// Gives fences their slots and pods their numbers. A cgroup keeps its slot, and with it its counters, while it is
// expected; freed slots are used again as late as possible, so that late findings still meet the right name. A value:
// a copy tries what the original must not become on an error.
class SlotBook {
 public:
  explicit SlotBook(const TableSizes& sizes);

  struct Change {
    std::vector<uint32_t> slots;  // of each fence, in the order given
    std::vector<uint32_t> added;  // slots that begin, their counters are to be cleared
    std::vector<uint32_t> ended;  // slots that are free from now on
  };
  // ResourceExhausted where there are more fences than slots; those that end with this
  // change still hold theirs, since their counters are still to be read.
  absl::StatusOr<Change> Assign(const std::vector<ExpectedFence>& fences);

 private:
  std::map<std::pair<uint64_t, std::string>, uint32_t> slots_;  // by cgroup id and path
  std::deque<uint32_t> free_;
};

// The tables that say what `fences`, with these slots, say. A fence without cgroup_id has no tasks, but
// owns its CPUs. InvalidArgument where a CPU does not exist here.
absl::StatusOr<TableImage> EncodeTables(const std::vector<ExpectedFence>& fences, const std::vector<uint32_t>& slots,
                                        const TableSizes& sizes);

}  // namespace podfence
