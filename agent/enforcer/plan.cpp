#include "agent/enforcer/plan.h"

#include <algorithm>

#include "agent/core/text.h"
#include "agent/enforcer/kube_values.h"

namespace podfence {
namespace {

constexpr uint64_t kMaxWeight = 10000;
// A container's name has no dot (RFC 1123 label), so this is none; and it must not start with "pod", which the kubelet
// would take for a pod's cgroup (cm/pod_container_manager_linux.go).
constexpr std::string_view kQuotaGroup = "containers.quota-shared";

bool IsExclusive(const ContainerAllocation& allocation) {
  return allocation.cpu_isolation == Isolation::kContainer && allocation.cpus && !allocation.cpus->empty();
}

NumaSet NodesOf(const std::vector<MemoryBlock>& blocks) {
  NumaSet nodes;
  for (const MemoryBlock& block : blocks) nodes |= block.numa;
  return nodes;
}

std::string PodPath(std::string_view uid) { return Cat("pod", uid); }

// One container of a pod with what the quota rules need of it.
struct Member {
  const Container* container = nullptr;
  const ContainerAllocation* allocation = nullptr;
  bool one_shot = false;  // an init container that ends before the app containers start
  bool exclusive = false;
  bool in_group = false;               // shares the quota group
  std::optional<int64_t> quota_milli;  // its own quota; none: max
};

// The plan of one pod's quotas where exclusive containers have no bubble (design "Quotas"): the pod's own is max, and
// what exclusive CPUs leave of its limit holds the shared containers.
class QuotaSplit {
 public:
  QuotaSplit(std::vector<Member>& members, int64_t limit_milli) : members_(members), limit_milli_(limit_milli) {}

  void Run() {
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
    grouped_ = group.size() > 1;
    for (Member* member : group) {
      member->in_group = grouped_;
      if (!grouped_) member->quota_milli = std::min(rest_milli_, OwnCpuLimit(*member->container).value_or(rest_milli_));
    }
  }

  bool grouped() const { return grouped_; }
  int64_t rest_milli() const { return rest_milli_; }
  // Who has nothing left, in words.
  const std::vector<std::string>& starved() const { return starved_; }

 private:
  // A one-shot init container runs before the app containers, so their exclusive CPUs' time is there for it; and all
  // that is left beside, unless a shared sidecar needs it by then. False: there is no such time, it shares the group's.
  bool GiveOwnBudget(Member& member, const CpuSet& owned, const CpuSet& sidecars_own, bool shared_sidecar) {
    const int64_t lent = 1000 * static_cast<int64_t>((owned - sidecars_own).size());
    if (shared_sidecar && lent == 0) return false;
    const int64_t budget = lent + (shared_sidecar ? 0 : rest_milli_);
    if (budget <= 0) starved_.push_back(Cat("init container ", member.container->name));
    member.quota_milli = std::min(budget, OwnCpuLimit(*member.container).value_or(budget));
    return true;
  }

  template <typename Predicate>
  CpuSet OwnedBy(Predicate&& predicate) const {
    CpuSet cpus;
    for (const Member& member : members_) {
      if (member.exclusive && predicate(member)) cpus |= *member.allocation->cpus;
    }
    return cpus;
  }

  std::vector<Member>& members_;
  int64_t limit_milli_;
  int64_t rest_milli_ = 0;
  bool grouped_ = false;
  std::vector<std::string> starved_;
};

CpuMax Quota(std::optional<int64_t> milli) {
  CpuMax max;
  max.period_us = kQuotaPeriodUs;
  if (milli) max.quota_us = QuotaUs(*milli);
  return max;
}

class PodPlanner {
 public:
  PodPlanner(const PodAllocation& allocation, bool partitions, Plan& plan)
      : allocation_(allocation), pod_(*allocation.pod), partitions_(partitions), plan_(plan) {}

