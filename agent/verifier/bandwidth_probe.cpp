#include "agent/verifier/bandwidth_probe.h"

#include <cerrno>

#include "agent/cgroup/control.h"
#include "agent/core/text.h"
#include "agent/verifier/iterator.h"
#include "agent/verifier/layout.h"
#include "bpf/throttle.skel.h"

void DestroyThrottle(podfence_throttle* object) { podfence_throttle__destroy(object); }

namespace podfence {
namespace {

// What cpu.stat, in whole microseconds, says of so many nanoseconds.
uint64_t Rounded(uint64_t ns) { return ns / 1000 * 1000; }

}  // namespace

absl::StatusOr<std::unique_ptr<BandwidthProbe>> BandwidthProbe::Start(const Cgroup& root) {
  const LibbpfLog log;
  std::unique_ptr<BandwidthProbe> probe(new BandwidthProbe);
  probe->object_.reset(podfence_throttle__open());
  if (probe->object_ == nullptr) return log.Error("open BPF object throttle", errno);
  if (absl::StatusOr<int> layout = CheckLayout(bpf_object__btf(probe->object_->obj)); !layout.ok()) {
    return layout.status();
  }
  if (const int error = podfence_throttle__load(probe->object_.get()); error != 0) {
    return log.Error("load BPF program iter/cgroup", error);
  }
  if (absl::StatusOr<std::vector<podfence_bandwidth>> tried = probe->ReadUpwards(root); !tried.ok()) {
    return tried.status();
  }
  return probe;
}

absl::StatusOr<std::vector<podfence_bandwidth>> BandwidthProbe::ReadUpwards(const Cgroup& cgroup) const {
  const LibbpfLog log;
  bpf_iter_link_info info = {};
  info.cgroup.order = BPF_CGROUP_ITER_ANCESTORS_UP;
  info.cgroup.cgroup_fd = static_cast<__u32>(cgroup.fd());
  LIBBPF_OPTS(bpf_iter_attach_opts, options, .link_info = &info, .link_info_len = sizeof(info));
  const LinkPtr link(bpf_program__attach_iter(object_->progs.bandwidth, &options));
  if (link == nullptr) return log.Error(Cat("attach BPF program iter/cgroup to ", cgroup.path()), errno);
  return RunIterator<podfence_bandwidth>(link.get(), "bandwidth");
}

void BandwidthProbe::ReadStatistics(Probe& probe) const { ReadProgramStatistics(object_->progs.bandwidth, probe); }

absl::StatusOr<std::optional<Bandwidth>> ReadBandwidth(const Cgroup& cgroup, const std::string& path) {
  absl::StatusOr<CpuStat> stat = ReadCpuStat(cgroup);
  if (!stat.ok()) return stat.status();
  if (!stat->nr_periods.has_value()) return std::nullopt;
  absl::StatusOr<CpuMax> max = ReadCpuMax(cgroup);
  if (!max.ok()) return max.status();
  return Bandwidth{.cgroup = path,
                   .quota_us = max->quota_us,
                   .period_us = max->period_us,
                   .periods = stat->nr_periods.value_or(0),
                   .throttled_periods = stat->nr_throttled.value_or(0),
                   .throttled_ns = stat->throttled_usec.value_or(0) * 1000,
                   .usage_ns = stat->usage_usec * 1000};
}

bool Agrees(const Bandwidth& before, const podfence_bandwidth& kernel, const Bandwidth& after) {
  const auto between = [](uint64_t low, uint64_t value, uint64_t high) { return low <= value && value <= high; };
  if (before.quota_us == after.quota_us && before.period_us == after.period_us) {
    const bool unlimited = kernel.quota_ns == ~uint64_t{0};
    if (unlimited == after.quota_us.has_value()) return false;
    if (!unlimited && kernel.quota_ns / 1000 != *after.quota_us) return false;
    if (kernel.period_ns / 1000 != after.period_us) return false;
  }
  return between(before.periods, kernel.periods, after.periods) &&
         between(before.throttled_periods, kernel.throttled_periods, after.throttled_periods) &&
         between(before.throttled_ns, Rounded(kernel.throttled_ns), after.throttled_ns);
}

}  // namespace podfence
