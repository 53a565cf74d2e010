// Interrupts on exclusive CPUs, made to happen and compared with the kernel's own accounts. No cgroup is needed: a
// fence whose cgroup is not there owns its CPUs all the same.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>
#include <thread>

#include "agent/verifier/verifier.h"

namespace podfence {
namespace {

using namespace std::chrono_literals;

constexpr auto kQuiet = 500ms;
constexpr uint64_t kMs = 1000000;
constexpr int kBusy = 4;
constexpr int kIdle = 5;  // the same core's other thread: CPUs 4 and 5 are the container's

// What another process does on one CPU until this goes out of scope.
class OnCpu {
 public:
  OnCpu(int cpu, const std::function<void()>& work) {
    pid_ = fork();
    if (pid_ != 0) return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof(set), &set) == 0) work();
    _exit(1);
  }
  ~OnCpu() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  OnCpu(const OnCpu&) = delete;
  OnCpu& operator=(const OnCpu&) = delete;

 private:
  pid_t pid_ = -1;
};

// A datagram over loopback is received in a softirq of the CPU that sends it.
void SendDatagrams() {
  const int fd = socket(AF_INET, SOCK_DGRAM, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (bind(fd, generic, length) != 0 || getsockname(fd, generic, &length) != 0) return;
  char bytes[1000] = {};
  for (;;) {
    sendto(fd, bytes, sizeof(bytes), 0, generic, length);
    recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
  }
}

// The scheduler's tick comes to a CPU that has something to do.
void Spin() {
  const volatile bool forever = true;
  while (forever) {
  }
}

// A CPU's counter of /proc/interrupts (column 0: CPU 0) or /proc/softirqs, by the name at the line's begin.
uint64_t Count(const std::string& file, const std::string& name, int cpu) {
  std::ifstream lines(file);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string label;
    words >> label;
    if (label != name + ":") continue;
    uint64_t count = 0;
    for (int i = 0; i <= cpu; ++i) words >> count;
    return count;
  }
  return 0;
}

// What /proc/stat gives a CPU for softirqs: whole ticks, by what the tick interrupts. Shown beside and not held to: a
// tick that is late under emulation is late where interrupts are off.
uint64_t SampledSoftNs(int cpu) {
  std::ifstream lines("/proc/stat");
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string label;
    words >> label;
    if (label != "cpu" + std::to_string(cpu)) continue;
    uint64_t ticks = 0;  // user, nice, system, idle, iowait, irq, softirq
    for (int i = 0; i < 7; ++i) words >> ticks;
    return ticks * 1000 * kMs / static_cast<uint64_t>(sysconf(_SC_CLK_TCK));
  }
  return 0;
}

class InterruptTest : public testing::Test {
 protected:
  // Attached once, and with nothing going on: the kernel rewrites its code at every tracepoint, which the guest's
  // software emulation gets wrong now and then on CPUs that run it in that moment.
  static void SetUpTestSuite() {
    std::this_thread::sleep_for(kQuiet);
    absl::StatusOr<std::unique_ptr<Verifier>> started = Verifier::Start({.max_fences = 64, .measure_interrupts = true});
    ASSERT_TRUE(started.ok()) << started.status();
    verifier_ = *std::move(started);
  }
  static void TearDownTestSuite() {
    std::this_thread::sleep_for(kQuiet);
    verifier_.reset();
  }

  void SetUp() override {
    ASSERT_NE(verifier_, nullptr);
    const std::vector<Probe> probes = verifier_->Probes().probes;
    const auto found = std::ranges::find(probes, "interrupts", &Probe::name);
    ASSERT_NE(found, probes.end());
    const Probe& probe = *found;
    ASSERT_TRUE(probe.attached) << probe.reason;
    ASSERT_TRUE(verifier_->Expect({{Owner("owner", {kBusy, kIdle})}}).ok());
  }

  static ExpectedFence Owner(const std::string& container, const CpuSet& cpus) {
    return {.cgroup = "test/" + container,
            .cgroup_id = 0,
            .kind = FenceKind::kExclusive,
            .cpus = cpus,
            .pod = "uid-1",
            .container = container};
  }

  static Observation Read() {
    absl::StatusOr<Observation> observation = verifier_->Read();
    EXPECT_TRUE(observation.ok()) << observation.status();
    return observation.ok() ? *observation : Observation{};
  }

  static inline std::unique_ptr<Verifier> verifier_;
};

