#include "agent/allocator/memory_hints.h"

#include <algorithm>
#include <array>
#include <bit>
#include <functional>
#include <type_traits>

#include "absl/container/inlined_vector.h"
#include "agent/allocator/memory_books.h"
#include "agent/allocator/merge_order.h"

namespace podfence {
namespace {

// Sets of positions (bit i is the i-th node of the universe).
using Positions = PositionMask;

constexpr Positions FirstPositions(int count) { return count >= 64 ? ~Positions{0} : (Positions{1} << count) - 1; }

// Whether some set of exactly size positions between required and allowed reaches all thresholds. Exact: refuted by
// bounds on what the best positions could give, decided by branching on the most useful position where these say
// nothing (only ever with several resources that nodes have in unequal measure).
class SetSearch {
 public:
  explicit SetSearch(const std::vector<HintThreshold>& thresholds) : thresholds_(thresholds) {}

  bool Exists(Positions allowed, Positions required, int size) const {
    const Positions open = allowed & ~required;
    const int missing = size - std::popcount(required);
    if (missing < 0 || std::popcount(open) < missing) return false;
    Amounts need(thresholds_.size());
    int unmet = 0;
    for (size_t r = 0; r < thresholds_.size(); ++r) {
      need[r] = Need(thresholds_[r], required);
      if (need[r] == 0) continue;
      ++unmet;
      if (Best(open, missing, [&](int p) { return thresholds_[r].amount[p]; }) < need[r]) return false;
    }
    if (unmet <= 1) return true;
    // What a position gives of all that is needed, as parts of 1 each; a set that reaches everything gives unmet.
    const auto share = [&](int p) {
      double sum = 0;
      for (size_t r = 0; r < thresholds_.size(); ++r) {
        if (need[r] > 0) sum += static_cast<double>(thresholds_[r].amount[p]) / static_cast<double>(need[r]);
      }
      return sum;
    };
    constexpr double kRounding = 1e-9;
    if (Best(open, missing, share) < unmet - kRounding) return false;
    int pick = std::countr_zero(open);
    for (Positions rest = open; rest != 0; rest &= rest - 1) {
      if (share(std::countr_zero(rest)) > share(pick)) pick = std::countr_zero(rest);
    }
    if (Exists(allowed, required | Bit(pick), size)) return true;
    // Without pick, no position that gives no more of anything helps either: pick could take its place.
    Positions without = allowed;
    for (Positions rest = open; rest != 0; rest &= rest - 1) {
      if (GivesNoMore(std::countr_zero(rest), pick, need)) without &= ~Bit(std::countr_zero(rest));
    }
    return Exists(without, required, size);
  }

 private:
  using Amounts = absl::InlinedVector<uint64_t, 4>;  // by threshold

  static uint64_t Need(const HintThreshold& threshold, Positions taken) {
    uint64_t need = threshold.request;
    for (Positions rest = taken; rest != 0; rest &= rest - 1) {
      need -= std::min(need, threshold.amount[std::countr_zero(rest)]);
    }
    return need;
  }

  // The sum of the count largest values over the positions.
  template <typename Value>
  static std::invoke_result_t<Value, int> Best(Positions positions, int count, Value value) {
    std::array<std::invoke_result_t<Value, int>, 64> values;
    int n = 0;
    for (Positions rest = positions; rest != 0; rest &= rest - 1) values[n++] = value(std::countr_zero(rest));
    if (count < n) std::nth_element(values.begin(), values.begin() + count, values.begin() + n, std::greater<>());
    std::invoke_result_t<Value, int> sum = 0;
    for (int i = 0; i < count; ++i) sum += values[i];
    return sum;
  }

  bool GivesNoMore(int position, int than, const Amounts& need) const {
    for (size_t r = 0; r < thresholds_.size(); ++r) {
      if (need[r] > 0 && thresholds_[r].amount[position] > thresholds_[r].amount[than]) return false;
    }
    return true;
  }

