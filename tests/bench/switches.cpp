#include "tests/bench/switches.h"

#include <bpf/bpf.h>
#include <sched.h>
#include <sys/resource.h>
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

#include "agent/core/text.h"
#include "agent/verifier/tables.h"
#include "agent/verifier/verifier.h"
#include "bpf/empty.skel.h"

void DestroyEmpty(podfence_empty* object) { podfence_empty__destroy(object); }

namespace podfence::bench {
namespace {

TableSizes Sizes() {
  return {.cpus = static_cast<uint32_t>(libbpf_num_possible_cpus()), .max_fences = VerifierOptions{}.max_fences};
}

void Write(const std::string& path, pid_t pid) {
  std::ofstream file(path);
  file << pid << std::flush;
  if (!file) Fail(Cat("cannot write ", pid, " to ", path));
}

}  // namespace

void Fail(const std::string& what) {
  fprintf(stderr, "bench: %s\n", what.c_str());
  exit(2);
}

int RoundsOf(int argc, char** argv) {
  const int rounds = argc > 1 ? atoi(argv[1]) : 31;
  if (rounds < 1) Fail("rounds must be a positive number");
  return rounds;
}

void Check(const absl::Status& status) {
  if (!status.ok()) Fail(std::string(status.message()));
}

double Quantile(std::vector<double> values, double share) {
  if (values.empty()) Fail("no value was measured");
  std::ranges::sort(values);
  return values[static_cast<size_t>(share * static_cast<double>(values.size() - 1))];
}

double Median(std::vector<double> values) { return Quantile(std::move(values), 0.5); }

void TakePriority() {
  const sched_param priority = {.sched_priority = 1};
  if (sched_setscheduler(0, SCHED_FIFO, &priority) != 0) Fail("cannot take a real-time priority");
}

void PinToCpu(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  if (sched_setaffinity(0, sizeof(set), &set) != 0) Fail(Cat("cannot pin to CPU ", cpu));
}

Cgroups::Cgroups(size_t count) {
  std::string root;
  for (const char* each : {"/sys/fs/cgroup/unified", "/sys/fs/cgroup"}) {
    if (root.empty() && std::filesystem::exists(Cat(each, "/cgroup.controllers"))) root = each;
  }
  std::string line;
  std::ifstream own("/proc/self/cgroup");
  while (std::getline(own, line)) {
    if (line.starts_with("0::")) before_ = root + line.substr(3);
  }
  top_ = Cat(root, "/podfence-bench-", getpid());
  if (root.empty() || mkdir(top_.c_str(), 0755) != 0) Fail("cannot make a cgroup; root and cgroup v2 are needed");
  for (size_t i = 0; i < count; ++i) {
    struct stat status = {};
    if (mkdir(Path(i).c_str(), 0755) != 0 || stat(Path(i).c_str(), &status) != 0) Fail(Cat("cannot make ", Path(i)));
    ids_.push_back(status.st_ino);
  }
}

Cgroups::~Cgroups() {
  Write(before_ + "/cgroup.procs", getpid());
  // A process that has ended leaves its cgroup a moment later.
  const auto remove = [](const std::string& path) {
    for (int i = 0; i < 100 && rmdir(path.c_str()) != 0; ++i) usleep(10000);
  };
  for (size_t i = 0; i < size(); ++i) remove(Path(i));
  remove(top_);
}

std::string Cgroups::Path(size_t index) const { return Cat(top_, "/", index); }

void Cgroups::Enter(size_t index, pid_t pid) const { Write(Path(index) + "/cgroup.procs", pid); }

Ring::Ring(size_t processes, const Cgroups& cgroups) {
  rlimit files = {};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  for (size_t i = 0; i < processes; ++i) {
    int ends[2];
    if (pipe(ends) != 0) Fail("cannot make pipes");
    pipes_.push_back({ends[0], ends[1]});
  }
  cgroups.Enter(0, getpid());
  for (size_t i = 1; i < processes; ++i) {
    const pid_t pid = fork();
    if (pid < 0) Fail("cannot fork");
    if (pid == 0) {
      const int from = pipes_[i].read_fd;
      const int to = pipes_[(i + 1) % processes].write_fd;
      for (const Pipe& each : pipes_) {
        if (each.read_fd != from) close(each.read_fd);
        if (each.write_fd != to) close(each.write_fd);
      }
      char byte = 0;
      while (read(from, &byte, 1) == 1 && write(to, &byte, 1) == 1) {
      }
      _exit(0);
    }
    cgroups.Enter(std::min(i, cgroups.size() - 1), pid);
    others_.push_back(pid);
  }
}

Ring::~Ring() {
  for (pid_t pid : others_) kill(pid, SIGKILL);
  for (pid_t pid : others_) waitpid(pid, nullptr, 0);
  for (const Pipe& each : pipes_) {
    close(each.read_fd);
    close(each.write_fd);
  }
}

double Ring::Turn(int rounds) const {
  char byte = 0;
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < rounds; ++i) {
    if (write(pipes_[1].write_fd, &byte, 1) != 1 || read(pipes_[0].read_fd, &byte, 1) != 1) Fail("a process is gone");
  }
  const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - start;
  return took.count() / (static_cast<double>(rounds) * static_cast<double>(size()));
}

Podfence::Podfence(const std::vector<ExpectedFence>& fences, bool measure_wait) {
  absl::StatusOr<std::unique_ptr<SchedProbe>> probe =
      SchedProbe::Start(Sizes(), measure_wait, VerifierOptions{}.ring_bytes);
  Check(probe.status());
  probe_ = *std::move(probe);
  SlotBook book(Sizes());
  absl::StatusOr<SlotBook::Change> change = book.Assign(fences);
  Check(change.status());
  const absl::StatusOr<TableImage> image = EncodeTables(fences, change->slots, Sizes());
  Check(image.status());
  Check(probe_->Publish(*image));
  Check(probe_->SettleOld());
  slots_ = std::move(change->slots);
}

podfence_counters Podfence::Counters(size_t fence) {
  Check(probe_->Settle());
  const absl::StatusOr<podfence_counters> counters = probe_->ReadCounters(slots_[fence]);
  Check(counters.status());
  return *counters;
}

size_t Podfence::Drain() {
  size_t events = 0;
  probe_->Drain([&](const podfence_event&) { ++events; });
  return events;
}

Empty::Empty() : object_(podfence_empty__open_and_load()) {
  if (object_ == nullptr || podfence_empty__attach(object_.get()) != 0) Fail("the empty program does not load");
}

RunTimeStatistics::RunTimeStatistics() : fd_(bpf_enable_stats(BPF_STATS_RUN_TIME)) {
  if (fd_ < 0) Fail("the kernel does not let its statistics of BPF programs be switched on");
}

RunTimeStatistics::~RunTimeStatistics() { close(fd_); }

ExpectedFence MakeFence(FenceKind kind, uint64_t cgroup_id, CpuSet cpus) {
  return {.cgroup = Cat("c", cgroup_id),
          .cgroup_id = cgroup_id,
          .kind = kind,
          .cpus = std::move(cpus),
          .pod = Cat("p", cgroup_id),
          .container = "c"};
}

}  // namespace podfence::bench
