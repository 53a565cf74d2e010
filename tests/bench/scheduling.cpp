// What programs that switch all the time pay for podfence's program on sched_switch, and whether it keeps up.
//
// Two loads run without it and with it in turn, beside 100 fenced cgroups and with the run-queue histogram, as the
// agent has it: two processes that hand a byte to and fro on whatever CPUs they get (as `perf bench sched pipe`), and
// groups of 20 senders and 20 receivers of 100 bytes over sockets (as hackbench). All of it has a real-time priority.
// Every round gives one ratio. Then as many switches a second as this machine gives, all of them to foreign tasks: what
// is counted is held against the kernel's own count, and nothing may be lost.
//
//   bench_scheduling [rounds]    needs root; touches only cgroups of its own
#include <fcntl.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "agent/core/text.h"
#include "tests/bench/switches.h"

namespace podfence::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kFenced = 100;
constexpr int kHandovers = 40000;
constexpr int kGroups = 4;
constexpr int kMembers = 20;  // senders, and as many receivers
constexpr int kLoops = 50;
constexpr std::chrono::milliseconds kRush{500};

double Seconds(Clock::time_point since) { return std::chrono::duration<double>(Clock::now() - since).count(); }

CpuSet AllCpus() {
  CpuSet all;
  for (int cpu = 0; cpu < static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN)); ++cpu) all |= CpuSet{cpu};
  return all;
}

// A child that does its work and ends.
pid_t Spawn(const std::function<void()>& work) {
  const pid_t pid = fork();
  if (pid < 0) Fail("cannot fork");
  if (pid > 0) return pid;
  work();
  _exit(0);
}

// One group's processes, waiting for the start's end of file.
void SpawnGroup(int start, std::vector<pid_t>& pids) {
  const auto await_start = [start] {
    char byte = 0;
    if (read(start, &byte, 1) != 0) Fail("the start is no end of file");
  };
  std::vector<int> to;
  for (int i = 0; i < kMembers; ++i) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) Fail("cannot make sockets");
    pids.push_back(Spawn([&] {
      await_start();
      char message[100];
      for (int64_t left = int64_t{kMembers} * kLoops * static_cast<int64_t>(sizeof message); left > 0;) {
        const ssize_t got = read(ends[0], message, sizeof message);
        if (got <= 0) Fail("a sender is gone");
        left -= got;
      }
    }));
    close(ends[0]);
    to.push_back(ends[1]);
  }
  for (int i = 0; i < kMembers; ++i) {
    pids.push_back(Spawn([&] {
      await_start();
      const char message[100] = {};
      for (int loop = 0; loop < kLoops; ++loop) {
        for (int fd : to) {
          if (write(fd, message, sizeof message) != sizeof message) Fail("a receiver is gone");
        }
      }
    }));
  }
  for (int fd : to) close(fd);
}

// Seconds from the start to the end of the last process.
double Messages() {
  int start[2];
  if (pipe2(start, O_CLOEXEC) != 0) Fail("cannot make pipes");
  std::vector<pid_t> pids;
  // The writing end of the start is open here alone, so that closing it starts all.
  const int writing = start[1];
  for (int group = 0; group < kGroups; ++group) {
    pids.push_back(Spawn([&] {
      close(writing);
      std::vector<pid_t> members;
      SpawnGroup(start[0], members);
      for (pid_t pid : members) waitpid(pid, nullptr, 0);
    }));
  }
  usleep(100000);  // all of them wait
  const Clock::time_point begin = Clock::now();
  close(start[1]);
  for (pid_t pid : pids) {
    int status = 0;
    if (waitpid(pid, &status, 0) != pid || status != 0) Fail("a group failed");
  }
  close(start[0]);
  return Seconds(begin);
}

void Compare(const char* load, const std::vector<ExpectedFence>& fences, int rounds,
             const std::function<double()>& run) {
  std::vector<double> off;
  std::vector<double> ratios;
  run();  // the first one finds cold caches
  for (int round = 0; round < rounds; ++round) {
    double with = 0;
    double without = 0;
    for (const bool on : {round % 2 == 0, round % 2 != 0}) {
      std::optional<Podfence> podfence;
      if (on) podfence.emplace(fences, true);
      (on ? with : without) = run();
    }
    off.push_back(without);
    ratios.push_back(with / without);
  }
  printf("%-44s %9.3f s %+8.1f%%   %+.1f to %+.1f%%\n", load, Median(off), 100 * (Median(ratios) - 1),
         100 * (Quantile(ratios, 0.25) - 1), 100 * (Quantile(ratios, 0.75) - 1));
}

