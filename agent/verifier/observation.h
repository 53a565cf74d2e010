#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/core/cpu_set.h"
#include "agent/core/foreign.h"
#include "agent/verifier/expectations.h"

namespace podfence {

// What a finding says; see KernelFinding.
enum class KernelFindingKind { kIntrusion, kEscape, kThrottling, kDrift };
inline constexpr size_t kKernelFindingKinds = 4;
std::string_view KernelFindingKindName(KernelFindingKind kind);  // intrusion, escape, throttling, drift

// Something that must not happen and did.
//  intrusion  a foreign task ran on an exclusive CPU (never for bound kernel threads: nobody can act on those)
//  escape     a fenced task ran outside its set, or was moved out of its fence's cgroup
//  throttling the quota of an exclusive container's cgroup, or of one above it, stopped it
//  drift      someone outside a fence changed the affinity of a task in it to CPUs beyond its set or to less than its
//             set, a task's mask was found beyond it, or a quota appeared on an exclusive container's cgroup or above
//             it
struct KernelFinding {
  KernelFindingKind kind = KernelFindingKind::kIntrusion;
  std::string message = {};    // one sentence with all facts, ready for a person
  std::string pod = {};        // whose fence: UID
  std::string container = {};  // and container
  std::string cgroup = {};     // throttling, drift of a quota: the cgroup at fault; else the cgroup of the fence
  ForeignClass foreign = ForeignClass::kHost;  // intrusion: what the intruder is
  int cpu = -1;                                // intrusion, escape; -1: of a task that was moved
  int pid = 0;                                 // intrusion, escape: the task; drift: the task whose mask changed
  std::string comm = {};
  int by_pid = 0;  // drift of an affinity, a task moved: who did it; 0: not known
  std::string by_comm = {};
  std::string seen = {};     // drift of a quota: cpu.max as it stands
  uint64_t cgroup_id = 0;    // the task's own cgroup; moved: the one it came to
  uint64_t duration_ns = 0;  // intrusion, escape: CPU time of that run; throttling: growth since the reading before
};

// A cgroup's CFS bandwidth (cpu.stat and cpu.max of cgroup v2; Documentation/scheduler/sched-bwc.rst).
struct Bandwidth {
  std::string cgroup;                // path below the cgroup root
  std::optional<uint64_t> quota_us;  // none: no limit
  uint64_t period_us = 0;
  uint64_t periods = 0;  // enforcement intervals with a limit
  uint64_t throttled_periods = 0;
  uint64_t throttled_ns = 0;
  uint64_t usage_ns = 0;
};

// Log2 histogram of the time a task waited in the run queue before it got its CPU. Bucket 0 counts waits below 1024 ns,
// bucket i those below 1024 << i ns, the last one everything longer.
inline constexpr size_t kWaitBuckets = 22;
struct WaitHistogram {
  std::array<uint64_t, kWaitBuckets> counts{};
  uint64_t total_ns = 0;
  // Exclusive upper bound of a bucket in nanoseconds; none for the last.
  static std::optional<uint64_t> UpperBoundNs(size_t bucket);
  uint64_t Count() const;
};

// Time that interrupts took, as bpf/interrupts.bpf.c defines the two kinds. Monotonic.
struct InterruptTime {
  uint64_t hard_ns = 0;
  uint64_t soft_ns = 0;  // without the hard ones within
};

// Of one fence of kind exclusive or shared, since it is expected. Monotonic.
struct FenceObservation {
  ExpectedFence fence;                                 // with its cgroup_id
  uint64_t cpu_ns = 0;                                 // CPU time its tasks got (the scheduler's own account)
  uint64_t escape_ns = 0;                              // of it, outside its set
  std::array<uint64_t, kForeignClasses> foreign_ns{};  // exclusive: foreign time on its CPUs
  std::array<uint64_t, kForeignClasses> foreign_runs{};
  WaitHistogram wait = {};
  std::optional<InterruptTime> interrupts = std::nullopt;  // exclusive: on its CPUs; none: not measured
  // Its own cgroup first, then every ancestor up to the child of the cgroup root; empty where the cpu controller is
  // not there, or the cgroup is gone. Periods and throttling count from when each of them was first watched.
  std::vector<Bandwidth> bandwidth = {};
  bool gone = false;  // no such cgroup any more; the counters stay
};

struct Observation {
  uint64_t taken_ns = 0;        // CLOCK_MONOTONIC when the kernel's counters were settled: the time to divide by
  bool kernel_counted = false;  // false: the sched_switch program does not run; only bandwidth is real
  std::vector<FenceObservation> fences;  // exclusive and shared ones, in the order of the expectations
  // Over all fences since start, those that ended included.
  std::array<uint64_t, kForeignClasses> foreign_ns{};
  std::array<uint64_t, kForeignClasses> foreign_runs{};
  uint64_t escape_ns = 0;
  // Of each CPU that is or was exclusive, while it was; empty where not measured.
  std::map<int, InterruptTime> interrupts;
  std::array<uint64_t, kKernelFindingKinds> findings{};  // [KernelFindingKind], counted when found
  uint64_t lost_findings = 0;                            // the ring buffer was full
  uint64_t suppressed_findings = 0;                      // held back: a CPU tells of 16 in a second
  uint64_t failed_helpers = 0;                           // a BPF map was full, or memory could not be read
  uint64_t missed_runs = 0;                              // of programs that find, which the kernel skipped
  uint64_t miscounted_switches = 0;   // not shown to the program: a run of a task was not wholly accounted
  uint64_t bandwidth_mismatches = 0;  // cpu.stat and the kernel's cfs_bandwidth disagreed (only where both are read)
  uint64_t generation = 0;            // how often expectations were switched
};

// One program that was tried on this kernel.
struct Probe {
  std::string name = {};  // sched_switch, affinity_syscall, …
  std::string hook = {};  // tp_btf/sched_switch, …
  std::string what = {};  // what it finds, for `podfence status`
  bool attached = false;
  std::string reason = {};  // why not: the kernel's words, or what turns it on; empty when attached
  // What finds the same where it is not attached, and what is lacking then; empty: nothing does.
  std::string fallback = {};
  uint64_t run_count = 0;  // 0 unless kernel.bpf_stats_enabled
  uint64_t run_time_ns = 0;
  uint64_t missed_runs = 0;
  bool wanted = true;  // false: off by the options, or not needed beside a better one, and so not tried
};
struct ProbeReport {
  std::vector<Probe> probes;
};

}  // namespace podfence
