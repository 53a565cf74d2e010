#include "agent/verifier/bandwidth_watch.h"

#include <algorithm>

#include "absl/strings/str_split.h"
#include "agent/core/text.h"

namespace podfence {

std::shared_ptr<BandwidthWatch::Watched> BandwidthWatch::Open(const Cgroup& parent, std::string_view name,
                                                              const std::string& path, const BandwidthWatch& before) {
  if (auto it = cgroups_.find(path); it != cgroups_.end()) return it->second;
  absl::StatusOr<Cgroup> cgroup = parent.OpenChild(name);
  if (!cgroup.ok()) return nullptr;
  auto known = before.cgroups_.find(path);
  std::shared_ptr<Watched> watched;
  if (known != before.cgroups_.end() && known->second->cgroup.id() == cgroup->id()) {
    watched = known->second;
  } else {
    watched = std::make_shared<Watched>(Watched{.cgroup = std::move(*cgroup), .path = path});
    if (absl::StatusOr<std::optional<Bandwidth>> start = ReadBandwidth(watched->cgroup, path); start.ok()) {
      watched->first = watched->last = *start;
    }
  }
  cgroups_.emplace(path, watched);
  return watched;
}

BandwidthWatch::BandwidthWatch(const Cgroup& root, std::vector<ExpectedFence>& fences, const BandwidthWatch& before)
    : mismatches_(before.mismatches_) {
  for (ExpectedFence& fence : fences) {
    for (const auto& told : before.quotas_) {
      if (std::get<0>(told) == fence.cgroup) quotas_.insert(told);
    }
    std::vector<std::shared_ptr<Watched>> chain;
    std::string path;
    const Cgroup* parent = &root;
    for (absl::string_view name : absl::StrSplit(ToAbsl(fence.cgroup), '/', absl::SkipEmpty())) {
      path = path.empty() ? std::string(name) : Cat(path, "/", ToStd(name));
      std::shared_ptr<Watched> watched = Open(*parent, ToStd(name), path, before);
      if (watched == nullptr) {
        chain.clear();
        break;
      }
      parent = &watched->cgroup;
      chain.push_back(std::move(watched));
    }
    if (!chain.empty() && fence.cgroup_id == 0) fence.cgroup_id = chain.back()->cgroup.id();
    if (!chain.empty() && fence.cgroup_id != chain.back()->cgroup.id()) chain.clear();
    std::reverse(chain.begin(), chain.end());
    chains_.push_back(std::move(chain));
  }
}

absl::Status BandwidthWatch::ReadOne(Watched& watched) {
  absl::StatusOr<std::optional<Bandwidth>> now = ReadBandwidth(watched.cgroup, watched.path);
  if (absl::IsNotFound(now.status())) {
    watched.gone = true;
    return absl::OkStatus();
  }
  if (!now.ok()) return now.status();
  // Where the cpu controller was switched off and on, the counters began anew.
  const bool goes_on = now->has_value() && watched.last.has_value() && (*now)->periods >= watched.last->periods &&
                       (*now)->throttled_ns >= watched.last->throttled_ns;
  if (goes_on) {
    watched.grown_periods = (*now)->throttled_periods - watched.last->throttled_periods;
    watched.grown_ns = (*now)->throttled_ns - watched.last->throttled_ns;
  }
  watched.last = *std::move(now);
  if (!goes_on) watched.first = watched.last;
  return absl::OkStatus();
}

absl::Status BandwidthWatch::Compare(const std::vector<std::shared_ptr<Watched>>& chain, const BandwidthProbe& kernel) {
  absl::StatusOr<std::vector<podfence_bandwidth>> records = kernel.ReadUpwards(chain.front()->cgroup);
  if (!records.ok()) return absl::IsNotFound(records.status()) ? absl::OkStatus() : records.status();
  for (const std::shared_ptr<Watched>& watched : chain) {
    auto record = std::find_if(records->begin(), records->end(),
                               [&](const podfence_bandwidth& each) { return each.cgroup_id == watched->cgroup.id(); });
    absl::StatusOr<std::optional<Bandwidth>> after = ReadBandwidth(watched->cgroup, watched->path);
    if (record == records->end() || !after.ok() || !after->has_value() || !watched->last.has_value()) continue;
    if (!Agrees(*watched->last, *record, **after)) ++mismatches_;
  }
  return absl::OkStatus();
}

void BandwidthWatch::Judge(const ExpectedFence& fence, const Watched& watched, std::vector<KernelFinding>& findings) {
  if (!watched.last.has_value()) return;
  const Bandwidth& now = *watched.last;
  const std::string where = watched.path == fence.cgroup ? "its own cgroup " : "the cgroup above it, ";
  const auto forget = [&](const auto& told) {
    return std::get<0>(told) == fence.cgroup && std::get<1>(told) == watched.path;
  };
  KernelFinding finding;
  finding.pod = fence.pod;
  finding.container = fence.container;
  finding.cgroup = watched.path;
  if (!now.quota_us.has_value()) {
    std::erase_if(quotas_, forget);
  } else if (quotas_.insert({fence.cgroup, watched.path, *now.quota_us, now.period_us}).second) {
    finding.kind = KernelFindingKind::kDrift;
    finding.message = Cat("exclusive container ", fence.container, " of pod ", fence.pod, " has a quota of ",
                          *now.quota_us, " us every ", now.period_us, " us on ", where, watched.path,
                          "; expected none, it can throttle the container");
    finding.seen = Cat(*now.quota_us, " ", now.period_us);
    findings.push_back(finding);
  }
  if (watched.grown_periods != 0 || watched.grown_ns != 0) {
    finding.kind = KernelFindingKind::kThrottling;
    finding.duration_ns = watched.grown_ns;
    finding.message = Cat("exclusive container ", fence.container, " of pod ", fence.pod, " was throttled through ",
                          where, watched.path, ": in ", watched.grown_periods, " periods, ", watched.grown_ns / 1000000,
                          " ms summed over CPUs, since the reading before");
    findings.push_back(finding);
  }
}

absl::Status BandwidthWatch::Read(const std::vector<ExpectedFence>& fences, const BandwidthProbe* kernel,
                                  std::vector<KernelFinding>& findings) {
  for (auto& [path, watched] : cgroups_) {
    watched->grown_periods = 0;
    watched->grown_ns = 0;
    if (watched->gone) continue;
    if (absl::Status status = ReadOne(*watched); !status.ok()) return status;
  }
  for (size_t i = 0; i < chains_.size(); ++i) {
    if (fences[i].kind != FenceKind::kExclusive || Gone(i)) continue;
    if (kernel != nullptr) {
      if (absl::Status status = Compare(chains_[i], *kernel); !status.ok()) return status;
    }
    for (const std::shared_ptr<Watched>& watched : chains_[i]) Judge(fences[i], *watched, findings);
  }
  return absl::OkStatus();
}

std::vector<Bandwidth> BandwidthWatch::Chain(size_t fence) const {
  std::vector<Bandwidth> chain;
  for (const std::shared_ptr<Watched>& watched : chains_[fence]) {
    if (watched->gone || !watched->last.has_value()) continue;
    Bandwidth& level = chain.emplace_back(*watched->last);
    level.periods -= watched->first->periods;
    level.throttled_periods -= watched->first->throttled_periods;
    level.throttled_ns -= watched->first->throttled_ns;
  }
  return chain;
}

std::set<uint64_t> BandwidthWatch::CgroupIds() const {
  std::set<uint64_t> ids;
  for (const auto& [path, watched] : cgroups_) ids.insert(watched->cgroup.id());
  return ids;
}

bool BandwidthWatch::Gone(size_t fence) const { return chains_[fence].empty() || chains_[fence].front()->gone; }

}  // namespace podfence