  void Run() {
    bool any_exclusive = false;
    ForEachContainer(pod_, [&](const Container& container, bool init) {
      const ContainerAllocation* held = allocation_.Find(container.name);
      if (held == nullptr) return;  // not admitted with the pod: nothing was decided for it
      const bool exclusive = IsExclusive(*held);
      any_exclusive |= exclusive;
      members_.push_back({&container, held, init && !IsSidecar(container), exclusive, false, std::nullopt});
    });
    const Amounts limits = PodLimits(pod_);
    // With a bubble the shared containers are held by the pod shared pool's cpuset, so only limits of their own are
    // quotas; without exclusive containers every container has its own limit or its pod's, as the kubelet sets it.
    for (Member& member : members_) {
      if (member.exclusive) continue;
      member.quota_milli = allocation_.cpus || any_exclusive ? OwnCpuLimit(*member.container)
                                                             : ContainerLimits(pod_, *member.container).cpu_milli;
    }
    QuotaSplit split(members_, limits.cpu_milli.value_or(0));
    if (any_exclusive && !allocation_.cpus && limits.cpu_milli) split.Run();

    AddPodFence(limits, any_exclusive);
    if (split.grouped()) AddGroupFence(split.rest_milli());
    for (const Member& member : members_) AddContainerFence(member);
    for (const std::string& who : split.starved()) ReportStarved(who, *limits.cpu_milli);
  }

 private:
  void AddPodFence(const Amounts& limits, bool any_exclusive) {
    Fence fence;
    fence.path = PodPath(pod_.uid);
    fence.role = CgroupRole::kPod;
    fence.uid = pod_.uid;
    if (allocation_.cpus) {
      fence.cpus = *allocation_.cpus;
      fence.exclusive = true;
    }
    for (const Member& member : members_) {
      if (HasPartition(member)) fence.cpus_exclusive |= *member.allocation->cpus;
    }
    fence.cpu_max = Quota(any_exclusive || allocation_.cpus ? std::nullopt : limits.cpu_milli);
    fence.cpu_weight = CpuWeight(PodRequests(pod_).cpu_milli.value_or(0));
    fence.memory_max = AsBytes(limits.memory_bytes);
    plan_.fences.push_back(std::move(fence));
  }

  void AddGroupFence(int64_t rest_milli) {
    Fence fence;
    fence.path = Cat(PodPath(pod_.uid), "/", kQuotaGroup);
    fence.role = CgroupRole::kQuotaGroup;
    fence.uid = pod_.uid;
    fence.cpu_max = Quota(rest_milli);
    uint64_t weight = 0;
    for (const Member& member : members_) {
      if (member.in_group) weight += WeightOf(member);
    }
    fence.cpu_weight = std::min(weight, kMaxWeight);
    plan_.fences.push_back(std::move(fence));
  }

  void AddContainerFence(const Member& member) {
    Fence fence;
    const std::string parent = member.in_group ? Cat(PodPath(pod_.uid), "/", kQuotaGroup) : PodPath(pod_.uid);
    fence.path = Cat(parent, "/", member.container->name);
    fence.uid = pod_.uid;
    fence.container = member.container->name;
    fence.exclusive = member.exclusive;
    const bool own_set = member.allocation->cpus && !member.allocation->cpus->empty();
    fence.cpus = own_set ? *member.allocation->cpus : plan_.shared;
    if (HasPartition(member)) {
      fence.cpus_exclusive = fence.cpus;
      fence.partition = "root";
    }
    fence.mems = NodesOf(member.allocation->memory);
    fence.cpu_max = Quota(member.quota_milli);
    fence.cpu_weight = WeightOf(member);
    fence.memory_max = AsBytes(ContainerLimits(pod_, *member.container).memory_bytes);
    plan_.fences.push_back(std::move(fence));
  }

  void ReportStarved(const std::string& who, int64_t limit_milli) {
    Finding finding;
    finding.kind = FindingKind::kNoQuotaLeft;
    finding.pod = pod_.uid;
    finding.path = PodPath(pod_.uid);
    finding.file = std::string(kCpuMax);
    finding.expected = Quota(0).ToString();
    finding.message = Cat("pod ", pod_.FullName(), ": its exclusive CPUs use up its CPU limit of ", limit_milli,
                          "m; nothing is left for ", who, ", which run with ", kMinQuotaUs, " us in ", kQuotaPeriodUs,
                          " us. Raise the pod's CPU limit above its exclusive CPUs");
    plan_.findings.push_back(std::move(finding));
  }

