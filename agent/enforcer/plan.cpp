#include "agent/enforcer/plan.h"

#include <algorithm>

#include "agent/core/text.h"
#include "agent/enforcer/kube_values.h"
#include "agent/enforcer/quota_split.h"

namespace podfence {
namespace {

constexpr uint64_t kMaxWeight = 10000;
// A container's name has no dot (RFC 1123 label), so this is none; and it must not start with "pod", which the kubelet
// would take for a pod's cgroup (cm/pod_container_manager_linux.go).
constexpr std::string_view kQuotaGroup = "containers.quota-shared";

NumaSet NodesOf(const std::vector<MemoryBlock>& blocks) {
  NumaSet nodes;
  for (const MemoryBlock& block : blocks) nodes |= block.numa;
  return nodes;
}

class PodPlanner {
 public:
  // place: null where the pod's cgroups are ours.
  PodPlanner(const PodAllocation& allocation, const PodPlace* place, const PlanContext& context, Plan& plan)
      : allocation_(allocation),
        pod_(*allocation.pod),
        place_(place),
        path_(place != nullptr ? place->path : Cat("pod", pod_.uid)),
        context_(context),
        plan_(plan) {}

  void Run() {
    ForEachContainer(pod_, [&](const Container& container, bool init) {
      const ContainerAllocation* held = allocation_.Find(container.name);
      if (held == nullptr) return;  // not admitted with the pod: nothing was decided for it
      Member& member = members_.emplace_back();
      member.container = &container;
      member.allocation = held;
      member.one_shot = init && !IsSidecar(container);
      member.exclusive = IsExclusive(*held);
      member.weight = static_cast<int64_t>(CpuWeight(ContainerCpuRequest(pod_, container)));
      if (const std::string* known = PlaceOf(container.name)) member.apart = !known->starts_with(QuotaGroupOf(path_));
      any_exclusive_ |= member.exclusive;
    });
    const Amounts limits = PodLimits(pod_);
    // With a bubble the shared containers are held by the pod shared pool's cpuset, so only limits of their own are
    // quotas; without exclusive containers every container has its own limit or its pod's, as the kubelet sets it.
    for (Member& member : members_) {
      if (member.exclusive) continue;
      member.quota_milli =
          HasOwnCpus() ? OwnCpuLimit(*member.container) : ContainerLimits(pod_, *member.container).cpu_milli;
    }
    QuotaSplit split(members_, limits.cpu_milli.value_or(0));
    if (any_exclusive_ && !allocation_.cpus && limits.cpu_milli) split.Run();

    AddPodFence(limits);
    if (split.grouped()) AddGroupFence(split.group_milli());
    for (const Member& member : members_) AddContainerFence(member);
    if (place_ != nullptr) AddGuestFences();
    for (const std::string& who : split.starved()) ReportStarved(who, *limits.cpu_milli);
  }

 private:
  bool HasOwnCpus() const { return any_exclusive_ || allocation_.cpus; }
  // Where the runtime made a container's cgroup; null: it did not, or nobody but us makes them.
  const std::string* PlaceOf(const std::string& container) const {
    if (place_ == nullptr) return nullptr;
    const auto found = place_->containers.find(container);
    return found == place_->containers.end() ? nullptr : &found->second;
  }
  CpuMax Quota(std::optional<int64_t> milli) const { return CpuMaxOf(milli, context_.quota_period_us); }
  // What is the kubelet's own is not held.
  HeldFiles Held() const {
    if (place_ == nullptr) return {};
    return {.mems = false, .cpu_max = HasOwnCpus(), .cpu_weight = false, .memory_max = false};
  }

  // Where what shares runs in this pod: with its shared containers.
  CpuSet SharedCpus() const {
    if (!allocation_.cpus) return plan_.shared;
    CpuSet rest = *allocation_.cpus;
    for (const Member& member : members_) {
      if (member.exclusive) rest -= *member.allocation->cpus;
    }
    return rest.empty() ? plan_.shared : rest;
  }

  void AddPodFence(const Amounts& limits) {
    Fence fence;
    fence.path = path_;
    fence.role = CgroupRole::kPod;
    fence.uid = pod_.uid;
    fence.held = Held();
    if (allocation_.cpus) {
      fence.cpus = *allocation_.cpus;
      fence.exclusive = true;
      fence.guest_cpus = SharedCpus();
    }
    if (place_ != nullptr && !plan_.shared.empty()) {
      fence.cpus |= SharedCpus();
      for (const Member& member : members_) {
        if (member.exclusive) fence.cpus |= *member.allocation->cpus;
      }
      fence.exclusive = allocation_.cpus && fence.cpus == *allocation_.cpus;
    }
    for (const Member& member : members_) {
      if (HasPartition(member)) fence.cpus_exclusive |= *member.allocation->cpus;
    }
    fence.cpu_max = Quota(HasOwnCpus() ? std::nullopt : limits.cpu_milli);
    fence.cpu_weight = CpuWeight(PodRequests(pod_).cpu_milli.value_or(0));
    fence.memory_max = AsBytes(limits.memory_bytes);
    plan_.fences.push_back(std::move(fence));
  }

  void AddGroupFence(int64_t group_milli) {
    Fence fence;
    fence.path = QuotaGroupOf(path_);
    fence.role = CgroupRole::kQuotaGroup;
    fence.uid = pod_.uid;
    fence.held = Held();
    fence.held.cpus = place_ == nullptr;
    fence.held.cpu_weight = true;  // the runtime makes it with the weight of one
    fence.cpu_max = Quota(group_milli);
    int64_t weight = 0;
    for (const Member& member : members_) {
      if (member.InGroup()) weight += member.weight;
    }
    fence.cpu_weight = std::min(static_cast<uint64_t>(weight), kMaxWeight);
    plan_.fences.push_back(std::move(fence));
  }

