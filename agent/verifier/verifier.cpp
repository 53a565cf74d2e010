#include "agent/verifier/verifier.h"

#include <time.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "absl/strings/str_split.h"
#include "agent/cgroup/cgroup.h"
#include "agent/core/text.h"
#include "agent/verifier/bandwidth_probe.h"
#include "agent/verifier/bandwidth_watch.h"
#include "agent/verifier/cgroup_path.h"
#include "agent/verifier/drift_probe.h"
#include "agent/verifier/findings.h"
#include "agent/verifier/interrupt_probe.h"
#include "agent/verifier/move_probe.h"
#include "agent/verifier/sched_probe.h"
#include "agent/verifier/tables.h"
#include "agent/verifier/write_probe.h"

namespace podfence {
namespace {

constexpr size_t kMaxQueuedFindings = 10000;  // kept for Poll; beyond it they are counted as lost

// The CPUs that the running kernel can have. BPF runs there and nowhere else, so no root is injected.
absl::StatusOr<uint32_t> PossibleCpus() {
  const std::string path = "/sys/devices/system/cpu/possible";
  std::ifstream file(path);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  absl::StatusOr<CpuSet> cpus = CpuSet::Parse(text);
  if (!cpus.ok()) return absl::Status(cpus.status().code(), Cat(path, ": ", ToStd(cpus.status().message())));
  int highest = -1;
  for (int cpu : *cpus) highest = cpu;
  if (highest < 0) return absl::UnavailableError(Cat("read ", path, ": no CPU in it"));
  return static_cast<uint32_t>(highest) + 1;
}

uint64_t MonotonicNs() {
  timespec now = {};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000000 + static_cast<uint64_t>(now.tv_nsec);
}

absl::Status NoTables() { return absl::UnavailableError("needs the tables of sched_switch, which does not run"); }

// Whether a list of words, as cgroup.controllers, has one.
bool Contains(std::string_view words, std::string_view word) {
  const std::vector<absl::string_view> all = absl::StrSplit(ToAbsl(words), absl::ByAnyChar(" \n"), absl::SkipEmpty());
  return std::ranges::find(all, ToAbsl(word)) != all.end();
}

// One probe as it was tried: what is told of it, and where its statistics come from.
struct Tried {
  Probe probe;
  std::function<void(Probe&)> statistics;
};

class KernelVerifier final : public Verifier {
 public:
  KernelVerifier(Cgroup root, const TableSizes& sizes) : root_(std::move(root)), sizes_(sizes), book_(sizes) {}

  void StartProbes(const VerifierOptions& options);
  absl::Status Expect(const Expectations& expectations) override;
  absl::StatusOr<Observation> Read() override;
  absl::Status Sweep() override;
  std::vector<KernelFinding> Poll() override;
  int fd() const override { return sched_ != nullptr ? sched_->ring_fd() : -1; }
  absl::Status RememberWriters(const std::set<uint64_t>& cgroup_ids) override;
  std::optional<Writer> WhoWrote(uint64_t cgroup_id, std::string_view file) const override;
  void ForgetWriter(uint64_t cgroup_id, std::string_view file) override;
  ProbeReport Probes() const override;

 private:
  template <typename T>
  std::unique_ptr<T> Try(Probe probe, absl::StatusOr<std::unique_ptr<T>> started);
  void TryAffinities();
  void TryMoves();
  void TryFile(Probe probe, std::string_view controller);
  void SetFallbacks();
  const Probe* Running(std::string_view name) const;
  uint64_t MissedRuns() const;
  bool Stands(const std::vector<ExpectedFence>& fences) const;
  absl::Status SwitchTables(const std::vector<ExpectedFence>& fences);
  absl::Status AddKernelCounters(Observation& observation);
  absl::Status AddInterrupts(Observation& observation);
  KernelFinding Named(const podfence_event& event) const;
  void Queue(KernelFinding finding);

  Cgroup root_;
  TableSizes sizes_;
  std::unique_ptr<SchedProbe> sched_;
  std::unique_ptr<DriftProbe> request_;
  std::unique_ptr<DriftProbe> change_;
  std::unique_ptr<DriftProbe> sweep_;
  std::unique_ptr<MoveProbe> moves_;
  std::unique_ptr<WriteProbe> writes_;
  std::unique_ptr<BandwidthProbe> bandwidth_;
  std::unique_ptr<InterruptProbe> interrupts_;
  std::vector<Tried> tried_;

