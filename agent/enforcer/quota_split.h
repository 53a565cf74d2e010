#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "agent/core/cpu_set.h"
#include "agent/core/node_state.h"
#include "agent/core/pod.h"

namespace podfence {

// One container of a pod with what the quota rules need of it, and what they say.
struct Member {
  const Container* container = nullptr;
  const ContainerAllocation* allocation = nullptr;
  bool one_shot = false;  // an init container that ends before the app containers start
  bool exclusive = false;
  bool apart = false;  // its cgroup stands elsewhere already, so it cannot be in the quota group
  int64_t weight = 0;  // cpu.weight
  // The answers.
  bool shares_quota = false;           // with others: it belongs in the quota group
  std::optional<int64_t> quota_milli;  // its own quota; none: max
  bool InGroup() const { return shares_quota && !apart; }
};

// The plan of one pod's quotas where exclusive containers have no bubble (design "Quotas"): the pod's own is max, and
// what exclusive CPUs leave of its limit holds the shared containers. Pure.
class QuotaSplit {
 public:
  QuotaSplit(std::vector<Member>& members, int64_t limit_milli) : members_(members), limit_milli_(limit_milli) {}

  void Run();

  // Some member is in the quota group, and what that is held to.
  bool grouped() const;
  int64_t group_milli() const { return group_milli_; }
  // Who has nothing left, in words.
  const std::vector<std::string>& starved() const { return starved_; }

 private:
  bool GiveOwnBudget(Member& member, const CpuSet& owned, const CpuSet& sidecars_own, bool shared_sidecar);
  void ShareOut(const std::vector<Member*>& group);
  template <typename Predicate>
  CpuSet OwnedBy(Predicate&& predicate) const;

  std::vector<Member>& members_;
  int64_t limit_milli_;
  int64_t rest_milli_ = 0;
  int64_t group_milli_ = 0;
  std::vector<std::string> starved_;
};

}  // namespace podfence
