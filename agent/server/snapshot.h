#pragma once

// server/ shows what the agent knows: /metrics, /api/v1/*, the landing page. Its threads read immutable Snapshots that
// the agent's loop publishes, and share nothing else with it. It may use core/, topology/ and state/ (JSON of
// values); it changes nothing.

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "agent/core/decision.h"
#include "agent/core/foreign.h"
#include "agent/core/machine.h"
#include "agent/core/node_state.h"
#include "agent/core/policy.h"

namespace podfence {

// CFS bandwidth of one cgroup (cpu.stat), the container's own or an ancestor's.
struct ThrottlingView {
  std::string cgroup;    // path below the cgroup root
  bool limited = false;  // cpu.max is not "max"
  uint64_t periods = 0;
  uint64_t throttled_periods = 0;
  double throttled_seconds = 0;
};

// One container of an admitted pod as it lives.
struct ContainerView {
  std::string name;
  std::string kind;     // init | sidecar | app
  std::string phase;    // waiting | running | succeeded | failed
  std::string message;  // why it waits or failed; empty where there is nothing to say
  uint64_t restarts = 0;
  std::string assignment;    // node_exclusive | pod_exclusive | pod_shared | node_shared
  CpuSet cpus;               // the decision: where it may run; empty: not fenced
  CpuSet effective_cpus;     // cpuset.cpus.effective as the kernel says
  NumaSet mems;              // empty: every node
  double promised_cpus = 0;  // exclusive: its CPUs; shared: what its pool or quota leaves it at most; 0: no promise
  double cpu_seconds = 0;    // CPU time used since its cgroup was made
  std::vector<ThrottlingView> throttling;                 // itself first, then every ancestor up to the root
  std::array<double, kForeignClasses> foreign_seconds{};  // time that others ran on its exclusive CPUs
  double escaped_seconds = 0;                             // time that it ran outside its set
  std::optional<double> irq_seconds;                      // hard interrupts on its exclusive CPUs; none: not measured
  std::optional<double> softirq_seconds;                  // and soft ones, without the hard ones within
};

struct PodView {
  std::string uid;
  std::vector<ContainerView> containers;  // init containers, then app containers, in the pod's order
};

// A pod that was refused or is not valid, as its manifest stands.
struct RejectedView {
  std::string pod;     // namespace/name
  std::string source;  // manifest file
  std::string reason;  // TopologyAffinityError, …; Invalid
  std::string message;
};

struct ProbeView {
  std::string name;  // sched_switch, affinity, …
  bool running = false;
  std::string detail;  // how it is attached, or what the kernel said against it, or what turns it on
  uint64_t runs = 0;   // BPF run count and time; 0 where the kernel does not count (bpf_stats_enabled)
  double run_seconds = 0;
  bool wanted = true;  // false: off by configuration
};

// Something an operator should know; count says how often it was seen since the agent's start.
struct FindingView {
  std::string
      kind;  // intrusion, escape, throttling, drift, unfenced, empty_pool, quota, memory, partition, misfit, checkpoint
  std::string pod;  // namespace/name; empty: the node
  std::string container;
  std::string message;
  uint64_t count = 1;
  double last_seen = 0;  // Unix seconds
  bool active = false;   // still so at the last look
};

// One of the agent's sources of measurements: whether its last look worked, how long it took, how often it failed.
struct CollectorView {
  std::string name;  // kernel
  bool up = false;
  double duration_seconds = 0;
  uint64_t errors = 0;
};

// Time that interrupts took on one CPU while it was exclusive.
struct CpuInterruptsView {
  int cpu = 0;
  double hard_seconds = 0;
  double soft_seconds = 0;
};

// What was seen of exclusive containers since the agent's start, ended ones included: never falls.
struct PromiseTotals {
  std::array<double, kForeignClasses> foreign_seconds{};
  double escaped_seconds = 0;
  double throttled_seconds = 0;  // at themselves and at every ancestor
  uint64_t throttled_periods = 0;
  std::vector<CpuInterruptsView> interrupts;  // of CPUs that are or were exclusive; empty where not measured
};

// The answers to one method of the runtime.
struct NriHandlerView {
  std::string method;  // CreateContainer, …
  uint64_t calls = 0;
  uint64_t failures = 0;  // answered with an error
  double seconds = 0;
  double longest_seconds = 0;
  std::vector<uint64_t> log2_us;  // bucket i: below 2^i us; the last: the rest
};

// How things stand with the container runtime (mode manage).
struct NriView {
  bool connected = false;
  std::string runtime;        // name and version
  bool fails_closed = false;  // a create without our answer fails
  uint64_t registrations = 0;
  std::vector<NriHandlerView> handlers;
};

// Where pods come from (mode manage).
struct PodSourceView {
  std::string kind;  // podsapi | apiserver | kubelet
  std::string description;
  bool up = false;
  std::string error;  // while it is not up
  uint64_t failures = 0;
};

struct Snapshot {
  std::string version;
  std::string mode;      // local | manage
  double time = 0;       // Unix seconds of this snapshot
  double monotonic = 0;  // seconds on the node's monotonic clock, for rates
  double started = 0;    // Unix seconds of the agent's start
  Machine machine;
  Policy policy;
  CpuSet reserved_cpus;
  NodeState state;
  std::vector<PodView> pods;  // of state.pods, in UID order
  std::vector<RejectedView> rejected;
  std::vector<ProbeView> probes;
  std::vector<FindingView> findings;
  std::vector<CollectorView> collectors;
  PromiseTotals totals;
  std::optional<NriView> nri;
  std::optional<PodSourceView> pod_source;
  bool per_pod_metrics = false;                    // containers' series are exported (configuration: perPodMetrics)
  std::map<std::string, uint64_t> finding_totals;  // by kind, since the agent's start
  CounterGrowth counters;                          // summed since the agent's start
  uint64_t lost_events = 0;                        // findings that the ring buffer had no room for
  uint64_t drift_repairs = 0;
  uint64_t invariant_violations = 0;
  uint64_t commits = 0;
  uint64_t commit_errors = 0;
  std::array<uint64_t, 2> decisions{};  // admitted, rejected
  double last_decision_seconds = 0;     // how long the last admission took, commit excluded
};

}  // namespace podfence