TEST_F(InterruptTest, SoftirqsAreCountedOnTheCpuThatRunsThem) {
  const OnCpu sender(kBusy, SendDatagrams);
  std::this_thread::sleep_for(500ms);
  const Observation before = Read();
  const uint64_t sampled_before = SampledSoftNs(kBusy);
  const uint64_t count_before = Count("/proc/softirqs", "NET_RX", kBusy);
  std::this_thread::sleep_for(4s);
  const Observation after = Read();
  const uint64_t sampled_ns = SampledSoftNs(kBusy) - sampled_before;
  const uint64_t count = Count("/proc/softirqs", "NET_RX", kBusy) - count_before;

  const uint64_t window_ns = after.taken_ns - before.taken_ns;
  const uint64_t busy_ns = after.interrupts.at(kBusy).soft_ns - before.interrupts.at(kBusy).soft_ns;
  const uint64_t hard_ns = after.interrupts.at(kBusy).hard_ns - before.interrupts.at(kBusy).hard_ns;
  const uint64_t idle_ns = after.interrupts.at(kIdle).soft_ns - before.interrupts.at(kIdle).soft_ns;
  printf("in %lu ms: CPU %d soft %lu ms (%lu NET_RX), hard %lu ms; /proc/stat says soft %lu ms; CPU %d soft %lu us\n",
         window_ns / kMs, kBusy, busy_ns / kMs, count, hard_ns / kMs, sampled_ns / kMs, kIdle, idle_ns / 1000);
  EXPECT_GT(count, 1000U) << "the sender made no softirqs";
  EXPECT_GT(busy_ns, window_ns / 20);
  EXPECT_LE(busy_ns + hard_ns, window_ns) << "no time is in both kinds";
  EXPECT_LT(idle_ns, busy_ns / 10);
  EXPECT_GT(busy_ns, count * 100) << "a softirq takes more than a tenth of a microsecond";
}

TEST_F(InterruptTest, TheTickIsAHardInterruptOfTheCpuThatGetsIt) {
  const OnCpu spinner(kBusy, Spin);
  std::this_thread::sleep_for(500ms);
  const Observation before = Read();
  const uint64_t ticks_before = Count("/proc/interrupts", "LOC", kBusy);
  std::this_thread::sleep_for(2s);
  const Observation after = Read();
  const uint64_t ticks = Count("/proc/interrupts", "LOC", kBusy) - ticks_before;
  const uint64_t hard_ns = after.interrupts.at(kBusy).hard_ns - before.interrupts.at(kBusy).hard_ns;
  const uint64_t idle_ns = after.interrupts.at(kIdle).hard_ns - before.interrupts.at(kIdle).hard_ns;
  printf("CPU %d: %lu ticks, hard %lu us; CPU %d: hard %lu us\n", kBusy, ticks, hard_ns / 1000, kIdle, idle_ns / 1000);
  EXPECT_GT(ticks, 100U);
  EXPECT_GT(hard_ns, ticks * 500) << "a tick takes more than half a microsecond";
  EXPECT_LT(hard_ns, (after.taken_ns - before.taken_ns) / 2);
  EXPECT_LT(idle_ns, hard_ns);
}

TEST_F(InterruptTest, OnlyTheTimeOfOwnedCpusIsCountedAndItNeverFalls) {
  const OnCpu sender(kBusy, SendDatagrams);
  std::this_thread::sleep_for(500ms);
  ASSERT_TRUE(verifier_->Expect({{Owner("other", {7})}}).ok());
  const uint64_t released_ns = Read().interrupts.at(kBusy).soft_ns;
  EXPECT_GT(released_ns, 20 * kMs);
  std::this_thread::sleep_for(500ms);
  const Observation unowned = Read();
  EXPECT_EQ(unowned.interrupts.at(kBusy).soft_ns, released_ns) << "nobody owned it";
  EXPECT_TRUE(unowned.interrupts.contains(kIdle)) << "a counter that was read stays";

  ASSERT_TRUE(verifier_->Expect({{Owner("again", {kBusy})}}).ok());
  std::this_thread::sleep_for(500ms);
  const Observation again = Read();
  const uint64_t grown_ns = again.interrupts.at(kBusy).soft_ns - released_ns;
  EXPECT_GT(grown_ns, 20 * kMs);
  ASSERT_EQ(again.fences.size(), 1U);
  ASSERT_TRUE(again.fences[0].interrupts.has_value());
  const uint64_t own_ns = again.fences[0].interrupts.value_or(InterruptTime{}).soft_ns;
  printf("of the CPU since it is owned again: %lu ms; of its new owner: %lu ms\n", grown_ns / kMs, own_ns / kMs);
  EXPECT_NEAR(static_cast<double>(own_ns), static_cast<double>(grown_ns), static_cast<double>(20 * kMs))
      << "the new owner has none of the old one's";
}

}  // namespace
}  // namespace podfence