  void AddContainerFence(const Member& member) {
    Fence fence;
    const std::string* known = PlaceOf(member.container->name);
    if (place_ != nullptr && known == nullptr) return;
    if (member.shares_quota) fence.group = QuotaGroupOf(path_);
    fence.path = known != nullptr ? *known : Cat(member.InGroup() ? fence.group : path_, "/", member.container->name);
    fence.uid = pod_.uid;
    fence.container = member.container->name;
    fence.exclusive = member.exclusive;
    fence.held = Held();
    const bool own_set = member.allocation->cpus && !member.allocation->cpus->empty();
    fence.cpus = own_set ? *member.allocation->cpus : plan_.shared;
    if (HasPartition(member)) {
      fence.cpus_exclusive = fence.cpus;
      fence.partition = "root";
    }
    fence.mems = NodesOf(member.allocation->memory);
    fence.held.mems |= !fence.mems.empty();
    fence.cpu_max = Quota(member.quota_milli);
    fence.cpu_weight = static_cast<uint64_t>(member.weight);
    fence.memory_max = AsBytes(ContainerLimits(pod_, *member.container).memory_bytes);
    plan_.fences.push_back(std::move(fence));
  }

  // The sandbox and ephemeral containers, which no decision names.
  void AddGuestFences() {
    const auto add = [&](const std::string& path, CgroupRole role, const std::string& name) {
      Fence fence;
      fence.path = path;
      fence.role = role;
      fence.container = name;
      fence.uid = pod_.uid;
      fence.cpus = SharedCpus();
      fence.held = {.mems = false, .cpu_max = false, .cpu_weight = false, .memory_max = false};
      plan_.fences.push_back(std::move(fence));
    };
    if (!place_->pause.empty()) add(place_->pause, CgroupRole::kPause, "");
    for (const auto& [name, path] : place_->guests) add(path, CgroupRole::kContainer, name);
  }

  void ReportStarved(const std::string& who, int64_t limit_milli) {
    Finding finding;
    finding.kind = FindingKind::kNoQuotaLeft;
    finding.pod = pod_.uid;
    finding.path = path_;
    finding.file = std::string(kCpuMax);
    finding.expected = Quota(0).ToString();
    finding.message = Cat("pod ", pod_.FullName(), ": its exclusive CPUs use up its CPU limit of ", limit_milli,
                          "m; nothing is left for ", who, ", which run with ", kMinQuotaUs, " us in ",
                          context_.quota_period_us, " us. Raise the pod's CPU limit above its exclusive CPUs");
    plan_.findings.push_back(std::move(finding));
  }

  bool HasPartition(const Member& member) const { return context_.partitions && member.exclusive && !member.one_shot; }
  static std::optional<uint64_t> AsBytes(std::optional<int64_t> bytes) {
    if (!bytes) return std::nullopt;
    return static_cast<uint64_t>(*bytes);
  }

  const PodAllocation& allocation_;
  const Pod& pod_;
  const PodPlace* place_;
  std::string path_;
  const PlanContext& context_;
  Plan& plan_;
  std::vector<Member> members_;
  bool any_exclusive_ = false;
};

// The cgroup that holds all pods. As the kubelet weighs them together against the host: by the CPUs that are not the
// system's (cm/node_container_manager_linux.go getCgroupConfig). One of the kubelet's is its own to weigh, and it
// widens its cpuset at each start.
Fence TopFence(const PlanContext& context) {
  Fence top;
  top.role = CgroupRole::kTop;
  top.cpu_weight = CpuWeight(1000 * static_cast<int64_t>((context.all - context.reserved).size()));
  if (context.places != nullptr) {
    top.held = {.cpus = false, .mems = false, .cpu_weight = false, .memory_max = false};
  }
  return top;
}

Fence ClassFence(const std::string& path, const CpuSet& cpus) {
  Fence fence;
  fence.path = path;
  fence.role = CgroupRole::kClass;
  fence.cpus = cpus;
  fence.held = {.mems = false, .cpu_max = false, .cpu_weight = false, .memory_max = false};
  return fence;
}

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

std::string QuotaGroupOf(std::string_view pod) {
  constexpr std::string_view kSlice = ".slice";
  if (!pod.ends_with(kSlice)) return Cat(pod, "/", kQuotaGroup);
  // systemd nests slices by the dashes of their names.
  std::string_view stem = pod.substr(pod.rfind('/') + 1);
  stem.remove_suffix(kSlice.size());
  return Cat(pod, "/", stem, "-shared.slice");
}

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
  plan.fences.push_back(TopFence(context));
  plan.runtime_cgroups = context.places != nullptr;
  if (context.places != nullptr) {
    for (const std::string& path : context.places->classes) plan.fences.push_back(ClassFence(path, plan.shared));
  }
  CpuSet partitions;
  for (const auto& [uid, allocation] : state.pods) {
    const PodPlace* place = nullptr;
    if (context.places != nullptr) {
      const auto found = context.places->pods.find(uid);
      if (found == context.places->pods.end()) continue;  // in a QoS class, or not there yet
      place = &found->second;
    }
    const size_t pod = plan.fences.size();
    PodPlanner(allocation, place, context, plan).Run();
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
    case FindingKind::kCpuOffline: return "cpu_offline";
    case FindingKind::kNoPartition: return "no_partition";
  }
  return "";
}

}  // namespace podfence
