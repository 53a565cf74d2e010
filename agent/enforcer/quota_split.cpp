#include "agent/enforcer/quota_split.h"

#include <algorithm>

#include "agent/core/text.h"
#include "agent/enforcer/kube_values.h"

namespace podfence {

void QuotaSplit::Run() {
  const CpuSet owned = OwnedBy([](const Member& member) { return !member.one_shot; });
  rest_milli_ = limit_milli_ - 1000 * static_cast<int64_t>(owned.size());
  std::vector<Member*> group;
  bool shared_sidecar = false;  // one that runs beside the init containers after it
  CpuSet sidecars_own;
  for (Member& member : members_) {
    if (member.exclusive) {
      if (IsSidecar(*member.container)) sidecars_own |= *member.allocation->cpus;
      continue;
    }
    if (!member.one_shot || !GiveOwnBudget(member, owned, sidecars_own, shared_sidecar)) group.push_back(&member);
    if (!member.one_shot && IsSidecar(*member.container)) shared_sidecar = true;
  }
  if (!group.empty() && rest_milli_ <= 0) starved_.push_back("the shared containers");
  if (group.size() > 1) return ShareOut(group);
  for (Member* member : group) {
    member->quota_milli = std::min(rest_milli_, OwnCpuLimit(*member->container).value_or(rest_milli_));
  }
}

bool QuotaSplit::grouped() const { return std::ranges::any_of(members_, &Member::InGroup); }

// The group shares what is left; those that stand apart from it take their part by weight with them.
void QuotaSplit::ShareOut(const std::vector<Member*>& group) {
  int64_t weights = 0;
  for (const Member* member : group) weights += member->weight;
  group_milli_ = rest_milli_;
  for (Member* member : group) {
    member->shares_quota = true;
    if (!member->apart) continue;
    const int64_t part = std::max<int64_t>(rest_milli_, 0) * member->weight / std::max<int64_t>(weights, 1);
    group_milli_ -= part;
    member->quota_milli = std::min(part, OwnCpuLimit(*member->container).value_or(part));
  }
}

// A one-shot init container runs before the app containers, so their exclusive CPUs' time is there for it; and all
// that is left beside, unless a shared sidecar needs it by then. False: there is no such time, it shares the group's.
bool QuotaSplit::GiveOwnBudget(Member& member, const CpuSet& owned, const CpuSet& sidecars_own, bool shared_sidecar) {
  const int64_t lent = 1000 * static_cast<int64_t>((owned - sidecars_own).size());
  if (shared_sidecar && lent == 0) return false;
  const int64_t budget = lent + (shared_sidecar ? 0 : rest_milli_);
  if (budget <= 0) starved_.push_back(Cat("init container ", member.container->name));
  member.quota_milli = std::min(budget, OwnCpuLimit(*member.container).value_or(budget));
  return true;
}

template <typename Predicate>
CpuSet QuotaSplit::OwnedBy(Predicate&& predicate) const {
  CpuSet cpus;
  for (const Member& member : members_) {
    if (member.exclusive && predicate(member)) cpus |= *member.allocation->cpus;
  }
  return cpus;
}

}  // namespace podfence