  SlotBook book_;
  std::vector<ExpectedFence> fences_;
  bool in_force_ = false;                    // fences_ reached the kernel as a whole
  std::vector<uint32_t> slots_;              // of fences_
  CpuSet exclusive_;                         // named by an exclusive fence ever: a counter that was read stays
  std::map<uint32_t, ExpectedFence> names_;  // by slot, those that ended too until the slot is used again
  BandwidthWatch watch_;
  std::set<uint64_t> remembered_;  // whose writers are, besides those of watch_
  Observation ended_;              // sums of the fences that ended
  std::vector<KernelFinding> queue_;
  std::array<uint64_t, kKernelFindingKinds> found_{};
  uint64_t overflowed_ = 0;
  uint64_t switched_ = 0;
  std::set<std::pair<uint32_t, uint32_t>> swept_;  // told of since the last Expect: slot, tid
};

template <typename T>
std::unique_ptr<T> KernelVerifier::Try(Probe probe, absl::StatusOr<std::unique_ptr<T>> started) {
  Tried tried{.probe = std::move(probe), .statistics = {}};
  std::unique_ptr<T> running;
  if (started.ok()) {
    running = *std::move(started);
    tried.probe.attached = true;
    tried.statistics = [raw = running.get()](Probe& filled) { raw->ReadStatistics(filled); };
  } else {
    tried.probe.reason = std::string(started.status().message());
  }
  tried_.push_back(std::move(tried));
  return running;
}

void KernelVerifier::StartProbes(const VerifierOptions& options) {
  sched_ = Try({.name = "sched_switch",
                .hook = "tp_btf/sched_switch",
                .what = "foreign time on exclusive CPUs, escapes, CPU time and waits of fenced containers"},
               SchedProbe::Start(sizes_, options.measure_wait, options.ring_bytes));
  TryAffinities();
  TryMoves();
  writes_ = Try({.name = "cgroup_write",
                 .hook = "fentry/cgroup_file_write",
                 .what = "who wrote the control files of fences, of the cgroups above them and of the host's"},
                sched_ != nullptr ? WriteProbe::Start(*sched_) : NoTables());
  bandwidth_ = Try({.name = "bandwidth",
                    .hook = "iter/cgroup",
                    .what = "the scheduler's throttling accounts, compared with cpu.stat"},
                   BandwidthProbe::Start(root_));
  TryFile({.name = "cpu_stat", .hook = "cpu.stat", .what = "throttling at fences and above them"}, "cpu");
  TryFile({.name = "numa_stat", .hook = "memory.numa_stat", .what = "memory on other NUMA nodes than decided"},
          "memory");
  const auto interrupts = [&]() -> absl::StatusOr<std::unique_ptr<InterruptProbe>> {
    if (!options.measure_interrupts) return absl::CancelledError("off: measureInterrupts");
    if (sched_ == nullptr) return NoTables();
    return InterruptProbe::Start(*sched_);
  };
  interrupts_ = Try({.name = "interrupts",
                     .hook = "raw_tp/irq_handler_*, softirq_*",
                     .what = "time of hard and soft interrupts on exclusive CPUs",
                     .wanted = options.measure_interrupts},
                    interrupts());
  SetFallbacks();
}

void KernelVerifier::TryAffinities() {
  const auto drift = [&](std::string_view name) -> absl::StatusOr<std::unique_ptr<DriftProbe>> {
    if (sched_ == nullptr) return NoTables();
    return DriftProbe::Start(name, *sched_);
  };
  request_ = Try({.name = "affinity_request",
                  .hook = "fentry/__sched_setaffinity",
                  .what = "who asks from outside to widen or narrow a fenced task's affinity"},
                 drift("affinity_request"));
  change_ = Try({.name = "affinity_change",
                 .hook = "fentry/set_cpus_allowed_ptr",
                 .what = "who makes the kernel widen it, by a cpuset for example"},
                drift("affinity_change"));
  sweep_ = Try({.name = "affinity_sweep",
                .hook = "iter/task",
                .what = "affinities beyond a fence, whoever made them, at each sweep"},
               drift("affinity_sweep"));
}

// One of these is enough: those behind the first that runs are not tried.
void KernelVerifier::TryMoves() {
  struct Way {
    MoveMeans means;
    const char* name;
    const char* hook;
    const char* what;
  };
  constexpr Way kWays[] = {
      {MoveMeans::kCall, "cgroup_move", "fentry, fexit/cgroup_attach_task", "tasks moved out of their fence, by whom"},
      {MoveMeans::kTracepoint, "cgroup_move_trace", "tp_btf/cgroup_attach_task, iter/task",
       "the same, of processes that lived at the sweep before"},
      {MoveMeans::kSweep, "cgroup_move_sweep", "iter/task", "the same at the next sweep, not by whom"},
  };
  std::string running;
  for (const Way& way : kWays) {
    Probe probe{.name = way.name, .hook = way.hook, .what = way.what, .wanted = running.empty()};
    absl::StatusOr<std::unique_ptr<MoveProbe>> started = NoTables();
    if (!running.empty()) {
      started = absl::CancelledError(Cat("not needed: ", running, " runs"));
    } else if (sched_ != nullptr) {
      started = MoveProbe::Start(way.means, *sched_);
    }
    if (started.ok()) running = way.name;
    std::unique_ptr<MoveProbe> probe_of = Try(std::move(probe), std::move(started));
    if (probe_of != nullptr) moves_ = std::move(probe_of);
  }
}

// What is no program but a file that is there with its controller.
void KernelVerifier::TryFile(Probe probe, std::string_view controller) {
  const absl::StatusOr<std::string> controllers = root_.Read("cgroup.controllers");
  if (!controllers.ok()) {
    probe.reason = std::string(controllers.status().message());
  } else if (probe.attached = Contains(*controllers, controller); !probe.attached) {
    probe.reason = Cat("cgroup v2 has no ", controller, " controller here (cgroup.controllers of ", root_.path(),
                       "): it is a v1 hierarchy's, or switched off");
  }
  tried_.push_back({.probe = std::move(probe), .statistics = {}});
}

const Probe* KernelVerifier::Running(std::string_view name) const {
  for (const Tried& tried : tried_) {
    if (tried.probe.name == name && tried.probe.attached) return &tried.probe;
  }
  return nullptr;
}

void KernelVerifier::SetFallbacks() {
  struct Step {
    const char* probe;
    const char* fallback;  // a probe; empty: none is needed for the finding itself
    const char* lacking;
  };
  constexpr Step kSteps[] = {
      {"affinity_request", "affinity_sweep", "what stands at a sweep, not who did it, and nothing narrowed"},
      {"affinity_change", "affinity_sweep", "what stands at a sweep, not who did it"},
      {"cgroup_move", "cgroup_move_trace", "processes that lived at the sweep before"},
      {"cgroup_move", "cgroup_move_sweep", "at the next sweep, and not who did it"},
      {"cgroup_move_trace", "cgroup_move_sweep", "at the next sweep, and not who did it"},
      {"cgroup_write", "", "drift is found all the same, without who wrote"},
      {"bandwidth", "cpu_stat", "throttling as cpu.stat tells it, not held against the scheduler"},
  };
  for (const Step& step : kSteps) {
    for (Tried& tried : tried_) {
      Probe& probe = tried.probe;
      if (probe.name != step.probe || probe.attached || !probe.fallback.empty()) continue;
      const std::string fallback = step.fallback;
      if (fallback.empty()) probe.fallback = step.lacking;
      if (Running(fallback) != nullptr) probe.fallback = Cat(fallback, ": ", step.lacking);
    }
  }
}

absl::Status KernelVerifier::SwitchTables(const std::vector<ExpectedFence>& fences) {
  SlotBook book = book_;
  absl::StatusOr<SlotBook::Change> change = book.Assign(fences);
  if (!change.ok()) return change.status();
  absl::StatusOr<TableImage> image = EncodeTables(fences, change->slots, sizes_);
  if (!image.ok()) return image.status();
  for (uint32_t slot : change->added) {
    absl::Status status = sched_->Clear(slot);
    if (status.ok() && interrupts_ != nullptr) status = interrupts_->Clear(slot);
    if (!status.ok()) return status;
  }
  if (absl::Status status = sched_->Publish(*image); !status.ok()) return status;
  book_ = std::move(book);
  slots_ = std::move(change->slots);
  for (size_t i = 0; i < fences.size(); ++i) names_[slots_[i]] = fences[i];
  absl::Status status = sched_->SettleOld();
  for (uint32_t slot : change->ended) {
    absl::StatusOr<podfence_counters> last = sched_->ReadCounters(slot);
    if (!last.ok()) {
      status.Update(last.status());
      continue;
    }
    for (size_t i = 0; i < kForeignClasses; ++i) {
      ended_.foreign_ns[i] += last->foreign_ns[i];
      ended_.foreign_runs[i] += last->foreign_runs[i];
    }
    ended_.escape_ns += last->escape_ns;
  }
  return status;
}

absl::Status KernelVerifier::Expect(const Expectations& expectations) {
  if (absl::Status status = ValidateExpectations(expectations); !status.ok()) return status;
  if (expectations.fences.size() > sizes_.max_fences) {
    return absl::ResourceExhaustedError(
        Cat(expectations.fences.size(), " fences are more than max_fences, ", sizes_.max_fences, "; raise it"));
  }
  swept_.clear();  // what a sweep finds again is told again
  if (in_force_ && Stands(expectations.fences)) return absl::OkStatus();
  std::vector<ExpectedFence> fences = expectations.fences;
  BandwidthWatch watch(root_, fences, watch_);
  absl::Status status = absl::OkStatus();
  if (sched_ != nullptr) {
    const uint64_t before = sched_->generation();
    status = SwitchTables(fences);
    if (sched_->generation() == before) return status;
  }
  fences_ = std::move(fences);
  for (const ExpectedFence& fence : fences_) {
    if (fence.kind == FenceKind::kExclusive) exclusive_ |= fence.cpus;
  }
  watch_ = std::move(watch);
  status.Update(RememberWriters(remembered_));
  in_force_ = status.ok();
  ++switched_;
  return status;
}

// Whether the kernel has been told all of this already. What is expected of whatever is at a path now may be another
// cgroup by now.
bool KernelVerifier::Stands(const std::vector<ExpectedFence>& fences) const {
  return fences == fences_ &&
         std::ranges::none_of(fences, [](const ExpectedFence& fence) { return fence.cgroup_id == 0; });
}

absl::Status KernelVerifier::AddKernelCounters(Observation& observation) {
  if (absl::Status status = sched_->Settle(); !status.ok()) return status;
  observation.taken_ns = MonotonicNs();
  for (size_t i = 0; i < fences_.size(); ++i) {
    absl::StatusOr<podfence_counters> counters = sched_->ReadCounters(slots_[i]);
    if (!counters.ok()) return counters.status();
    observation.escape_ns += counters->escape_ns;
    for (size_t j = 0; j < kForeignClasses; ++j) {
      observation.foreign_ns[j] += counters->foreign_ns[j];
      observation.foreign_runs[j] += counters->foreign_runs[j];
    }
    FenceObservation& fence = observation.fences[i];
    fence.cpu_ns = counters->cpu_ns;
    fence.escape_ns = counters->escape_ns;
    std::copy_n(counters->foreign_ns, kForeignClasses, fence.foreign_ns.begin());
    std::copy_n(counters->foreign_runs, kForeignClasses, fence.foreign_runs.begin());
    fence.wait.total_ns = counters->wait_ns;
    std::copy_n(counters->waits, kWaitBuckets, fence.wait.counts.begin());
  }
  absl::StatusOr<SchedProbe::Losses> losses = sched_->ReadLosses();
  if (!losses.ok()) return losses.status();
  observation.lost_findings += losses->lost;
  observation.suppressed_findings = losses->suppressed;
  observation.failed_helpers = losses->failed_helpers;
  observation.missed_runs = MissedRuns();
  observation.miscounted_switches = losses->miscounted;
  return absl::OkStatus();
}

absl::Status KernelVerifier::AddInterrupts(Observation& observation) {
  for (int cpu : exclusive_) {
    absl::StatusOr<InterruptTime> time = interrupts_->ReadCpu(static_cast<uint32_t>(cpu));
    if (!time.ok()) return time.status();
    observation.interrupts.emplace(cpu, *time);
  }
  for (size_t i = 0; i < fences_.size(); ++i) {
    if (fences_[i].kind != FenceKind::kExclusive) continue;
    absl::StatusOr<InterruptTime> time = interrupts_->ReadSlot(slots_[i]);
    if (!time.ok()) return time.status();
    observation.fences[i].interrupts = *time;
  }
  return absl::OkStatus();
}

absl::StatusOr<Observation> KernelVerifier::Read() {
  Observation observation = ended_;
  observation.kernel_counted = sched_ != nullptr;
  observation.taken_ns = MonotonicNs();
  for (const ExpectedFence& fence : fences_) observation.fences.push_back({.fence = fence});
  if (sched_ != nullptr) {
    absl::Status status = AddKernelCounters(observation);
    if (status.ok() && interrupts_ != nullptr) status = AddInterrupts(observation);
    if (!status.ok()) return status;
  }
  std::vector<KernelFinding> findings;
  if (absl::Status status = watch_.Read(fences_, bandwidth_.get(), findings); !status.ok()) return status;
  for (KernelFinding& finding : findings) Queue(std::move(finding));
  for (size_t i = 0; i < fences_.size(); ++i) {
    observation.fences[i].bandwidth = watch_.Chain(i);
    observation.fences[i].gone = watch_.Gone(i);
  }
  std::erase_if(observation.fences, [](const FenceObservation& each) {
    return each.fence.kind != FenceKind::kExclusive && each.fence.kind != FenceKind::kShared;
  });
  observation.bandwidth_mismatches = watch_.mismatches();
  observation.findings = found_;
  observation.lost_findings += overflowed_;
  observation.generation = switched_;
  return observation;
}

absl::Status KernelVerifier::Sweep() {
  if (sweep_ == nullptr) {
    for (const Tried& tried : tried_) {
      if (tried.probe.name == "affinity_sweep") return absl::UnavailableError(tried.probe.reason);
    }
  }
  absl::StatusOr<std::vector<podfence_event>> records = sweep_->Sweep();
  if (!records.ok()) return records.status();
  for (const podfence_event& record : *records) {
    if (swept_.emplace(record.slot, record.tid).second) Queue(ToFinding(record, names_));
  }
  if (moves_ == nullptr) return absl::OkStatus();
  absl::StatusOr<std::vector<podfence_event>> moved = moves_->Sweep();
  if (!moved.ok()) return moved.status();
  for (const podfence_event& record : *moved) Queue(Named(record));
  return absl::OkStatus();
}

KernelFinding KernelVerifier::Named(const podfence_event& event) const {
  const bool moved = event.kind == PODFENCE_EVENT_MOVED;
  return ToFinding(event, names_, moved ? CgroupPath(root_, event.cgroup_id) : "");
}

void KernelVerifier::Queue(KernelFinding finding) {
  ++found_[static_cast<size_t>(finding.kind)];
  if (queue_.size() >= kMaxQueuedFindings) {
    ++overflowed_;
    return;
  }
  queue_.push_back(std::move(finding));
}

std::vector<KernelFinding> KernelVerifier::Poll() {
  if (sched_ != nullptr) {
    sched_->Drain([this](const podfence_event& event) { Queue(Named(event)); });
  }
  return std::exchange(queue_, {});
}

absl::Status KernelVerifier::RememberWriters(const std::set<uint64_t>& cgroup_ids) {
  remembered_ = cgroup_ids;
  if (writes_ == nullptr) return absl::OkStatus();
  std::set<uint64_t> all = watch_.CgroupIds();
  all.insert(remembered_.begin(), remembered_.end());
  return writes_->Watch(all);
}

std::optional<Writer> KernelVerifier::WhoWrote(uint64_t cgroup_id, std::string_view file) const {
  if (writes_ == nullptr) return std::nullopt;
  return writes_->Who(cgroup_id, file).value_or(std::nullopt);
}

void KernelVerifier::ForgetWriter(uint64_t cgroup_id, std::string_view file) {
  if (writes_ != nullptr) writes_->Forget(cgroup_id, file);
}

// Of the programs that find: a run that the kernel skipped, since the same program was in progress on its CPU, may have
// had something to tell. Interrupts are measured only.
uint64_t KernelVerifier::MissedRuns() const {
  uint64_t missed = 0;
  for (const Tried& tried : tried_) {
    if (!tried.statistics || tried.probe.name == "interrupts") continue;
    Probe filled = tried.probe;
    tried.statistics(filled);
    missed += filled.missed_runs;
  }
  return missed;
}

ProbeReport KernelVerifier::Probes() const {
  ProbeReport report;
  for (const Tried& tried : tried_) {
    report.probes.push_back(tried.probe);
    if (tried.statistics) tried.statistics(report.probes.back());
  }
  return report;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Verifier>> Verifier::Start(const VerifierOptions& options) {
  constexpr uint32_t kMostFences = 1 << 16;
  if (options.max_fences == 0 || options.max_fences > kMostFences) {
    return absl::InvalidArgumentError(Cat("max_fences is ", options.max_fences, "; take 1 to ", kMostFences));
  }
  absl::StatusOr<Cgroup> root = Cgroup::Open(options.cgroup_root);
  if (!root.ok()) return root.status();
  absl::StatusOr<uint32_t> cpus = PossibleCpus();
  if (!cpus.ok()) return cpus.status();
  auto verifier =
      std::make_unique<KernelVerifier>(*std::move(root), TableSizes{.cpus = *cpus, .max_fences = options.max_fences});
  verifier->StartProbes(options);
  return verifier;
}

}  // namespace podfence
