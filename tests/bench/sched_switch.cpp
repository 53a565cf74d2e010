// What podfence's program adds to a context switch, on the kernel this runs on.
//
// Two processes pinned to one CPU hand a byte to and fro through two pipes: every handover is a context switch. Short
// slices of it run in turn without a program, with one that does nothing, and with podfence's in several situations;
// every round gives one difference for each variant against the slice without a program in the same round, and the
// median of the differences is shown. So drift of the machine's speed and other people's load fall out.
//
//   bench_sched_switch [rounds]    needs root; touches only cgroups of its own
#include <sched.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "agent/verifier/libbpf.h"
#include "agent/verifier/sched_probe.h"
#include "agent/verifier/tables.h"
#include "agent/verifier/verifier.h"
#include "bpf/empty.skel.h"

namespace podfence {
namespace {

constexpr int kRoundTrips = 10000;  // of a slice: about 30 ms
constexpr int kCpu = 0;
constexpr uint32_t kFences = 1024;

[[noreturn]] void Fail(const std::string& what) {
  fprintf(stderr, "bench_sched_switch: %s\n", what.c_str());
  exit(2);
}

void Check(const absl::Status& status) {
  if (!status.ok()) Fail(std::string(status.message()));
}

// Both processes on one CPU, before everything else there: other people's tasks do not come between.
void PinToCpu() {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(kCpu, &set);
  if (sched_setaffinity(0, sizeof(set), &set) != 0) Fail("cannot pin to CPU 0");
  const sched_param priority = {.sched_priority = 1};
  if (sched_setscheduler(0, SCHED_FIFO, &priority) != 0) fprintf(stderr, "no real-time priority: more noise\n");
}

// The partner process, and the pipes to and from it.
class PingPong {
 public:
  PingPong() {
    if (pipe(there_) != 0 || pipe(back_) != 0) Fail("cannot make pipes");
    partner_ = fork();
    if (partner_ == 0) {
      close(there_[1]);
      char byte = 0;
      while (read(there_[0], &byte, 1) == 1 && write(back_[1], &byte, 1) == 1) {
      }
      _exit(0);
    }
  }
  ~PingPong() {
    kill(partner_, SIGKILL);
    waitpid(partner_, nullptr, 0);
    for (int fd : {there_[0], there_[1], back_[0], back_[1]}) close(fd);
  }
  PingPong(const PingPong&) = delete;
  PingPong& operator=(const PingPong&) = delete;

  // Nanoseconds a context switch, over one slice.
  double Slice() const {
    char byte = 0;
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < kRoundTrips; ++i) {
      if (write(there_[1], &byte, 1) != 1 || read(back_[0], &byte, 1) != 1) Fail("the partner is gone");
    }
    const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - start;
    return took.count() / (2.0 * kRoundTrips);
  }

 private:
  int there_[2];
  int back_[2];
  pid_t partner_ = -1;
};

// The cgroup this process and its partner live in while it measures.
class OwnCgroup {
 public:
  OwnCgroup() {
    for (const char* root : {"/sys/fs/cgroup/unified", "/sys/fs/cgroup"}) {
      if (root_.empty() && std::filesystem::exists(std::string(root) + "/cgroup.controllers")) root_ = root;
    }
    std::string line;
    std::ifstream own("/proc/self/cgroup");
    while (std::getline(own, line)) {
      if (line.starts_with("0::")) before_ = root_ + line.substr(3);
    }
    path_ = root_ + "/podfence-bench-" + std::to_string(getpid());
    if (root_.empty() || mkdir(path_.c_str(), 0755) != 0) Fail("cannot make a cgroup; root and cgroup v2 are needed");
    Enter(path_);
    struct stat status = {};
    stat(path_.c_str(), &status);
    id_ = status.st_ino;
  }
  ~OwnCgroup() {
    Enter(before_);
    for (int i = 0; i < 100 && rmdir(path_.c_str()) != 0; ++i) usleep(10000);
  }
  OwnCgroup(const OwnCgroup&) = delete;
  OwnCgroup& operator=(const OwnCgroup&) = delete;
  uint64_t id() const { return id_; }

