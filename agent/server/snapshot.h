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
#include "agent/core/histogram.h"
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

// How long tasks of a container waited for a CPU since its cgroup was made.
struct RunQueueView {
  Histogram waits;  // seconds
  // Quantiles of the kernel's own, finer histogram: each of its ranges ends at twice the wait of the one before, and
  // waits are taken as spread over a range evenly, so the true value is at most twice or half of it. 1.07 s stands for
  // everything longer.
  double p50_seconds = 0;
  double p90_seconds = 0;
  double p99_seconds = 0;
  double p999_seconds = 0;
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
  std::optional<RunQueueView> run_queue;                  // none: not measured
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
  std::string hook = {};      // where in the kernel
  std::string finds = {};     // what it finds, for a person
  std::string reason = {};    // why not: the kernel's words, or what turns it on; empty where it runs
  std::string fallback = {};  // what finds the same instead, and what that lacks; empty: nothing
  uint64_t runs = 0;          // BPF run count and time; 0 where the kernel does not count (bpf_stats_enabled)
  double run_seconds = 0;
  bool wanted = true;  // false: off by configuration, or not needed beside a better one
};

// Who did it: of an intrusion the intruder, of an escape the task that escaped. Names are what the kernel had, any
// bytes in them.
struct FindingActor {
  int pid = 0;
  std::string comm = {};
  std::string cgroup = {};  // path below the cgroup root; empty: not known
  friend bool operator==(const FindingActor&, const FindingActor&) = default;
};

// Something an operator should know. Fields that do not apply, or are not known, are empty; in the API every key is
// always there, and null for cpu, by and duration_seconds where there is none.
struct FindingView {
  std::string kind = {};       // intrusion, escape, throttling, drift, unfenced, empty_pool, quota, memory, partition,
                               // cpu_offline, misfit, checkpoint
  std::string pod = {};        // namespace/name; empty: the node
  std::string container = {};  // name
  std::string cgroup = {};     // absolute path
  std::string file = {};       // control file in it; empty: not one file, but the cgroup or its tasks
  std::optional<int> cpu = std::nullopt;  // intrusion, escape: where it was seen last
  std::string expected = {};
  std::string seen = {};
  std::string foreign_class = {};                         // intrusion (key "class"): what the intruder is
  std::optional<FindingActor> by = std::nullopt;          // who, where that is known
  std::optional<double> duration_seconds = std::nullopt;  // CPU time of that run; time throttled since the look before
  bool repaired = false;                                  // undone by the agent, and read back
  std::string message = {};                               // one sentence for a person, all of the above in it
  double since = 0;                                       // Unix seconds: became active
  double last_seen = 0;                                   // Unix seconds
  uint64_t count = 1;                                     // how often it was seen since the agent's start
  bool active = false;                                    // still so at the last look
  friend bool operator==(const FindingView&, const FindingView&) = default;
};

// Whether this node is as decided: clean, findings, or unknown where something that a look needs is missing or was
// lost. reasons: what is not known, and why; also beside findings.
struct VerificationView {
  std::string state = "unknown";
  struct Reason {
    std::string what;
    std::string reason;
    friend bool operator==(const Reason&, const Reason&) = default;
  };
  std::vector<Reason> reasons = {};
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

// What containers are told apart by where they wait for a CPU; node_exclusive and pod_exclusive are one.
inline constexpr std::array<std::string_view, 3> kRunQueueAssignments = {"exclusive", "pod_shared", "node_shared"};

// What was seen of exclusive containers since the agent's start, ended ones included: never falls.
struct PromiseTotals {
  std::array<double, kForeignClasses> foreign_seconds{};
  double escaped_seconds = 0;
  double throttled_seconds = 0;  // at themselves and at every ancestor
  uint64_t throttled_periods = 0;
  std::vector<CpuInterruptsView> interrupts;  // of CPUs that are or were exclusive; empty where not measured
  // Of containers that share CPUs: at every cgroup that held one of them back. To be expected, and no finding.
  double shared_throttled_seconds = 0;
  std::map<std::string, Histogram> run_queue;  // waits in seconds by assignment, of kRunQueueAssignments
};

// The answers to one method of the runtime.
struct NriHandlerView {
  std::string method;  // CreateContainer, …
  uint64_t calls = 0;
  uint64_t failures = 0;  // answered with an error
  double longest_seconds = 0;
  Histogram seconds;
};

// How things stand with the container runtime (mode manage).
struct NriView {
  bool connected = false;
  std::string runtime;        // name and version
  bool fails_closed = false;  // a create without our answer fails
  uint64_t registrations = 0;
  std::vector<NriHandlerView> handlers;
};

// Where pods come from (modes manage and audit).
struct PodSourceView {
  std::string kind;  // podsapi | apiserver | kubelet
  std::string description;
  bool up = false;
  std::string error;  // while it is not up
  uint64_t failures = 0;
};

struct Snapshot {
  std::string version;
  std::string mode;      // local | manage | audit
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
  VerificationView verification;
  CounterGrowth counters;    // summed since the agent's start
  uint64_t lost_events = 0;  // findings that may be lost: no room, or a skipped program
  uint64_t drift_repairs = 0;
  Histogram repair_seconds;  // of each of these, from when the write was seen to the repair read back
  uint64_t invariant_violations = 0;
  uint64_t commits = 0;
  uint64_t commit_errors = 0;
  std::array<uint64_t, 2> decisions{};  // admitted, rejected
  double last_decision_seconds = 0;     // how long the last admission took, commit excluded
};

}  // namespace podfence
