#include "agent/enforcer/enforcer.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "agent/cgroup/control.h"
#include "agent/core/text.h"
#include "agent/enforcer/give_back.h"
#include "agent/enforcer/judge.h"
#include "agent/enforcer/offline.h"
#include "agent/enforcer/pass.h"
#include "agent/enforcer/tree.h"

namespace podfence {
namespace {

constexpr std::string_view kPodPrefix = "pod";

// Whether the kernel says what was written; the scheduling domain, which the kernel may refuse, apart.
absl::Status CheckFenced(const Cgroup& cgroup, const Fence& fence, const FenceState& state, const WholeSets& whole) {
  const std::vector<FileDifference> left = Compare(fence, state.now, whole);
  if (!left.empty() && !IsPartitionFile(left[0].file)) {
    return absl::AbortedError(Cat("fence ", cgroup.path(), ": wrote ", left[0].file, "=", left[0].expected,
                                  ", but it says ", left[0].found, ": someone else writes it too"));
  }
  const EffectiveRange expected = ExpectEffective(fence.role, fence.cpus, state.now.cpus_exclusive, whole);
  if (!fence.cpus.empty() && !expected.Holds(state.effective)) {
    return absl::FailedPreconditionError(Cat("fence ", cgroup.path(), ": wrote cpuset.cpus=", fence.cpus.ToString(),
                                             ", but effective are ", state.effective.ToString(),
                                             ": a cgroup above allows fewer"));
  }
  return absl::OkStatus();
}

// Writes every file of a cgroup's fence but the scheduling domain's, which the next pass makes, and reads them back:
// for a cgroup that nobody lives in yet, so in any order. Returns what stands in the files then.
absl::StatusOr<Fence> FenceAndCheck(const Cgroup& cgroup, const Fence& fence, const WholeSets& whole) {
  absl::StatusOr<FenceState> state = ReadFence(cgroup, fence.held);
  if (!state.ok()) return state.status();
  for (const FileDifference& difference : Compare(fence, state->now, whole)) {
    if (IsPartitionFile(difference.file)) continue;
    const bool set = difference.file == kCpusetCpus || difference.file == kCpusetMems;
    absl::Status status = set ? WriteCpuset(cgroup, difference.file, difference.expected, whole)
                              : cgroup.Write(difference.file, difference.expected);
    if (!status.ok()) return status;
  }
  state = ReadFence(cgroup, fence.held);
  if (!state.ok()) return state.status();
  if (absl::Status status = CheckFenced(cgroup, fence, *state, whole); !status.ok()) return status;
  return std::move(state->now);
}

}  // namespace

struct Enforcer::Impl {
  Cgroup root;
  std::string own_name;
  PlanContext context;
  bool runtime_cgroups = false;
  std::optional<Places> places;  // with runtime_cgroups, once they are known
  std::optional<Cgroup> own;     // after Prepare; of the kubelet's once it is there
  std::optional<HostFence> host;
  LeftFences left;
  std::string sys_root;
  bool repair = true;
  bool partitions = true;
  CpuSet offline;  // as of the last Whole
  // What the last pass read back.
  WholeSets whole;
  std::vector<Runner> runners;

  absl::StatusOr<WholeSets> Whole();

  absl::Status CheckPrepared() const {
    if (own) return absl::OkStatus();
    return absl::FailedPreconditionError("the enforcer's own cgroup is not made yet: call Prepare first");
  }

