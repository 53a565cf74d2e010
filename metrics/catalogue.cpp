#include "metrics/catalogue.h"

#include <array>
#include <string>

#include "agent/core/text.h"

namespace podfence {
namespace {

using prometheus::MetricType;

constexpr std::array<std::string_view, 2> kResources = {"cpu", "memory"};
constexpr std::array<std::string_view, 2> kSources = {"pod", "node"};
constexpr std::array<std::string_view, 3> kAssignments = {"node_exclusive", "pod_exclusive", "pod_shared"};
constexpr std::array<std::string_view, 2> kResults = {"admitted", "rejected"};

void BySource(const std::array<std::array<uint64_t, 2>, 2>& counts, Samples& samples) {
  for (size_t resource = 0; resource < kResources.size(); ++resource) {
    for (size_t source = 0; source < kSources.size(); ++source) {
      samples.Add(static_cast<double>(counts[resource][source]),
                  {{"resource_name", kResources[resource]}, {"source", kSources[source]}});
    }
  }
}

void ByAssignment(const Snapshot& snapshot, Samples& samples) {
  for (size_t resource = 0; resource < kResources.size(); ++resource) {
    for (size_t assignment = 0; assignment < kAssignments.size(); ++assignment) {
      samples.Add(static_cast<double>(snapshot.counters.assignments[resource][assignment]),
                  {{"resource_name", kResources[resource]}, {"assignment_type", kAssignments[assignment]}});
    }
  }
}

// Every CPU of a NUMA node is in exactly one of these pools.
void CpusByPool(const Snapshot& snapshot, Samples& samples) {
  CpuSet exclusive;
  CpuSet pod_shared;
  for (const auto& [uid, pod] : snapshot.state.pods) {
    if (pod.cpus) pod_shared |= *pod.cpus;  // the bubble, whether a container shares what is left of it or not
    for (const ContainerAllocation& container : pod.containers) {
      if (container.cpus && container.cpu_isolation == Isolation::kContainer) exclusive |= *container.cpus;
    }
  }
  pod_shared -= exclusive;
  for (const NumaNode& node : snapshot.machine.nodes) {
    const CpuSet cpus = snapshot.machine.CpusOf(node);
    if (cpus.empty()) continue;
    const std::string id = std::to_string(node.id);
    const CpuSet free = cpus - exclusive - pod_shared;
    const auto add = [&](std::string_view pool, int count) { samples.Add(count, {{"numa_node", id}, {"pool", pool}}); };
    add("exclusive", cpus.IntersectionSize(exclusive));
    add("pod_shared", cpus.IntersectionSize(pod_shared));
    add("node_shared", (free - snapshot.reserved_cpus).size());
    add("reserved", free.IntersectionSize(snapshot.reserved_cpus));
  }
}

void MemoryByNode(const Snapshot& snapshot, Samples& samples) {
  for (const NumaNodeMemory& node : snapshot.state.nodes) {
    const std::string id = std::to_string(node.id);
    for (const NodeMemory& memory : node.memory) {
      const auto add = [&](std::string_view state, uint64_t bytes) {
        samples.Add(static_cast<double>(bytes),
                    {{"numa_node", id}, {"resource_name", memory.resource}, {"state", state}});
      };
      add("free", memory.free);
      add("assigned", memory.reserved);
    }
  }
}

void ForeignByClass(const Snapshot& snapshot, Samples& samples) {
  for (size_t i = 0; i < kForeignClasses; ++i) {
    samples.Add(snapshot.totals.foreign_seconds[i], {{"class", kForeignClassNames[i]}});
  }
}

void InterruptsByCpu(const Snapshot& snapshot, Samples& samples) {
  for (const CpuInterruptsView& view : snapshot.totals.interrupts) {
    const std::string cpu = std::to_string(view.cpu);
    samples.Add(view.hard_seconds, {{"cpu", cpu}, {"kind", "hard"}});
    samples.Add(view.soft_seconds, {{"cpu", cpu}, {"kind", "soft"}});
  }
}

// Kinds of findings exist at 0 from the start, so that rate() and alerts work.
constexpr std::array<std::string_view, 12> kFindingKinds = {"intrusion", "escape",      "throttling", "drift",
                                                            "unfenced",  "empty_pool",  "quota",      "memory",
                                                            "partition", "cpu_offline", "misfit",     "checkpoint"};

void FindingTotals(const Snapshot& snapshot, Samples& samples) {
  for (std::string_view kind : kFindingKinds) {
    const auto found = snapshot.finding_totals.find(std::string(kind));
    samples.Add(found == snapshot.finding_totals.end() ? 0 : static_cast<double>(found->second), {{"kind", kind}});
  }
}

void ActiveFindings(const Snapshot& snapshot, Samples& samples) {
  for (std::string_view kind : kFindingKinds) {
    double active = 0;
    for (const FindingView& finding : snapshot.findings) active += finding.active && finding.kind == kind ? 1 : 0;
    samples.Add(active, {{"kind", kind}});
  }
}

void Verification(const Snapshot& snapshot, Samples& samples) {
  for (std::string_view state : {"clean", "findings", "unknown"}) {
    samples.Add(snapshot.verification.state == state ? 1 : 0, {{"state", state}});
  }
}

void RunQueueByAssignment(const Snapshot& snapshot, Samples& samples) {
  for (std::string_view assignment : kRunQueueAssignments) {
    const auto found = snapshot.totals.run_queue.find(std::string(assignment));
    if (found != snapshot.totals.run_queue.end()) samples.Add(found->second, {{"assignment", assignment}});
  }
}

template <typename Field>
void PerProbe(const Snapshot& snapshot, Samples& samples, Field field) {
  for (const ProbeView& probe : snapshot.probes) {
    if (probe.wanted) samples.Add(static_cast<double>(field(probe)), {{"probe", probe.name}});
  }
}

void NriHandlers(const Snapshot& snapshot, Samples& samples) {
  if (!snapshot.nri) return;
  for (const NriHandlerView& handler : snapshot.nri->handlers)
    samples.Add(handler.seconds, {{"handler", handler.method}});
}

void NriFailures(const Snapshot& snapshot, Samples& samples) {
  if (!snapshot.nri) return;
  for (const NriHandlerView& handler : snapshot.nri->handlers) {
    samples.Add(static_cast<double>(handler.failures), {{"handler", handler.method}});
  }
}

template <typename Field>
void PerCollector(const Snapshot& snapshot, Samples& samples, Field field) {
  for (const CollectorView& collector : snapshot.collectors) {
    samples.Add(static_cast<double>(field(collector)), {{"collector", collector.name}});
  }
}

// add: puts in what there is of a container, with the labels that name it.
template <typename Add>
void EachContainer(const Snapshot& snapshot, Add add) {
  if (!snapshot.per_pod_metrics) return;
  for (const PodView& view : snapshot.pods) {
    const auto pod = snapshot.state.pods.find(view.uid);
    if (pod == snapshot.state.pods.end()) continue;
    for (const ContainerView& container : view.containers) {
      add(container,
          {{"namespace", pod->second.pod->ns}, {"pod", pod->second.pod->name}, {"container", container.name}});
    }
  }
}

template <typename Field>
void PerContainer(const Snapshot& snapshot, Samples& samples, Field field) {
  EachContainer(snapshot, [&](const ContainerView& container, Samples::Labels labels) {
    samples.Add(static_cast<double>(field(container)), labels);
  });
}

void RunQueuePerContainer(const Snapshot& snapshot, Samples& samples) {
  EachContainer(snapshot, [&](const ContainerView& container, Samples::Labels labels) {
    if (container.run_queue) samples.Add(container.run_queue->waits, labels);
  });
}

double ThrottledSeconds(const ContainerView& container) {
  double seconds = 0;
  for (const ThrottlingView& level : container.throttling) seconds += level.throttled_seconds;
  return seconds;
}

double ForeignSeconds(const ContainerView& container) {
  double seconds = 0;
  for (double value : container.foreign_seconds) seconds += value;
  return seconds;
}

const MetricDefinition kCatalogue[] = {
    {"resource_manager_allocations_total", MetricType::Counter,
     "Exclusive allocations made by the resource managers, by resource and source.",
     [](const Snapshot& s, Samples& out) { BySource(s.counters.allocations, out); }},
    {"resource_manager_allocation_errors_total", MetricType::Counter,
     "Errors while allocating exclusive resources, by resource and source.",
     [](const Snapshot& s, Samples& out) { BySource(s.counters.allocation_errors, out); }},
    {"resource_manager_container_assignments", MetricType::Counter,
     "Containers given an assignment, by resource and assignment type.",
     [](const Snapshot& s, Samples& out) { ByAssignment(s, out); }},
    {"podfence_build_info", MetricType::Gauge, "Always 1; the agent's version and mode.",
     [](const Snapshot& s, Samples& out) {
       out.Add(1, {{"version", s.version}, {"mode", s.mode}});
     }},
    {"podfence_policy_info", MetricType::Gauge, "Always 1; the policies the agent decides by.",
     [](const Snapshot& s, Samples& out) {
       out.Add(1, {{"cpu_manager_policy", s.policy.cpu_manager_policy},
                   {"memory_manager_policy", s.policy.memory_manager_policy},
                   {"topology_manager_policy", s.policy.topology_manager_policy},
                   {"topology_manager_scope", s.policy.topology_manager_scope}});
     }},
    {"podfence_start_time_seconds", MetricType::Gauge, "Unix time of the agent's start.",
     [](const Snapshot& s, Samples& out) { out.Add(s.started); }},
    {"podfence_pods", MetricType::Gauge, "Pods by the answer they have: admitted or rejected.",
     [](const Snapshot& s, Samples& out) {
       out.Add(static_cast<double>(s.state.pods.size()), {{"result", "admitted"}});
       out.Add(static_cast<double>(s.rejected.size()), {{"result", "rejected"}});
     }},
    {"podfence_decisions_total", MetricType::Counter, "Admission decisions made, by result.",
     [](const Snapshot& s, Samples& out) {
       for (size_t i = 0; i < kResults.size(); ++i) {
         out.Add(static_cast<double>(s.decisions[i]), {{"result", kResults[i]}});
       }
     }},
    {"podfence_last_decision_duration_seconds", MetricType::Gauge,
     "How long the last admission decision took, commit excluded.",
     [](const Snapshot& s, Samples& out) { out.Add(s.last_decision_seconds); }},
    {"podfence_cpus", MetricType::Gauge, "CPUs by NUMA node and the pool they are in.", CpusByPool},
    {"podfence_memory_bytes", MetricType::Gauge, "Allocatable memory and huge pages by NUMA node: free or assigned.",
     MemoryByNode},
    {"podfence_foreign_run_seconds_total", MetricType::Counter,
     "Time that others ran on exclusive CPUs, by class of the intruder.", ForeignByClass},
    {"podfence_escaped_run_seconds_total", MetricType::Counter, "Time that fenced tasks ran outside their cpuset.",
     [](const Snapshot& s, Samples& out) { out.Add(s.totals.escaped_seconds); }},
    {"podfence_interrupt_seconds_total", MetricType::Counter,
     "Time that hard and soft interrupts took on a CPU while it was exclusive; only with measureInterrupts.",
     InterruptsByCpu},
    {"podfence_exclusive_throttled_seconds_total", MetricType::Counter,
     "Time that exclusive containers were throttled by CFS, at themselves or at any ancestor.",
     [](const Snapshot& s, Samples& out) { out.Add(s.totals.throttled_seconds); }},
    {"podfence_exclusive_throttled_periods_total", MetricType::Counter,
     "CFS periods in which exclusive containers were throttled, at themselves or at any ancestor.",
     [](const Snapshot& s, Samples& out) { out.Add(static_cast<double>(s.totals.throttled_periods)); }},
    {"podfence_shared_throttled_seconds_total", MetricType::Counter,
     "Time that containers without CPUs of their own were held to their quotas by CFS; expected, and no finding.",
     [](const Snapshot& s, Samples& out) { out.Add(s.totals.shared_throttled_seconds); }},
    {"podfence_run_queue_seconds", MetricType::Histogram,
     "How long tasks of containers waited for a CPU, by assignment; absent where it is not measured.",
     RunQueueByAssignment},
    {"podfence_verification_state", MetricType::Gauge,
     "1 for what the last look says: clean, findings, or unknown where events were lost or something does not run.",
     Verification},
    {"podfence_findings_total", MetricType::Counter, "Findings since the agent's start, by kind.", FindingTotals},
    {"podfence_findings_active", MetricType::Gauge, "Findings that still held at the last look, by kind.",
     ActiveFindings},
    {"podfence_drift_repairs_total", MetricType::Counter, "Cgroup settings that others changed and the agent restored.",
     [](const Snapshot& s, Samples& out) { out.Add(static_cast<double>(s.drift_repairs)); }},
    {"podfence_repair_duration_seconds", MetricType::Histogram,
     "From when a write was seen, or the look that found it began, to the repair read back.",
     [](const Snapshot& s, Samples& out) { out.Add(s.repair_seconds); }},
    {"podfence_invariant_violations_total", MetricType::Counter,
     "Decisions that the validator refused: always a defect of Podfence.",
     [](const Snapshot& s, Samples& out) { out.Add(static_cast<double>(s.invariant_violations)); }},
    {"podfence_state_commits_total", MetricType::Counter, "State commits that reached the disk.",
     [](const Snapshot& s, Samples& out) { out.Add(static_cast<double>(s.commits)); }},
    {"podfence_state_commit_errors_total", MetricType::Counter, "State commits that failed; nothing was enforced.",
     [](const Snapshot& s, Samples& out) { out.Add(static_cast<double>(s.commit_errors)); }},
    {"podfence_probe_up", MetricType::Gauge,
     "1 where the probe runs; 0 where this kernel refuses it; absent where it is turned off or not needed.",
     [](const Snapshot& s, Samples& out) { PerProbe(s, out, [](const ProbeView& p) { return p.running ? 1 : 0; }); }},
    {"podfence_bpf_program_runs_total", MetricType::Counter,
     "Runs of the probe's program; 0 where the kernel does not count them (kernel.bpf_stats_enabled).",
     [](const Snapshot& s, Samples& out) { PerProbe(s, out, [](const ProbeView& p) { return p.runs; }); }},
    {"podfence_bpf_program_run_seconds_total", MetricType::Counter,
     "Time spent in the probe's program; 0 where the kernel does not measure it (kernel.bpf_stats_enabled).",
     [](const Snapshot& s, Samples& out) { PerProbe(s, out, [](const ProbeView& p) { return p.run_seconds; }); }},
    {"podfence_lost_events_total", MetricType::Counter,
     "Findings that may be lost: the ring buffer or a map was full, or the kernel skipped a program.",
     [](const Snapshot& s, Samples& out) { out.Add(static_cast<double>(s.lost_events)); }},
    {"podfence_nri_connected", MetricType::Gauge,
     "1 while the container runtime asks this agent; absent outside mode manage.",
     [](const Snapshot& s, Samples& out) {
       if (s.nri) out.Add(s.nri->connected ? 1 : 0);
     }},
    {"podfence_nri_registrations_total", MetricType::Counter,
     "How often the agent registered with the container runtime; absent outside mode manage.",
     [](const Snapshot& s, Samples& out) {
       if (s.nri) out.Add(static_cast<double>(s.nri->registrations));
     }},
    {"podfence_nri_handler_duration_seconds", MetricType::Histogram,
     "How long answers to the container runtime took, by handler; it goes on without them after its timeout of 2 s.",
     NriHandlers},
    {"podfence_nri_handler_failures_total", MetricType::Counter,
     "Answers to the container runtime that refused what it asked, by handler.", NriFailures},
    {"podfence_pod_source_up", MetricType::Gauge, "1 while the source of pods answers; absent outside mode manage.",
     [](const Snapshot& s, Samples& out) {
       if (s.pod_source) out.Add(s.pod_source->up ? 1 : 0, {{"source", s.pod_source->kind}});
     }},
    {"podfence_pod_source_failures_total", MetricType::Counter,
     "Requests to the source of pods that failed and watches that broke; absent outside mode manage.",
     [](const Snapshot& s, Samples& out) {
       if (s.pod_source) out.Add(static_cast<double>(s.pod_source->failures), {{"source", s.pod_source->kind}});
     }},
    {"podfence_collector_up", MetricType::Gauge, "1 where the collector's last look worked.",
     [](const Snapshot& s, Samples& out) {
       PerCollector(s, out, [](const CollectorView& c) { return c.up ? 1 : 0; });
     }},
    {"podfence_collector_duration_seconds", MetricType::Gauge, "How long the collector's last look took.",
     [](const Snapshot& s, Samples& out) {
       PerCollector(s, out, [](const CollectorView& c) { return c.duration_seconds; });
     }},
    {"podfence_collector_errors_total", MetricType::Counter, "Looks of the collector that failed.",
     [](const Snapshot& s, Samples& out) { PerCollector(s, out, [](const CollectorView& c) { return c.errors; }); }},
    {"podfence_container_cpu_seconds_total", MetricType::Counter, "CPU time of the container.",
     [](const Snapshot& s, Samples& out) {
       PerContainer(s, out, [](const ContainerView& c) { return c.cpu_seconds; });
     }},
    {"podfence_container_promised_cpus", MetricType::Gauge, "CPUs promised to the container; 0 without a promise.",
     [](const Snapshot& s, Samples& out) {
       PerContainer(s, out, [](const ContainerView& c) { return c.promised_cpus; });
     }},
    {"podfence_container_throttled_seconds_total", MetricType::Counter,
     "Time the container was throttled by CFS, at itself or at any ancestor.",
     [](const Snapshot& s, Samples& out) { PerContainer(s, out, ThrottledSeconds); }},
    {"podfence_container_foreign_run_seconds_total", MetricType::Counter,
     "Time that others ran on the container's exclusive CPUs.",
     [](const Snapshot& s, Samples& out) { PerContainer(s, out, ForeignSeconds); }},
    {"podfence_container_run_queue_seconds", MetricType::Histogram,
     "How long tasks of the container waited for a CPU; absent where it is not measured.", RunQueuePerContainer},
};

}  // namespace

std::span<const MetricDefinition> Catalogue() { return kCatalogue; }

}  // namespace podfence
