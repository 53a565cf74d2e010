// What podfence's program adds to a context switch, on the kernel this runs on, by the number of fenced cgroups.
//
// Processes in fenced cgroups, all pinned to one CPU, hand a byte round: every handover is a context switch from one
// cgroup to the next. Two of them, with ever more cgroups fenced beside; and as many as there are cgroups, one in each:
// the worst order for whatever remembers cgroups, and for the CPU's caches.
//
// Short slices of it run in turn without a program, with one that does nothing, and with podfence's; every round gives
// one difference between the slices of that round, and the median of the differences is shown. So drift of the
// machine's speed and other people's load fall out.
//
//   bench_sched_switch [rounds]    needs root; touches only cgroups of its own
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <optional>
#include <vector>

#include "tests/bench/switches.h"

namespace podfence::bench {
namespace {

constexpr int kCpu = 0;
constexpr int kHandovers = 20000;  // of a slice: about 30 ms

// One way to run the ring: what is attached meanwhile, and what it added, in ns a switch, above the bare and above the
// empty program of the same round.
struct Variant {
  const char* name;
  std::function<double(const Ring&)> slice;
  std::vector<double> added = {};
  std::vector<double> above_empty = {};
};

struct Lost {
  uint64_t lost = 0;
  uint64_t miscounted = 0;
  uint64_t failed = 0;
};

double Turn(const Ring& ring) {
  ring.Turn(3);  // what is new is judged for the first time, and the caches fill
  return ring.Turn(kHandovers / static_cast<int>(ring.size()));
}

double TurnFenced(const Ring& ring, const std::vector<ExpectedFence>& fences, bool waits, Lost& lost) {
  const Podfence podfence(fences, waits);
  const double took = Turn(ring);
  const absl::StatusOr<SchedProbe::Losses> losses = podfence.probe().ReadLosses();
  Check(losses.status());
  lost.lost += losses->lost;
  lost.miscounted += losses->miscounted;
  lost.failed += losses->failed_helpers;
  return took;
}

void Measure(size_t fenced, size_t processes, int rounds, Lost& lost) {
  const Cgroups cgroups(fenced);
  const Ring ring(processes, cgroups);

  // At home: each cgroup's fence has the CPU, as those of one pod's shared containers do; nobody is foreign.
  std::vector<ExpectedFence> at_home;
  // Foreign: another pod, of a cgroup without tasks, owns the CPU.
  std::vector<ExpectedFence> foreign = {MakeFence(FenceKind::kExclusive, cgroups.id(0) + (1 << 20), {kCpu})};
  for (size_t i = 0; i < fenced; ++i) {
    at_home.push_back(MakeFence(FenceKind::kShared, cgroups.id(i), {kCpu}));
    foreign.push_back(MakeFence(FenceKind::kShared, cgroups.id(i), {kCpu}));
  }
  const auto podfence = [&](const std::vector<ExpectedFence>& fences, bool waits) {
    return [&, waits](const Ring& of) { return TurnFenced(of, fences, waits, lost); };
  };
  std::vector<Variant> variants = {
      {"no program", Turn},
      {"empty program",
       [](const Ring& of) {
         const Empty program;
         return Turn(of);
       }},
      {"nothing foreign", podfence(at_home, false)},
      {"foreign time counted", podfence(foreign, false)},
      {"nothing foreign, run-queue histogram", podfence(at_home, true)},
      {"foreign time counted, run-queue histogram", podfence(foreign, true)},
      {"empty program, run-time statistics",
       [](const Ring& of) {
         const RunTimeStatistics statistics;
         const Empty program;
         return Turn(of);
       }},
      {"nothing foreign, run-time statistics",
       [&](const Ring& of) {
         const RunTimeStatistics statistics;
         return TurnFenced(of, at_home, false, lost);
       }},
  };

  std::vector<double> bare;
  std::vector<double> now(variants.size());
  for (int round = 0; round < rounds; ++round) {
    for (size_t i = 0; i < variants.size(); ++i) {
      // Forwards and backwards in turn, so that no variant always follows the same one.
      const size_t at = round % 2 == 0 ? i : variants.size() - 1 - i;
      now[at] = variants[at].slice(ring);
    }
    bare.push_back(now[0]);
    for (size_t i = 0; i < variants.size(); ++i) {
      variants[i].added.push_back(now[i] - now[0]);
      variants[i].above_empty.push_back(now[i] - now[1]);
    }
  }

  printf("\n%zu fenced cgroup%s, %zu processes: %.0f ns a switch without a program\n", fenced, fenced == 1 ? "" : "s",
         ring.size(), Median(bare));
  printf("%-44s %8s %12s %16s\n", "ns a switch", "added", "above empty", "middle half");
  for (size_t i = 1; i < variants.size(); ++i) {
    const Variant& each = variants[i];
    printf("%-44s %8.1f %12.1f %7.1f to %5.1f\n", each.name, Median(each.added), Median(each.above_empty),
           Quantile(each.above_empty, 0.25), Quantile(each.above_empty, 0.75));
  }
}

int Run(int rounds) {
  const LibbpfLog quiet;
  TakePriority();
  PinToCpu(kCpu);
  Lost lost;
  for (size_t fenced : {1, 100, 1000}) Measure(fenced, 2, rounds, lost);
  for (size_t fenced : {100, 1000}) Measure(fenced, fenced, rounds, lost);
  printf("\nlost: %lu findings, %lu runs not accounted, %lu failed helpers\n", lost.lost, lost.miscounted, lost.failed);
  return lost.lost + lost.miscounted + lost.failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace podfence::bench

int main(int argc, char** argv) { return podfence::bench::Run(podfence::bench::RoundsOf(argc, argv)); }