  const std::vector<HintThreshold>& thresholds_;
};

// The nodes at these positions of the universe, and back.
NumaSet NodesAt(NumaSet universe, Positions positions) {
  NumaSet nodes;
  int position = 0;
  for (int node : universe) {
    if ((positions & Bit(position++)) != 0) nodes.Add(node);
  }
  return nodes;
}
Positions PositionsOf(NumaSet universe, NumaSet nodes) {
  Positions positions = 0;
  int position = 0;
  for (int node : universe) {
    if (nodes.Contains(node)) positions |= Bit(position);
    ++position;
  }
  return positions;
}

uint64_t ReusableOn(const std::vector<Draft::ReusableMemory>& reusable, NumaSet numa, std::string_view resource) {
  for (const Draft::ReusableMemory& entry : reusable) {
    if (entry.numa == numa && entry.resource == resource) return entry.bytes;
  }
  return 0;
}

// calculateHints' test of one set: no node of it serves otherwise, and together they have enough for the requests.
bool CanServe(const std::vector<NumaNodeMemory>& nodes, NumaSet set, const MemoryRequests& requests,
              const std::vector<Draft::ReusableMemory>& reusable) {
  const NumaNodeMemory* first = FindBook(nodes, set.First());
  if (set.size() == 1 && (first == nullptr || first->cells.size() > 1)) return false;
  if (ViolatesGroups(nodes, set)) return false;
  for (const MemoryRequest& request : requests) {
    uint64_t free = ReusableOn(reusable, set, request.resource);
    uint64_t allocatable = 0;
    for (int id : set) {
      const NumaNodeMemory* node = FindBook(nodes, id);
      const NodeMemory* entry = node == nullptr ? nullptr : FindEntry(*node, request.resource);
      if (entry == nullptr) continue;
      free += entry->free;
      allocatable += entry->allocatable;
    }
    if (free < request.bytes || allocatable < request.bytes) return false;
  }
  return true;
}

bool AnyWrapped(const std::vector<NumaNodeMemory>& nodes, const MemoryRequests& requests) {
  for (const NumaNodeMemory& node : nodes) {
    for (const MemoryRequest& request : requests) {
      const NodeMemory* entry = FindEntry(node, request.resource);
      if (entry != nullptr && HasWrapped(*entry)) return true;
    }
  }
  return false;
}

// The family where amounts have wrapped around: every set tried as the reference does.
HintFamily WalkedFamily(const std::vector<NumaNodeMemory>& nodes, const MemoryRequests& requests,
                        const std::vector<Draft::ReusableMemory>& reusable) {
  HintFamily family;
  std::vector<NumaNodeMemory> on_empty_machine = nodes;
  NumaSet all;
  for (NumaNodeMemory& node : on_empty_machine) {
    all.Add(node.id);
    node.assignments = 0;
    node.cells = NumaSet{node.id};
    for (NodeMemory& entry : node.memory) entry.free = entry.allocatable;
  }
  family.preferred_size = all.size();
  for (Positions positions = 1; positions <= FirstPositions(all.size()); ++positions) {
    const NumaSet set = NodesAt(all, positions);
    if (set.size() < family.preferred_size && CanServe(on_empty_machine, set, requests, {})) {
      family.preferred_size = set.size();
    }
    if (CanServe(nodes, set, requests, reusable)) family.listed.push_back(set);
  }
  return family;
}

bool Reaches(const std::vector<HintThreshold>& thresholds) {
  return std::all_of(thresholds.begin(), thresholds.end(), [](const HintThreshold& threshold) {
    uint64_t sum = 0;
    for (uint64_t amount : threshold.amount) sum += amount;
    return sum >= threshold.request;
  });
}

}  // namespace

std::optional<HintFamily> MemoryFamily(const std::vector<NumaNodeMemory>& nodes, const MemoryRequests& requests,
                                       const std::vector<Draft::ReusableMemory>& reusable) {
  HintFamily family;
  if (nodes.size() <= kMaxWalkedNodes && AnyWrapped(nodes, requests)) {
    family = WalkedFamily(nodes, requests, reusable);
    if (family.listed.empty()) return std::nullopt;
    return family;
  }
  for (const NumaNodeMemory& node : nodes) {
    if (node.assignments == 0) {
      family.universe.Add(node.id);
    } else if (std::find(family.listed.begin(), family.listed.end(), node.cells) == family.listed.end() &&
               CanServe(nodes, node.cells, requests, reusable)) {
      family.listed.push_back(node.cells);
    }
  }
  std::vector<HintThreshold> on_empty_machine(requests.size());
  family.thresholds.resize(requests.size());
  for (size_t r = 0; r < requests.size(); ++r) {
    family.thresholds[r].request = on_empty_machine[r].request = requests[r].bytes;
    family.thresholds[r].amount.reserve(nodes.size());
    on_empty_machine[r].amount.reserve(nodes.size());
    for (const NumaNodeMemory& node : nodes) {
      const NodeMemory* entry = FindEntry(node, requests[r].resource);
      on_empty_machine[r].amount.push_back(entry == nullptr ? 0 : entry->allocatable);
      if (node.assignments == 0) family.thresholds[r].amount.push_back(entry == nullptr ? 0 : entry->free);
    }
  }
  if (family.listed.empty() && (family.universe.empty() || !Reaches(family.thresholds))) return std::nullopt;
  family.preferred_size = SmallestSize(on_empty_machine, static_cast<int>(nodes.size()));
  return family;
}

std::optional<Hint> NarrowestHint(const HintFamily& family, NumaSet required) {
  std::optional<NumaSet> narrowest;
  for (NumaSet set : family.listed) {
    if (required.IsSubsetOf(set) && (!narrowest || set.IsNarrowerThan(*narrowest))) narrowest = set;
  }
  if (required.IsSubsetOf(family.universe)) {
    const SetSearch search(family.thresholds);
    const Positions must = PositionsOf(family.universe, required);
    Positions allowed = FirstPositions(family.universe.size());
    const int widest = std::min(family.universe.size(), narrowest ? narrowest->size() : NumaSet::kMaxNode + 1);
    int size = std::max({family.min_size, std::popcount(must), 1});
    while (size <= widest && !search.Exists(allowed, must, size)) ++size;
    if (size <= widest) {
      // Drop the highest nodes that some set of this size can do without.
      for (int position = family.universe.size() - 1; position >= 0 && std::popcount(allowed) > size; --position) {
        if ((must & Bit(position)) != 0) continue;
        if (search.Exists(allowed & ~Bit(position), must, size)) allowed &= ~Bit(position);
      }
      const NumaSet set = NodesAt(family.universe, allowed);
      if (!narrowest || set.IsNarrowerThan(*narrowest)) narrowest = set;
    }
  }
  if (!narrowest) return std::nullopt;
  return Hint{*narrowest, narrowest->size() == family.preferred_size};
}

int SmallestSize(const std::vector<HintThreshold>& thresholds, int positions) {
  const SetSearch search(thresholds);
  int size = 1;
  while (size < positions && !search.Exists(FirstPositions(positions), 0, size)) ++size;
  return size;
}

}  // namespace podfence
