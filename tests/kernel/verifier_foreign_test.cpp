// Foreign time as the probes sum it, against what the intruders know of themselves.
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "agent/verifier/verifier.h"

namespace podfence {
namespace {

constexpr char kCgroups[] = "/sys/fs/cgroup/";
constexpr absl::Duration kRound = absl::Milliseconds(100);
constexpr int kRounds = 30;

void WriteUnder(const std::string& path, const std::string& value) {
  std::ofstream file(kCgroups + path);
  file << value << std::flush;
  ASSERT_TRUE(file.good()) << "cannot write " << value << " to " << path;
}

absl::Duration Clock(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return absl::DurationFromTimespec(now);
}

// Runs for a part of each round on one CPU. What it got there is the CPU time that the kernel accounts to it, to its
// end.
class Spinner {
 public:
  Spinner(const std::string& cgroup, int cpu, double duty) {
    pid_ = fork();
    if (pid_ == 0) {
      raise(SIGSTOP);
      Work(duty);
      _exit(0);
    }
    waitpid(pid_, nullptr, WUNTRACED);
    WriteUnder(cgroup + "/cgroup.procs", std::to_string(pid_));
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    EXPECT_EQ(sched_setaffinity(pid_, sizeof set, &set), 0) << cgroup;
    clockid_t own{};
    EXPECT_EQ(clock_getcpuclockid(pid_, &own), 0);
    elsewhere_ = Clock(own);
  }
  Spinner(const Spinner&) = delete;
  Spinner& operator=(const Spinner&) = delete;
  void Go() const { kill(pid_, SIGCONT); }
  // Seconds; waits for its end.
  double Time() const {
    rusage used{};
    EXPECT_EQ(wait4(pid_, nullptr, 0, &used), pid_);
    return absl::ToDoubleSeconds(absl::DurationFromTimeval(used.ru_utime) + absl::DurationFromTimeval(used.ru_stime) -
                                 elsewhere_);
  }

 private:
  static void Work(double duty) {
    const absl::Duration begin = Clock(CLOCK_MONOTONIC);
    for (int i = 0; i < kRounds; ++i) {
      const absl::Duration until = Clock(CLOCK_PROCESS_CPUTIME_ID) + kRound * duty;
      while (Clock(CLOCK_PROCESS_CPUTIME_ID) < until) {
      }
      absl::SleepFor(begin + kRound * (i + 1) - Clock(CLOCK_MONOTONIC));
    }
  }

  pid_t pid_ = -1;
  absl::Duration elsewhere_;  // its time before it is where it works
};

// Two exclusive containers and one in a pool, without partitions, so that others can be put on the CPUs of the first
// two. The rest of the guest stays on the first core.
class ForeignTimeTest : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* cgroup : {"test", "test/one", "test/two", "test/pool", "test/host"}) {
      std::filesystem::create_directory(std::string(kCgroups) + cgroup);
    }
    WriteUnder("test/cgroup.subtree_control", "+cpu +cpuset");
    WriteUnder("init.scope/cpuset.cpus", "0-1");
    absl::StatusOr<std::unique_ptr<Verifier>> started = Verifier::Start({.cgroup_root = "/sys/fs/cgroup"});
    ASSERT_TRUE(started.ok()) << started.status();
    verifier_ = *std::move(started);
    const auto fence = [](const std::string& name, FenceKind kind, CpuSet cpus) {
      return ExpectedFence{
          .cgroup = "test/" + name, .kind = kind, .cpus = std::move(cpus), .pod = "uid", .container = name};
    };
    ASSERT_TRUE(verifier_
                    ->Expect({{fence("one", FenceKind::kExclusive, {4, 5}), fence("two", FenceKind::kExclusive, {6, 7}),
                               fence("pool", FenceKind::kShared, {8})}})
                    .ok());
  }
  void TearDown() override {
    verifier_.reset();
    for (const char* cgroup : {"test/one", "test/two", "test/pool", "test/host", "test"}) {
      for (int i = 0; i < 100 && rmdir((kCgroups + std::string(cgroup)).c_str()) != 0; ++i) {
        absl::SleepFor(absl::Milliseconds(20));
      }
    }
    WriteUnder("init.scope/cpuset.cpus", "0-23");
  }
  Observation Read() {
    absl::StatusOr<Observation> seen = verifier_->Read();
    EXPECT_TRUE(seen.ok()) << seen.status();
    return seen.ok() ? *std::move(seen) : Observation{};
  }

  std::unique_ptr<Verifier> verifier_;
};

TEST_F(ForeignTimeTest, IsWhatTheIntrudersThemselvesGot) {
  if (!Read().kernel_counted) GTEST_SKIP() << "sched_switch does not attach on this kernel";
  struct Case {
    std::string cgroup;  // of the intruder
    int cpu;
    double duty;
    size_t fence;  // whose CPU that is
    ForeignClass foreign;
  };
  const std::vector<Case> cases = {{"test/host", 4, 1, 0, ForeignClass::kHost},
                                   {"test/pool", 5, 0.5, 0, ForeignClass::kContainer},
                                   {"test/host", 6, 0.2, 1, ForeignClass::kHost},
                                   {"test/one", 7, 0.3, 1, ForeignClass::kContainer}};
  std::vector<std::unique_ptr<Spinner>> spinners;
  for (const Case& each : cases) spinners.push_back(std::make_unique<Spinner>(each.cgroup, each.cpu, each.duty));
  const Observation before = Read();
  for (const auto& spinner : spinners) spinner->Go();
  std::vector<double> truth;
  for (const auto& spinner : spinners) truth.push_back(spinner->Time());
  const Observation after = Read();
  for (size_t i = 0; i < cases.size(); ++i) {
    const Case& each = cases[i];
    const auto of = [&](const Observation& seen) {
      return static_cast<double>(seen.fences.at(each.fence).foreign_ns[static_cast<size_t>(each.foreign)]) * 1e-9;
    };
    const double summed = of(after) - of(before);
    std::printf("%s on CPU %d, duty %.0f%%: summed %.4f s, itself %.4f s, %+.2f%%\n", each.cgroup.c_str(), each.cpu,
                100 * each.duty, summed, truth[i], 100 * (summed / truth[i] - 1));
    EXPECT_NEAR(summed, truth[i], 0.02 * truth[i]) << each.cgroup << " on CPU " << each.cpu;
    EXPECT_GT(truth[i], 0.9 * each.duty * absl::ToDoubleSeconds(kRound) * kRounds);
  }
  EXPECT_EQ(after.miscounted_switches, before.miscounted_switches);
}

}  // namespace
}  // namespace podfence