  PlanContext Context() const {
    PlanContext with = context;
    with.places = places ? &*places : nullptr;
    return with;
  }
  Plan PlanFor(const NodeState& state) const { return MakePlan(state, Context()); }
  absl::Status ForgetPod(std::string_view uid);
  absl::Status TakeOwn(Cgroup cgroup);
  absl::Status FindOwn();
  absl::StatusOr<EnforceReport> Run(const Plan& plan, bool sweep);
  void PassBelow(const Plan& plan, std::vector<TreeNode> nodes, bool sweep, EnforceReport& report);
  absl::Status CheckNobodyShares(const Plan& plan, const Fence& fence, const std::vector<Runner>& others) const;
  absl::StatusOr<Cgroup> OpenFenced(const Cgroup& parent, std::string_view name, const Fence& fence,
                                    const WholeSets& whole);
  absl::StatusOr<Cgroup> ParentOf(const Plan& plan, const Fence& fence, const WholeSets& whole);
  absl::Status RemoveLenders(const Plan& plan, const Fence& owner, const Cgroup& parent);
  absl::Status PassControllersOn(const Plan& plan, EnforceReport& report) const;
};

// An own cgroup that holds others: made, fenced, controllers passed on.
absl::StatusOr<Cgroup> Enforcer::Impl::OpenFenced(const Cgroup& parent, std::string_view name, const Fence& fence,
                                                  const WholeSets& whole) {
  absl::StatusOr<Cgroup> cgroup = parent.CreateChild(name);
  if (!cgroup.ok()) return cgroup.status();
  absl::StatusOr<Fence> now = FenceAndCheck(*cgroup, fence, whole);
  if (!now.ok()) return now.status();
  if (absl::Status status = EnableControllers(*cgroup); !status.ok()) return status;
  left[fence.path] = {cgroup->id(), *std::move(now)};
  return cgroup;
}

// The kernel keeps no partition beside a cgroup that names its CPUs. One-shot init containers had them before their
// owner and have ended: their empty cgroups go.
absl::Status Enforcer::Impl::RemoveLenders(const Plan& plan, const Fence& owner, const Cgroup& parent) {
  if (owner.partition != "root") return absl::OkStatus();
  for (const Fence& fence : plan.fences) {
    if (fence.role != CgroupRole::kContainer || fence.uid != owner.uid || fence.partition == "root") continue;
    if (!fence.exclusive || !fence.cpus.Intersects(owner.cpus)) continue;
    if (absl::Status status = parent.RemoveChild(fence.container); !status.ok()) return status;
    left.erase(fence.path);
  }
  return absl::OkStatus();
}

// The cgroup that a container's is made in: its pod's, or the pod's quota group.
absl::StatusOr<Cgroup> Enforcer::Impl::ParentOf(const Plan& plan, const Fence& fence, const WholeSets& whole) {
  const std::string pod_name = Cat(kPodPrefix, fence.uid);
  absl::StatusOr<Cgroup> pod = OpenFenced(*own, pod_name, *plan.Find(pod_name), whole);
  if (!pod.ok()) return pod.status();
  const std::string parent_path = fence.path.substr(0, fence.path.rfind('/'));
  if (parent_path == pod_name) return pod;
  return OpenFenced(*pod, parent_path.substr(pod_name.size() + 1), *plan.Find(parent_path), whole);
}

absl::Status Enforcer::Impl::CheckNobodyShares(const Plan& plan, const Fence& fence,
                                               const std::vector<Runner>& others) const {
  const CpuSet closed = fence.cpus & plan.exclusive;
  if (closed.empty()) return absl::OkStatus();
  const auto shared_by = [&](const std::string& path, const CpuSet& cpus) {
    return absl::FailedPreconditionError(Cat("container ", fence.container, " of pod ", fence.uid, " must not start: ",
                                             path, " can still run on CPUs ", cpus.ToString(), ", which are not its"));
  };
  for (const Runner& other : others) {
    const CpuSet foreign = (other.effective & closed) - other.own;
    if (!foreign.empty()) return shared_by(other.path, foreign);
  }
  if (!host) return absl::OkStatus();
  const absl::StatusOr<std::vector<HostUser>> users = FindHostUsers(root, own_name, closed);
  if (!users.ok()) return users.status();
  return users->empty() ? absl::OkStatus() : shared_by(users->front().path, users->front().effective & closed);
}

// Where someone switched a controller off below us, its files are gone and the processes run unfenced: it is switched
// on again, and the pass that follows finds its files as new ones.
absl::Status Enforcer::Impl::PassControllersOn(const Plan& plan, EnforceReport& report) const {
  const absl::StatusOr<std::vector<Cgroup>> parents = OpenParents(*own, plan);
  if (!parents.ok()) return parents.status();
  for (const Cgroup& parent : *parents) {
    absl::StatusOr<std::optional<Finding>> finding = FindControllersOff(parent);
    if (!finding.ok()) return finding.status();
    if (!*finding) continue;
    if (repair) {
      ++report.writes;
      const absl::Status status = EnableControllers(parent);
      (*finding)->repaired = status.ok();
      (*finding)->message += status.ok() ? "; switched on again" : Cat("; ", ToStd(status.message()));
    } else {
      absl::StrAppend(&(*finding)->message, "; ", ToAbsl(kNotRepaired));
    }
    if (!HoldsFenced(*own, plan, parent)) continue;
    report.findings.push_back(**std::move(finding));
  }
  return absl::OkStatus();
}

absl::Status Enforcer::Impl::TakeOwn(Cgroup cgroup) {
  if (absl::Status status = EnableControllers(cgroup); !status.ok()) return status;
  context.partitions = partitions && cgroup.Has(kCpusetCpusExclusive);
  if (partitions && !context.partitions) {
    spdlog::warn(
        "this kernel has no {} (Linux 6.7): exclusive containers have no scheduling domain of their own, and the "
        "scheduler may leave one of their CPUs idle where its SMT sibling is busy. full-pcpus-only avoids that",
        kCpusetCpusExclusive);
  }
  own = std::move(cgroup);
  return absl::OkStatus();
}

// The kubelet makes its cgroup when it starts, which may be after us, and a new one where that was removed.
absl::Status Enforcer::Impl::FindOwn() {
  if (!runtime_cgroups) return CheckPrepared();
  if (!places) return absl::OkStatus();
  absl::StatusOr<Cgroup> now = root.OpenChild(own_name);
  if (absl::IsNotFound(now.status())) {
    own.reset();
    return absl::OkStatus();
  }
  if (!now.ok()) return now.status();
  if (own && own->id() == now->id()) return absl::OkStatus();
  return TakeOwn(*std::move(now));
}

// The runtime removes the cgroups; as long as something lives in them the pod's CPUs are not free.
absl::Status Enforcer::Impl::ForgetPod(std::string_view uid) {
  if (!own) return absl::OkStatus();
  const auto place = places->pods.find(uid);
  if (place == places->pods.end()) return absl::OkStatus();
  const absl::StatusOr<Cgroup> cgroup = OpenBelow(*own, place->second.path);
  if (absl::IsNotFound(cgroup.status())) return absl::OkStatus();
  if (!cgroup.ok()) return cgroup.status();
  const absl::StatusOr<bool> populated = IsPopulated(*cgroup);
  if (absl::IsNotFound(populated.status())) return absl::OkStatus();
  if (!populated.ok()) return populated.status();
  if (!*populated) return absl::OkStatus();
  return absl::FailedPreconditionError(Cat("processes still live in ", cgroup->path()));
}

// What is switched off, nobody may use: partitions that lost a CPU go on naming it.
absl::StatusOr<WholeSets> Enforcer::Impl::Whole() {
  absl::StatusOr<CpuSet> off = ReadOfflineCpus(sys_root);
  if (!off.ok()) return off.status();
  absl::StatusOr<WholeSets> whole = ReadWhole(root, own_name);
  if (whole.ok()) whole->cpus -= *off;
  offline = *std::move(off);
  return whole;
}

absl::StatusOr<EnforceReport> Enforcer::Impl::Run(const Plan& plan, bool sweep) {
  absl::StatusOr<WholeSets> read_whole = Whole();
  if (!read_whole.ok()) return read_whole.status();
  whole = *std::move(read_whole);
  EnforceReport report;
  report.findings = PlanFindings(plan, root, own_name);
  report.shared = plan.shared;
  report.host = plan.host;
  std::vector<TreeNode> nodes;
  if (own) {
    if (absl::Status status = PassControllersOn(plan, report); !status.ok()) return status;
    absl::StatusOr<std::vector<TreeNode>> read = ReadTree(*own, plan);
    if (!read.ok()) return read.status();
    nodes = *std::move(read);
  }
  PassBelow(plan, std::move(nodes), sweep, report);
  absl::StatusOr<std::optional<Finding>> quota = FindQuotaAbove(root, plan);
  if (quota.ok() && *quota) report.findings.push_back(**std::move(quota));
  return report;
}

void Enforcer::Impl::PassBelow(const Plan& plan, std::vector<TreeNode> nodes, bool sweep, EnforceReport& report) {
  std::vector<Unseen> unseen;  // an inspection tells of it; here it is no reason to stop
  // Before a repair of cpuset.mems lets the kernel bring it back.
  if (sweep) std::ranges::move(FindMemoryOutside(nodes, unseen), std::back_inserter(report.findings));
  std::ranges::move(FindCpusOffline(nodes, offline), std::back_inserter(report.findings));
  Pass pass(plan, whole, std::move(nodes), {.repair = repair, .offline = offline}, report);
  pass.FindDrift(left);
  pass.Vacate();
  if (host) {
    const bool both = host->applied() && host->applied()->Intersects(plan.host);
    host->Apply(both ? *host->applied() & plan.host : plan.host, sweep, report.findings);
  }
  pass.HandOver();
  pass.Grow();
  if (host && (host->applied() != plan.host || pass.partitioned())) {
    host->Apply(plan.host, pass.partitioned(), report.findings);
  }
  pass.MoveMemory();
  pass.Report();
  left = pass.Left();
  runners = RunnersOf(pass.nodes());
}

Enforcer::Enforcer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Enforcer::Enforcer(Enforcer&&) noexcept = default;
Enforcer& Enforcer::operator=(Enforcer&&) noexcept = default;
Enforcer::~Enforcer() = default;

absl::StatusOr<Enforcer> Enforcer::Create(const std::string& cgroup_root, const Machine& machine,
                                          EnforcerOptions options) {
  absl::StatusOr<Cgroup> root = OpenHierarchy(cgroup_root);
  if (!root.ok()) return root.status();
  std::optional<HostFence> host;
  if (options.host) {
    absl::StatusOr<Cgroup> handle = root->Duplicate();
    if (!handle.ok()) return handle.status();
    absl::StatusOr<HostFence> fence = HostFence::Create(*std::move(options.host), *std::move(handle), options.name);
    if (!fence.ok()) return fence.status();
    host = *std::move(fence);
  }
  PlanContext context{.all = machine.Cpus(),
                      .reserved = std::move(options.reserved),
                      .cpu_manager = options.cpu_manager,
                      .partitions = false,
                      .places = nullptr,
                      .quota_period_us = options.quota_period_us,
                      .kubelet_quota = options.kubelet_quota};
  return Enforcer(std::unique_ptr<Impl>(new Impl{.root = *std::move(root),
                                                 .own_name = std::move(options.name),
                                                 .context = std::move(context),
                                                 .runtime_cgroups = options.runtime_cgroups,
                                                 .places = std::nullopt,
                                                 .own = std::nullopt,
                                                 .host = std::move(host),
                                                 .left = {},
                                                 .sys_root = std::move(options.sys_root),
                                                 .repair = options.repair,
                                                 .partitions = options.partitions,
                                                 .offline = {},
                                                 .whole = {},
                                                 .runners = {}}));
}

absl::Status Enforcer::Prepare() {
  if (absl::Status status = EnableControllers(impl_->root); !status.ok()) return status;
  if (impl_->runtime_cgroups) return impl_->FindOwn();
  absl::StatusOr<Cgroup> own = impl_->root.CreateChild(impl_->own_name);
  if (!own.ok()) return own.status();
  return impl_->TakeOwn(*std::move(own));
}

void Enforcer::SetPlaces(Places places) {
  if (!places.top.empty() && places.top != impl_->own_name) {
    impl_->own_name = places.top;
    impl_->own.reset();
    impl_->left.clear();
    if (impl_->host) impl_->host->SetOwn(places.top);
  }
  impl_->places = std::move(places);
}

absl::Status Enforcer::FreeEnded(std::string_view uid) {
  if (!impl_->own || !impl_->places) return absl::OkStatus();
  const auto place = impl_->places->pods.find(uid);
  if (place == impl_->places->pods.end()) return absl::OkStatus();
  const absl::StatusOr<Cgroup> pod = OpenBelow(*impl_->own, place->second.path);
  if (!pod.ok()) return absl::IsNotFound(pod.status()) ? absl::OkStatus() : absl::Status(pod.status());
  const absl::StatusOr<std::vector<std::string>> children = pod->Children();
  if (!children.ok()) return children.status();
  absl::Status status;
  for (const std::string& name : *children) {
    const std::string path = Cat(place->second.path, "/", name);
    if (std::ranges::any_of(place->second.containers, [&](const auto& known) { return known.second == path; }))
      continue;
    const absl::StatusOr<Cgroup> child = pod->OpenChild(name);
    if (!child.ok() || IsPopulated(*child).value_or(true)) continue;
    const absl::StatusOr<std::string> partition = child->Read(kCpusetCpusPartition);
    if (!partition.ok() || *partition == "member") continue;
    status.Update(child->Write(kCpusetCpusPartition, "member"));
    status.Update(child->Write(kCpusetCpusExclusive, ""));
    status.Update(child->Write(kCpusetCpus, ""));
  }
  return status;
}

absl::StatusOr<EnforceReport> Enforcer::Apply(const NodeState& state) {
  if (absl::Status status = impl_->FindOwn(); !status.ok()) return status;
  return impl_->Run(impl_->PlanFor(state), false);
}

absl::StatusOr<EnforceReport> Enforcer::Reconcile(const NodeState& state) {
  if (absl::Status status = impl_->FindOwn(); !status.ok()) return status;
  return impl_->Run(impl_->PlanFor(state), true);
}

absl::StatusOr<EnforceReport> Enforcer::GiveBack(const NodeState& state) {
  if (!impl_->runtime_cgroups) return absl::FailedPreconditionError("only cgroups of a runtime can be given back");
  if (absl::Status status = impl_->FindOwn(); !status.ok()) return status;
  if (!impl_->places) return absl::StatusOr<EnforceReport>(absl::in_place);  // nothing was taken
  return impl_->Run(GiveBackPlan(state, impl_->Context()), false);
}

absl::StatusOr<Cgroup> Enforcer::CreateContainerCgroup(const NodeState& state, std::string_view uid,
                                                       std::string_view container) {
  if (absl::Status status = impl_->CheckPrepared(); !status.ok()) return status;
  const Plan plan = impl_->PlanFor(state);
  const Fence* fence = plan.FindContainer(uid, container);
  if (fence == nullptr) return absl::NotFoundError(Cat("no decision for container ", container, " of pod ", uid));
  const absl::StatusOr<WholeSets> whole = impl_->Whole();
  if (!whole.ok()) return whole.status();
  const absl::StatusOr<std::vector<TreeNode>> nodes = ReadTree(*impl_->own, plan);
  if (!nodes.ok()) return nodes.status();
  if (absl::Status status = impl_->CheckNobodyShares(plan, *fence, RunnersOf(*nodes)); !status.ok()) return status;
  const absl::StatusOr<Cgroup> parent = impl_->ParentOf(plan, *fence, *whole);
  if (!parent.ok()) return parent.status();
  // What an earlier start left in it (statistics, cgroups below) is not this one's.
  if (absl::Status status = parent->RemoveChild(container); !status.ok()) return status;
  if (absl::Status status = impl_->RemoveLenders(plan, *fence, *parent); !status.ok()) return status;
  absl::StatusOr<Cgroup> cgroup = parent->CreateChild(container);
  if (!cgroup.ok()) return cgroup.status();
  absl::StatusOr<Fence> now = FenceAndCheck(*cgroup, *fence, *whole);
  if (!now.ok()) return now.status();
  impl_->left[fence->path] = {cgroup->id(), *std::move(now)};
  return cgroup;
}

absl::StatusOr<Cgroup> Enforcer::FindContainerCgroup(const NodeState& state, std::string_view uid,
                                                     std::string_view container) const {
  if (absl::Status status = impl_->CheckPrepared(); !status.ok()) return status;
  const Plan plan = impl_->PlanFor(state);
  const Fence* fence = plan.FindContainer(uid, container);
  if (fence == nullptr) return absl::NotFoundError(Cat("no decision for container ", container, " of pod ", uid));
  return OpenBelow(*impl_->own, fence->path);
}

absl::Status Enforcer::CheckContainer(const NodeState& state, std::string_view uid, std::string_view container) const {
  if (absl::Status status = impl_->CheckPrepared(); !status.ok()) return status;
  const Plan plan = impl_->PlanFor(state);
  const Fence* fence = plan.FindContainer(uid, container);
  if (fence == nullptr) return absl::NotFoundError(Cat("no decision for container ", container, " of pod ", uid));
  const absl::StatusOr<Cgroup> cgroup = OpenBelow(*impl_->own, fence->path);
  if (!cgroup.ok()) return cgroup.status();
  const absl::StatusOr<FenceState> found = ReadFence(*cgroup, fence->held);
  if (!found.ok()) return found.status();
  if (absl::Status status = CheckFenced(*cgroup, *fence, *found, impl_->whole); !status.ok()) return status;
  return impl_->CheckNobodyShares(plan, *fence, impl_->runners);
}

absl::StatusOr<Fence> Enforcer::DecidedFence(const NodeState& state, std::string_view uid,
                                             std::string_view container) const {
  PlanContext context = impl_->context;
  Places alone;
  if (impl_->runtime_cgroups) {
    // Where it is now, or belongs.
    if (impl_->places) {
      const auto known = impl_->places->pods.find(uid);
      if (known != impl_->places->pods.end()) alone.pods.insert(*known);
    }
    PodPlace& place = alone.pods[std::string(uid)];
    place.containers.try_emplace(std::string(container), Cat(QuotaGroupOf(place.path), "/", container));
    context.places = &alone;
  }
  const Plan plan = MakePlan(state, context);
  const Fence* fence = plan.FindContainer(uid, container);
  if (fence == nullptr) return absl::NotFoundError(Cat("no decision for container ", container, " of pod ", uid));
  return *fence;
}

absl::Status Enforcer::RemovePod(std::string_view uid) {
  if (impl_->runtime_cgroups) return impl_->ForgetPod(uid);
  if (absl::Status status = impl_->CheckPrepared(); !status.ok()) return status;
  const std::string name = Cat(kPodPrefix, uid);
  if (absl::Status status = impl_->own->RemoveChild(name); !status.ok()) return status;
  std::erase_if(impl_->left, [&](const auto& entry) {
    return entry.first == name || std::string_view(entry.first).starts_with(Cat(name, "/"));
  });
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> Enforcer::PodsWithCgroups() const {
  if (absl::Status status = impl_->CheckPrepared(); !status.ok()) return status;
  const absl::StatusOr<std::vector<std::string>> names = impl_->own->Children();
  if (!names.ok()) return names.status();
  std::vector<std::string> uids;
  for (std::string_view name : *names) {
    if (name.starts_with(kPodPrefix)) uids.emplace_back(name.substr(kPodPrefix.size()));
  }
  return uids;
}

absl::Status Enforcer::ReleaseHost() { return impl_->host ? impl_->host->Release() : absl::OkStatus(); }

}  // namespace podfence
