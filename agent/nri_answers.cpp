#include "agent/nri_answers.h"

#include "agent/core/text.h"

namespace podfence {
namespace {

constexpr int64_t kNoQuota = -1;

// "90-other set it", where it is known who did.
std::string Setter(const NriValidation& validation, NriField field) {
  const auto owners = validation.owners.find(validation.container.id);
  if (owners == validation.owners.end()) return "";
  const auto owner = owners->second.find(field);
  return owner == owners->second.end() ? "" : Cat("; ", owner->second, " set it");
}

// 0 is CRI's word for what stays, which the runtimes hand on.
template <typename Number>
bool Same(const std::optional<Number>& wanted, const std::optional<Number>& present) {
  return wanted.value_or(0) == 0 || wanted == present;
}

std::string QuotaText(const std::optional<int64_t>& quota) { return quota ? Cat(*quota) : "unchanged"; }

// -1 and 0 are both none: the one is NRI's, the other CRI's.
std::optional<int64_t> Normal(const std::optional<int64_t>& quota) {
  return quota && *quota <= 0 ? std::optional(kNoQuota) : quota;
}

}  // namespace

NriResources ResourcesOf(const Fence& fence) {
  NriResources resources;
  if (fence.held.cpus) resources.cpus = fence.cpus.ToString();
  if (fence.held.mems) resources.mems = fence.mems.ToString();
  if (fence.held.cpu_max) {
    resources.cpu_quota = fence.cpu_max.quota_us ? static_cast<int64_t>(*fence.cpu_max.quota_us) : kNoQuota;
    resources.cpu_period = fence.cpu_max.period_us;
  }
  return resources;
}

std::optional<NriResources> DifferingResources(const NriResources& wanted, const NriResources& present) {
  NriResources change;
  bool any = false;
  const auto text = [&](const std::string& want, const std::string& have, std::string& out) {
    if (want.empty() || want == have) return;
    out = want;
    any = true;
  };
  text(wanted.cpus, present.cpus, change.cpus);
  text(wanted.mems, present.mems, change.mems);
  const bool period = wanted.cpu_quota.value_or(0) > 0 && present.cpu_period && wanted.cpu_period != present.cpu_period;
  if (wanted.cpu_quota && (period || wanted.cpu_quota != Normal(present.cpu_quota))) {
    change.cpu_quota = wanted.cpu_quota;
    change.cpu_period = wanted.cpu_period;
    any = true;
  }
  if (!any) return std::nullopt;
  return change;
}

absl::Status CheckAdjusted(const Fence& fence, const NriValidation& validation) {
  const NriResources wanted = ResourcesOf(fence);
  const NriResources& made = validation.adjustment.resources;
  // Where nothing was adjusted the container is as the kubelet asked for it.
  const NriResources& asked = validation.container.resources;
  const auto differs = [&](std::string_view what, const std::string& want, const std::string& have, NriField field) {
    return absl::FailedPreconditionError(Cat("container ", validation.container.name, " of pod ", validation.pod.ns,
                                             "/", validation.pod.name, " would be created with ", what, " \"", have,
                                             "\" instead of the decided \"", want, "\"", Setter(validation, field)));
  };
  const std::string& cpus = made.cpus.empty() ? asked.cpus : made.cpus;
  if (cpus != wanted.cpus) return differs("cpuset.cpus", wanted.cpus, cpus, NriField::kCpusetCpus);
  const std::string& mems = made.mems.empty() ? asked.mems : made.mems;
  if (!wanted.mems.empty() && mems != wanted.mems) {
    return differs("cpuset.mems", wanted.mems, mems, NriField::kCpusetMems);
  }
  const std::optional<int64_t> quota = Normal(made.cpu_quota ? made.cpu_quota : asked.cpu_quota);
  if (wanted.cpu_quota && quota.value_or(kNoQuota) != *wanted.cpu_quota) {
    return differs("CPU quota", QuotaText(wanted.cpu_quota), QuotaText(quota), NriField::kCpuQuota);
  }
  return absl::OkStatus();
}

absl::Status CheckResize(const Fence& fence, const std::optional<CpuMax>& asked, const NriResources& present,
                         const NriResources& wanted) {
  const auto refuse = [&](const std::string& why) {
    return absl::FailedPreconditionError(Cat("container ", fence.container, " ", why,
                                             " cannot be resized. Delete the pod and create it with the new amount"));
  };
  if (fence.held.mems && present.memory_limit && !Same(wanted.memory_limit, present.memory_limit)) {
    return refuse(Cat("has its memory on NUMA nodes ", fence.mems.ToString(), ": assigned memory"));
  }
  if (!fence.held.cpu_max) return absl::OkStatus();  // its quota is the kubelet's
  const bool same_shares = Same(wanted.cpu_shares, present.cpu_shares);
  const bool same_limit = !asked || wanted.cpu_quota.value_or(0) <= 0 || wanted.cpu_period != asked->period_us ||
                          static_cast<uint64_t>(*wanted.cpu_quota) == asked->quota_us;
  if (same_shares && same_limit) return absl::OkStatus();
  if (!fence.exclusive) return refuse("has what its pod's exclusive CPUs leave of the budget: its share of it");
  return refuse(Cat("owns CPUs ", fence.cpus.ToString(), ": exclusive CPUs"));
}

absl::Status CheckPodResize(const NriPod& pod, const std::optional<NriResources>& wanted) {
  if (!wanted || !pod.pod_resources) return absl::OkStatus();
  const NriResources& present = *pod.pod_resources;
  const bool same_quota = !wanted->cpu_quota || Normal(wanted->cpu_quota) == Normal(present.cpu_quota);
  if (same_quota && Same(wanted->cpu_shares, present.cpu_shares)) return absl::OkStatus();
  return absl::FailedPreconditionError(Cat("pod ", pod.ns, "/", pod.name, " has exclusive CPUs: its budget cannot be ",
                                           "resized. Delete the pod and create it with the new amount"));
}

}  // namespace podfence