// Context switches of a process so far, by the kernel's count.
uint64_t SwitchesOf(pid_t pid) {
  std::ifstream status(Cat("/proc/", pid, "/status"));
  uint64_t sum = 0;
  for (std::string line; std::getline(status, line);) {
    if (line.find("voluntary_ctxt_switches:") != std::string::npos) sum += std::stoull(line.substr(line.find(':') + 1));
  }
  return sum;
}

// Pairs of processes, one on each CPU, that do nothing but give the CPU to each other. Whether nothing was lost.
bool Rush() {
  const Cgroups cgroups(1);
  const CpuSet all = AllCpus();
  // All CPUs are those of a container without tasks.
  Podfence podfence({MakeFence(FenceKind::kExclusive, cgroups.id(0) + (1 << 20), all),
                     MakeFence(FenceKind::kShared, cgroups.id(0), all)},
                    true);
  std::vector<pid_t> pids;
  uint64_t before = 0;
  for (int cpu : all) {
    for (int i = 0; i < 2; ++i) {
      pids.push_back(Spawn([cpu] {
        PinToCpu(cpu);
        raise(SIGSTOP);
        const Clock::time_point until = Clock::now() + kRush;
        while (Clock::now() < until) {
          for (int yields = 0; yields < 100; ++yields) sched_yield();
        }
      }));
      waitpid(pids.back(), nullptr, WUNTRACED);
      cgroups.Enter(0, pids.back());
      before += SwitchesOf(pids.back());
    }
  }
  const Clock::time_point begin = Clock::now();
  for (pid_t pid : pids) kill(pid, SIGCONT);
  uint64_t switches = 0;
  for (pid_t pid : pids) {
    rusage used = {};
    if (wait4(pid, nullptr, 0, &used) != pid) Fail("a process is gone");
    switches += static_cast<uint64_t>(used.ru_nvcsw + used.ru_nivcsw);
  }
  const double took = Seconds(begin);
  switches -= before;
  const podfence_counters counters = podfence.Counters(0);
  const uint64_t counted = counters.foreign_runs[PODFENCE_FOREIGN_CONTAINER];
  const absl::StatusOr<SchedProbe::Losses> losses = podfence.probe().ReadLosses();
  Check(losses.status());
  printf("\n%.2f million switches a second on %d CPUs, all to foreign tasks: %lu, counted %lu; %zu findings\n",
         static_cast<double>(switches) / took / 1e6, all.size(), switches, counted, podfence.Drain());
  printf(
      "lost: %lu findings, %lu failed helpers; of the machine's other tasks, foreign too: %lu findings held back, "
      "%lu runs not accounted\n",
      losses->lost, losses->failed_helpers, losses->suppressed, losses->miscounted);
  // The last switch of a process that ends may come after it was waited for.
  const uint64_t off = counted > switches ? counted - switches : switches - counted;
  return off <= pids.size() && losses->lost + losses->failed_helpers == 0;
}

int Run(int rounds) {
  const LibbpfLog quiet;
  TakePriority();
  {
    const Cgroups cgroups(kFenced);
    std::vector<ExpectedFence> fences;
    for (size_t i = 0; i < kFenced; ++i) fences.push_back(MakeFence(FenceKind::kShared, cgroups.id(i), AllCpus()));
    const Ring pair(2, cgroups);
    printf("%-44s %11s %9s   %s\n", "load", "without", "with", "middle half");
    Compare("pipe, 40,000 handovers", fences, rounds, [&] { return pair.Turn(kHandovers / 2) * kHandovers * 1e-9; });
    Compare("messages, 4 groups of 20 + 20, 80,000 of them", fences, rounds, Messages);
  }
  if (Rush()) return 0;
  fprintf(stderr, "bench: switches were lost\n");
  return 1;
}

}  // namespace
}  // namespace podfence::bench

int main(int argc, char** argv) { return podfence::bench::Run(podfence::bench::RoundsOf(argc, argv)); }
