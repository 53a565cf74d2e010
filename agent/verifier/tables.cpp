#include "agent/verifier/tables.h"

#include <set>

#include "agent/core/text.h"

namespace podfence {
namespace {

uint32_t EncodeKind(FenceKind kind) {
  switch (kind) {
    case FenceKind::kExclusive: return PODFENCE_EXCLUSIVE;
    case FenceKind::kShared: return PODFENCE_SHARED;
    case FenceKind::kPause: return PODFENCE_PAUSE;
    case FenceKind::kPods: return PODFENCE_PODS;
  }
  return PODFENCE_NO_FENCE;
}

}  // namespace

SlotBook::SlotBook(const TableSizes& sizes) {
  for (uint32_t slot = 1; slot < sizes.slots(); ++slot) free_.push_back(slot);
}

absl::StatusOr<SlotBook::Change> SlotBook::Assign(const std::vector<ExpectedFence>& fences) {
  Change change;
  std::set<std::pair<uint64_t, std::string>> expected;
  for (const ExpectedFence& fence : fences) expected.emplace(fence.cgroup_id, fence.cgroup);
  for (auto it = slots_.begin(); it != slots_.end();) {
    if (expected.contains(it->first)) {
      ++it;
      continue;
    }
    change.ended.push_back(it->second);
    it = slots_.erase(it);
  }
  for (const ExpectedFence& fence : fences) {
    auto [it, added] = slots_.try_emplace({fence.cgroup_id, fence.cgroup}, 0);
    if (added) {
      if (free_.empty()) {
        return absl::ResourceExhaustedError(
            Cat("the verifier's tables have no room for ", fences.size(), " fences at once; raise max_fences"));
      }
      it->second = free_.front();
      free_.pop_front();
      change.added.push_back(it->second);
    }
    change.slots.push_back(it->second);
  }
  // Behind the others, and only now: a slot never ends and begins in one change, when its counters are still read.
  free_.insert(free_.end(), change.ended.begin(), change.ended.end());
  return change;
}

absl::StatusOr<TableImage> EncodeTables(const std::vector<ExpectedFence>& fences, const std::vector<uint32_t>& slots,
                                        const TableSizes& sizes) {
  TableImage image;
  image.owners.resize(sizes.cpus, {});
  image.fences.resize(sizes.slots(), {});
  image.masks.resize(size_t{sizes.slots()} * sizes.mask_words(), 0);
  std::map<std::string, uint32_t> pods;
  for (size_t i = 0; i < fences.size(); ++i) {
    const ExpectedFence& fence = fences[i];
    const uint32_t slot = slots[i];
    const uint32_t pod = pods.try_emplace(fence.pod, static_cast<uint32_t>(pods.size()) + 1).first->second;
    if (fence.cgroup_id != 0) image.cgroups.insert_or_assign(fence.cgroup_id, slot);
    image.fences[slot] = {
        .kind = EncodeKind(fence.kind), .pod = pod, .has_mask = fence.cpus.empty() ? 0U : 1U, .padding = 0};
    for (int cpu : fence.cpus) {
      if (static_cast<uint32_t>(cpu) >= sizes.cpus) {
        return absl::InvalidArgumentError(Cat("fence of cgroup \"", fence.cgroup, "\" names CPU ", cpu,
                                              ", but this kernel has no CPU above ", sizes.cpus - 1));
      }
      image.masks[size_t{slot} * sizes.mask_words() + cpu / 64] |= uint64_t{1} << (cpu % 64);
      podfence_owner& owner = image.owners[cpu];
      if (fence.kind == FenceKind::kExclusive && owner.slot == 0) owner = {.slot = slot, .pod = pod};
    }
  }
  return image;
}

}  // namespace podfence
