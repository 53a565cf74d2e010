#include "agent/observer.h"

#include <algorithm>
#include <chrono>

#include "absl/time/clock.h"
#include "agent/core/text.h"

namespace podfence {
namespace {

double MonotonicSeconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::string_view KindOf(const Container& container, bool is_init) {
  if (!is_init) return "app";
  return IsSidecar(container) ? "sidecar" : "init";
}

std::string_view AssignmentOf(const PodAllocation& pod, const ContainerAllocation& container) {
  switch (container.cpu_isolation) {
    case Isolation::kContainer: return pod.cpus ? "pod_exclusive" : "node_exclusive";
    case Isolation::kPod: return "pod_shared";
    case Isolation::kHost: return "node_shared";
  }
  return "node_shared";
}

// The NUMA nodes that a container's memory may come from; empty: all.
NumaSet MemsOf(const ContainerAllocation& container) {
  NumaSet mems;
  for (const MemoryBlock& block : container.memory) mems |= block.numa;
  return mems;
}

std::string PhaseOf(const ContainerRun& status) {
  switch (status.phase) {
    case ContainerPhase::kRunning: return "running";
    case ContainerPhase::kTerminated: return status.last_exit && status.last_exit->ok() ? "succeeded" : "failed";
    case ContainerPhase::kWaiting:
    case ContainerPhase::kBackOff: return "waiting";
  }
  return "waiting";
}

std::vector<ThrottlingView> Levels(const std::vector<Bandwidth>& bandwidth) {
  std::vector<ThrottlingView> levels;
  levels.reserve(bandwidth.size());
  for (const Bandwidth& level : bandwidth) {
    levels.push_back({.cgroup = level.cgroup,
                      .limited = level.quota_us.has_value(),
                      .periods = level.periods,
                      .throttled_periods = level.throttled_periods,
                      .throttled_seconds = NanosToSeconds(level.throttled_ns)});
  }
  return levels;
}

// What the container is promised: its own CPUs, or the pool it shares; elsewhere the smallest quota that holds it.
double PromisedCpus(const ContainerAllocation& container, const std::vector<Bandwidth>& bandwidth) {
  if (container.cpu_isolation != Isolation::kHost && container.cpus) return container.cpus->size();
  double promised = 0;
  for (const Bandwidth& level : bandwidth) {
    if (!level.quota_us || level.period_us == 0) continue;
    const double quota = static_cast<double>(*level.quota_us) / static_cast<double>(level.period_us);
    promised = promised == 0 ? quota : std::min(promised, quota);
  }
  return promised;
}

}  // namespace

Snapshot Observer::Look(const Context& context) {
  const Ledger& ledger = context.ledger;
  Snapshot snapshot;
  snapshot.version = PODFENCE_VERSION;
  snapshot.mode = context.mode;
  snapshot.time = absl::ToDoubleSeconds(absl::Now() - absl::UnixEpoch());
  snapshot.started = context.started;
  snapshot.machine = ledger.allocator().machine();
  snapshot.policy = ledger.allocator().policy();
  snapshot.reserved_cpus = ledger.allocator().reserved_cpus();
  snapshot.state = ledger.state();
  snapshot.per_pod_metrics = context.per_pod_metrics;

  const double begin = MonotonicSeconds();
  const absl::StatusOr<Observation> seen = context.witness.Read();
  kernel_.up = seen.ok();
  kernel_.duration_seconds = MonotonicSeconds() - begin;
  if (!seen.ok()) ++kernel_.errors;
  snapshot.monotonic = seen.ok() ? NanosToSeconds(seen->taken_ns) : begin;

  const std::vector<ContainerRun> statuses = context.runtime.Containers();
  for (const auto& [uid, allocation] : snapshot.state.pods) {
    snapshot.pods.push_back({.uid = uid, .containers = {}});
    const auto& pod = *allocation.pod;
    for (const Container& container : pod.init_containers) {
      snapshot.pods.back().containers.push_back(
          LookAt(context, allocation, container, /*is_init=*/true, statuses, seen));
    }
    for (const Container& container : pod.containers) {
      snapshot.pods.back().containers.push_back(
          LookAt(context, allocation, container, /*is_init=*/false, statuses, seen));
    }
  }
  std::erase_if(throttling_,
                [&](const auto& entry) { return !snapshot.state.pods.contains(std::get<0>(entry.first)); });
  run_queue_.Forget([&](const std::string& uid) { return !snapshot.state.pods.contains(uid); });
  totals_.run_queue = run_queue_.sums();

  if (seen.ok()) {
    for (size_t i = 0; i < kForeignClasses; ++i) totals_.foreign_seconds[i] = NanosToSeconds(seen->foreign_ns[i]);
    totals_.escaped_seconds = NanosToSeconds(seen->escape_ns);
    totals_.interrupts.clear();
    for (const auto& [cpu, time] : seen->interrupts) {
      totals_.interrupts.push_back(
          {.cpu = cpu, .hard_seconds = NanosToSeconds(time.hard_ns), .soft_seconds = NanosToSeconds(time.soft_ns)});
    }
    snapshot.lost_events = seen->lost_findings + seen->failed_helpers + seen->missed_runs;
  }
  snapshot.totals = totals_;
  snapshot.collectors = {kernel_};
  for (const Probe& probe : context.witness.Probes().probes) {
    snapshot.probes.push_back({.name = probe.name,
                               .running = probe.attached,
                               .hook = probe.hook,
                               .finds = probe.what,
                               .reason = probe.reason,
                               .fallback = probe.fallback,
                               .runs = probe.run_count,
                               .run_seconds = NanosToSeconds(probe.run_time_ns),
                               .wanted = probe.wanted});
  }
  snapshot.counters = ledger.counters();
  snapshot.drift_repairs = context.witness.repairs_taken().Count();
  snapshot.repair_seconds = context.witness.repairs_taken();
  snapshot.invariant_violations = ledger.invariant_violations();
  snapshot.commits = ledger.commits();
  snapshot.commit_errors = ledger.commit_errors();
  snapshot.decisions = {ledger.admitted(), ledger.rejected()};
  snapshot.last_decision_seconds = ledger.last_decision_seconds();
  return snapshot;
}

ContainerView Observer::LookAt(const Context& context, const PodAllocation& allocation, const Container& container,
                               bool is_init, const std::vector<ContainerRun>& statuses,
                               const absl::StatusOr<Observation>& seen) {
  const std::string& uid = allocation.pod->uid;
  const ContainerAllocation& held = *allocation.Find(container.name);
  ContainerView view;
  view.name = container.name;
  view.kind = KindOf(container, is_init);
  view.assignment = AssignmentOf(allocation, held);
  view.mems = MemsOf(held);
  view.promised_cpus = PromisedCpus(held, {});
  if (held.cpus) view.cpus = *held.cpus;
  const auto status =
      std::ranges::find_if(statuses, [&](const ContainerRun& s) { return s.uid == uid && s.name == container.name; });
  view.phase = status == statuses.end() ? "waiting" : PhaseOf(*status);
  if (status != statuses.end()) {
    view.message = status->message;
    view.restarts = static_cast<uint64_t>(status->restarts);
  }
  const absl::StatusOr<Cgroup> cgroup = context.witness.FindContainer(context.ledger.state(), uid, container.name);
  if (cgroup.ok()) {
    const absl::StatusOr<std::string> list = cgroup->Read("cpuset.cpus.effective");
    absl::StatusOr<CpuSet> effective = list.ok() ? CpuSet::Parse(*list) : list.status();
    if (effective.ok()) view.effective_cpus = *std::move(effective);
  }
  if (!seen.ok()) return view;
  const auto fence = std::ranges::find_if(seen->fences, [&](const FenceObservation& observed) {
    return observed.fence.pod == uid && observed.fence.container == container.name;
  });
  if (fence == seen->fences.end()) return view;
  if (view.cpus.empty()) view.cpus = fence->fence.cpus;
  view.promised_cpus = PromisedCpus(held, fence->bandwidth);
  view.throttling = Levels(fence->bandwidth);
  view.cpu_seconds = NanosToSeconds(fence->bandwidth.empty() ? fence->cpu_ns : fence->bandwidth.front().usage_ns);
  view.escaped_seconds = NanosToSeconds(fence->escape_ns);
  for (size_t i = 0; i < kForeignClasses; ++i) view.foreign_seconds[i] = NanosToSeconds(fence->foreign_ns[i]);
  if (fence->interrupts) {
    view.irq_seconds = NanosToSeconds(fence->interrupts->hard_ns);
    view.softirq_seconds = NanosToSeconds(fence->interrupts->soft_ns);
  }
  const bool exclusive = held.cpu_isolation == Isolation::kContainer;
  AddThrottling(uid, exclusive ? container.name : "", view.throttling);
  if (seen->kernel_counted) {
    view.run_queue = RunQueueOf(fence->wait);
    run_queue_.Add(uid, container.name, exclusive ? "exclusive" : view.assignment, view.run_queue->waits);
  }
  return view;
}

void Observer::AddThrottling(const std::string& uid, const std::string& container,
                             const std::vector<ThrottlingView>& levels) {
  for (const ThrottlingView& level : levels) {
    ThrottlingView& last = throttling_[{uid, container, level.cgroup}];
    // A restarted container has a new cgroup, whose counters begin at 0.
    const bool restarted =
        level.throttled_periods < last.throttled_periods || level.throttled_seconds < last.throttled_seconds;
    const double seconds = level.throttled_seconds - (restarted ? 0 : last.throttled_seconds);
    if (container.empty()) {
      totals_.shared_throttled_seconds += seconds;
    } else {
      totals_.throttled_periods += level.throttled_periods - (restarted ? 0 : last.throttled_periods);
      totals_.throttled_seconds += seconds;
    }
    last = level;
  }
}

}  // namespace podfence