  bool HasPartition(const Member& member) const { return partitions_ && member.exclusive && !member.one_shot; }
  uint64_t WeightOf(const Member& member) const { return CpuWeight(ContainerCpuRequest(pod_, *member.container)); }
  static std::optional<uint64_t> AsBytes(std::optional<int64_t> bytes) {
    if (!bytes) return std::nullopt;
    return static_cast<uint64_t>(*bytes);
  }

  const PodAllocation& allocation_;
  const Pod& pod_;
  bool partitions_;
  Plan& plan_;
  std::vector<Member> members_;
};

// Where node-shared containers and the host run.
void PlanPools(const NodeState& state, const PlanContext& context, Plan& plan) {
  if (!context.cpu_manager) {
    // Nothing is fenced, but for what decisions of an earlier configuration still hold.
    if (!plan.exclusive.empty()) plan.shared = plan.host = context.all - plan.exclusive;
    return;
  }
  const CpuSet reserved = context.reserved - plan.exclusive;
  plan.host = state.shared_cpus | reserved;
  plan.shared = state.shared_cpus;
  if (!plan.shared.empty()) return;
  plan.shared = reserved;
  Finding finding;
  finding.kind = FindingKind::kEmptyNodePool;
  finding.expected = reserved.ToString();
  finding.message =
      reserved.empty()
          ? "the node shared pool is empty and no CPU is reserved: shared containers and the host cannot be kept off "
            "exclusive CPUs. Reserve CPUs (reservedSystemCPUs)"
          : Cat("the node shared pool is empty (strict-cpu-reservation gives every CPU that is not reserved to "
                "exclusive containers): shared containers are held on the reserved CPUs ",
                reserved.ToString());
  plan.findings.push_back(std::move(finding));
}

}  // namespace

const Fence* Plan::Find(std::string_view path) const {
  for (const Fence& fence : fences) {
    if (fence.path == path) return &fence;
  }
  return nullptr;
}

const Fence* Plan::FindContainer(std::string_view uid, std::string_view container) const {
  for (const Fence& fence : fences) {
    if (fence.role == CgroupRole::kContainer && fence.uid == uid && fence.container == container) return &fence;
  }
  return nullptr;
}

Plan MakePlan(const NodeState& state, const PlanContext& context) {
  Plan plan;
  for (const auto& [uid, allocation] : state.pods) {
    if (allocation.cpus) plan.exclusive |= *allocation.cpus;
    for (const ContainerAllocation& held : allocation.containers) {
      if (IsExclusive(held)) plan.exclusive |= *held.cpus;
    }
  }
  PlanPools(state, context, plan);
  // As the kubelet weighs all pods together against the host: by the CPUs that are not the system's
  // (cm/node_container_manager_linux.go getCgroupConfig).
  Fence top;
  top.role = CgroupRole::kTop;
  top.cpu_weight = CpuWeight(1000 * static_cast<int64_t>((context.all - context.reserved).size()));
  plan.fences.push_back(std::move(top));
  CpuSet partitions;
  for (const auto& [uid, allocation] : state.pods) {
    const size_t pod = plan.fences.size();
    PodPlanner(allocation, context.partitions, plan).Run();
    partitions |= plan.fences[pod].cpus_exclusive;
  }
  plan.fences.front().cpus_exclusive = std::move(partitions);
  return plan;
}

std::string_view FindingKindName(FindingKind kind) {
  switch (kind) {
    case FindingKind::kDrift: return "drift";
    case FindingKind::kStillShared: return "still_shared";
    case FindingKind::kNotEffective: return "not_effective";
    case FindingKind::kEmptyNodePool: return "empty_node_pool";
    case FindingKind::kNoQuotaLeft: return "no_quota_left";
    case FindingKind::kUnknownCgroup: return "unknown_cgroup";
    case FindingKind::kQuotaAbove: return "quota_above";
    case FindingKind::kHostNotFenced: return "host_not_fenced";
    case FindingKind::kWriteFailed: return "write_failed";
    case FindingKind::kMemoryOutside: return "memory_outside";
    case FindingKind::kNoPartition: return "no_partition";
  }
  return "";
}

}  // namespace podfence
