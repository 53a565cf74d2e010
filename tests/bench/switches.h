#pragma once

// What the benchmarks of the scheduler's program share: cgroups of their own, processes that hand a byte round, and the
// programs under test. They end at once, with a message, where something lacks: a figure is never made up.

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "agent/verifier/libbpf.h"
#include "agent/verifier/sched_probe.h"

struct podfence_empty;
void DestroyEmpty(podfence_empty* object);

namespace podfence::bench {

[[noreturn]] void Fail(const std::string& what);
// Of a program's arguments: how many rounds it measures.
int RoundsOf(int argc, char** argv);
void Check(const absl::Status& status);

double Median(std::vector<double> values);
// The value that the share of all lies below; share from 0 to 1.
double Quantile(std::vector<double> values, double share);

// Of this process and those it makes from then on: before all ordinary tasks, so that other people's load stays out;
// and onto one CPU.
void TakePriority();
void PinToCpu(int cpu);

// Cgroups of cgroup v2 below one of this process's own; removed with the object, when the processes in them have ended.
class Cgroups {
 public:
  explicit Cgroups(size_t count);
  ~Cgroups();
  Cgroups(const Cgroups&) = delete;
  Cgroups& operator=(const Cgroups&) = delete;
  size_t size() const { return ids_.size(); }
  uint64_t id(size_t index) const { return ids_[index]; }
  void Enter(size_t index, pid_t pid) const;

 private:
  std::string Path(size_t index) const;
  std::string before_;  // this process's cgroup
  std::string top_;
  std::vector<uint64_t> ids_;
};

// Processes that hand a byte round in pipes; this one is the first of them. Pinned to one CPU, every handover is a
// context switch. The i-th lives in the i-th cgroup, those beyond in the last one.
class Ring {
 public:
  Ring(size_t processes, const Cgroups& cgroups);
  ~Ring();
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;
  // Nanoseconds a handover, over so many rounds.
  double Turn(int rounds) const;
  size_t size() const { return pipes_.size(); }

 private:
  struct Pipe {
    int read_fd;
    int write_fd;
  };
  std::vector<Pipe> pipes_;  // [i]: to the i-th process
  std::vector<pid_t> others_;
};

// Podfence's program on sched_switch, with expectations in force.
class Podfence {
 public:
  Podfence(const std::vector<ExpectedFence>& fences, bool measure_wait);
  const SchedProbe& probe() const { return *probe_; }
  // Of the i-th fence.
  podfence_counters Counters(size_t fence);
  // Takes what was found, as the agent's loop does; how much.
  size_t Drain();

 private:
  std::unique_ptr<SchedProbe> probe_;
  std::vector<uint32_t> slots_;
};

// A program on sched_switch that does nothing.
class Empty {
 public:
  Empty();

 private:
  std::unique_ptr<podfence_empty, FreeWith<DestroyEmpty>> object_;
};

// The kernel keeps each program's run time while it lives (kernel.bpf_stats_enabled).
class RunTimeStatistics {
 public:
  RunTimeStatistics();
  ~RunTimeStatistics();
  RunTimeStatistics(const RunTimeStatistics&) = delete;
  RunTimeStatistics& operator=(const RunTimeStatistics&) = delete;

 private:
  int fd_;
};

// A fence of a pod of its own.
ExpectedFence MakeFence(FenceKind kind, uint64_t cgroup_id, CpuSet cpus);

}  // namespace podfence::bench