 private:
  static void Enter(const std::string& cgroup) { std::ofstream(cgroup + "/cgroup.procs") << getpid() << std::flush; }
  std::string root_;
  std::string before_;
  std::string path_;
  uint64_t id_ = 0;
};

ExpectedFence MakeFence(FenceKind kind, uint64_t id, CpuSet cpus) {
  return {.cgroup = "c" + std::to_string(id),
          .cgroup_id = id,
          .kind = kind,
          .cpus = std::move(cpus),
          .pod = "p" + std::to_string(id),
          .container = "c"};
}

// A situation that the ping-pong pair is put in.
struct Variant {
  const char* name;
  bool podfence;  // else the empty program, or none
  bool empty;
  bool wait;
  std::vector<ExpectedFence> fences;
  std::vector<double> added = {};
};

TableSizes Sizes() { return {.cpus = static_cast<uint32_t>(libbpf_num_possible_cpus()), .max_fences = kFences}; }

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

double MeasureWith(const Variant& variant, const PingPong& pair) {
  if (variant.podfence) {
    absl::StatusOr<std::unique_ptr<SchedProbe>> probe =
        SchedProbe::Start(Sizes(), variant.wait, VerifierOptions{}.ring_bytes);
    Check(probe.status());
    SlotBook book(Sizes());
    absl::StatusOr<SlotBook::Change> change = book.Assign(variant.fences);
    Check(change.status());
    absl::StatusOr<TableImage> image = EncodeTables(variant.fences, change->slots, Sizes());
    Check(image.status());
    Check((*probe)->Publish(*image));
    Check((*probe)->SettleAll());
    return pair.Slice();
  }
  if (!variant.empty) return pair.Slice();
  std::unique_ptr<podfence_empty, FreeWith<podfence_empty__destroy>> empty(podfence_empty__open_and_load());
  if (empty == nullptr || podfence_empty__attach(empty.get()) != 0) Fail("the empty program does not load");
  return pair.Slice();
}

int Run(int rounds) {
  const LibbpfLog quiet;
  PinToCpu();
  const OwnCgroup own;
  const PingPong pair;

  const ExpectedFence at_home = MakeFence(FenceKind::kExclusive, own.id(), {kCpu});
  std::vector<ExpectedFence> thousand = {at_home};
  for (uint64_t id = 1; id < 1000; ++id) thousand.push_back(MakeFence(FenceKind::kShared, own.id() + id, {1}));
  const ExpectedFence stranger = MakeFence(FenceKind::kExclusive, own.id() + 1, {kCpu});
  std::vector<Variant> variants = {
      {"no program (ns a switch)", false, false, false, {}},
      {"empty program", false, true, false, {}},
      {"podfence: nothing expected", true, false, true, {}},
      {"podfence: unfenced task, CPU not owned",
       true,
       false,
       true,
       {MakeFence(FenceKind::kExclusive, own.id() + 1, {1})}},
      {"podfence: owner at home, no waits", true, false, false, {at_home}},
      {"podfence: owner at home", true, false, true, {at_home}},
      {"podfence: owner at home, 1,000 fences", true, false, true, thousand},
      {"podfence: foreign on an exclusive CPU", true, false, true, {stranger}},
  };

  std::vector<double> bare;
  std::vector<std::vector<double>> above_empty(variants.size());
  for (int round = 0; round < rounds; ++round) {
    std::vector<double> now(variants.size());
    for (size_t i = 0; i < variants.size(); ++i) {
      // Forwards and backwards in turn, so that no variant always follows the same one.
      const size_t at = round % 2 == 0 ? i : variants.size() - 1 - i;
      now[at] = MeasureWith(variants[at], pair);
    }
    bare.push_back(now[0]);
    for (size_t i = 0; i < variants.size(); ++i) {
      variants[i].added.push_back(now[i] - now[0]);
      above_empty[i].push_back(now[i] - now[1]);
    }
  }

  const double base = Median(bare);
  printf("%-42s %10s %12s %8s\n", "context switch, ns", "added", "above empty", "ratio");
  printf("%-42s %10.1f %12s %8s\n", variants[0].name, base, "", "1.000");
  for (size_t i = 1; i < variants.size(); ++i) {
    const double added = Median(variants[i].added);
    printf("%-42s %10.1f %12.1f %8.3f\n", variants[i].name, added, Median(above_empty[i]), (base + added) / base);
  }
  return 0;
}

}  // namespace
}  // namespace podfence

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? atoi(argv[1]) : 31;
  if (rounds < 1) podfence::Fail("rounds must be a positive number");
  return podfence::Run(rounds);
}
