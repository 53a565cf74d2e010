// What the kubelet's own managers do with the second example pod: the other side of every promise that manage_test.cpp
// holds Podfence to. No Podfence runs here.

#include <gmock/gmock.h>

#include <algorithm>
#include <iostream>

#include "absl/time/clock.h"
#include "agent/core/text.h"
#include "tests/e2e/node_fixture.h"

namespace podfence {
namespace {

constexpr double kExclusive = 3;
constexpr int kWindows = 3;
constexpr absl::Duration kWindow = absl::Seconds(10);

// The managers as an operator switches them on. reservedMemory is what kubelet.yaml reserves: systemReserved and
// evictionHard together, or the kubelet does not start (cm/memorymanager/memory_manager.go validateReservedMemory).
constexpr char kManagers[] = R"(cpuManagerPolicy: static
memoryManagerPolicy: Static
reservedMemory: [{numaNode: 0, limits: {memory: 612Mi}}]
topologyManagerPolicy: restricted
featureGates: {PodLevelResourceManagers: true}
)";

class ReferenceTest : public NodeTest {
 protected:
  // What a cgroup did in one window.
  struct Window {
    double cpus = 0;
    uint64_t periods = 0, throttled = 0;
    double throttled_seconds = 0;
  };

  // The second example pod with every container busy, under the kubelet's managers in this scope; its cgroups.
  void RunPod(const std::string& scope) {
    StartRuntime();
    ASSERT_FALSE(HasFatalFailure());
    StartKubelet(Cat(kManagers, "topologyManagerScope: ", scope, "\n"));
    ASSERT_FALSE(HasFatalFailure());
    AddExamplePod("ml-workload");
    ASSERT_TRUE(AwaitRunning("ml-workload")) << PodStatus("ml-workload").dump(1);
    training_ = CgroupOf("ml-workload", "ml-training");
    sidecar_ = CgroupOf("ml-workload", "service-mesh-sidecar");
    ASSERT_NE(training_, "");
    ASSERT_NE(sidecar_, "");
    pod_ = training_.substr(0, training_.rfind('/'));
  }

  Window Now(const std::string& cgroup) {
    return {.cpus = static_cast<double>(CpuStat(cgroup, "usage_usec")) / 1e6,
            .periods = CpuStat(cgroup, "nr_periods"),
            .throttled = CpuStat(cgroup, "nr_throttled"),
            .throttled_seconds = static_cast<double>(CpuStat(cgroup, "throttled_usec")) / 1e6};
  }

  // Three windows of ten seconds: what the pod, its exclusive container and its sidecar got; printed.
  void Measure() {
    for (int i = 0; i < kWindows; ++i) {
      const absl::Time begin = absl::Now();
      const Window training = Now(training_), sidecar = Now(sidecar_), pod = Now(pod_);
      absl::SleepFor(kWindow);
      const double seconds = absl::ToDoubleSeconds(absl::Now() - begin);
      const auto since = [seconds](const Window& before, const Window& after) {
        return Window{.cpus = (after.cpus - before.cpus) / seconds,
                      .periods = after.periods - before.periods,
                      .throttled = after.throttled - before.throttled,
                      .throttled_seconds = after.throttled_seconds - before.throttled_seconds};
      };
      got_.push_back(since(training, Now(training_)));
      pods_.push_back(since(pod, Now(pod_)));
      std::cout << "the kubelet alone: ml-training got " << got_.back().cpus << " of its " << kExclusive
                << " exclusive CPUs, the sidecar " << since(sidecar, Now(sidecar_)).cpus
                << "; the pod was throttled in " << pods_.back().throttled << " of " << pods_.back().periods
                << " periods, " << pods_.back().throttled_seconds << " s\n";
    }
  }

  double MedianGot() {
    std::vector<double> cpus;
    for (const Window& window : got_) cpus.push_back(window.cpus);
    std::ranges::sort(cpus);
    return cpus[cpus.size() / 2];
  }

  std::string pod_, training_, sidecar_;
  std::vector<Window> got_, pods_;  // of ml-training, and of the pod
};

// pod.cpu.max stays at the pod's limit, which the sidecar uses up: the container that owns its CPUs is throttled by its
// parent, while its own cpu.stat says nothing.
TEST_F(ReferenceTest, TheContainerScopeThrottlesTheExclusiveContainer) {
  RunPod("container");
  if (HasFatalFailure()) return;
  const absl::StatusOr<CpuSet> exclusive = CpuSet::Parse(ReadCgroup(training_, "cpuset.cpus"));
  const absl::StatusOr<CpuSet> shared = CpuSet::Parse(ReadCgroup(sidecar_, "cpuset.cpus"));
  ASSERT_TRUE(exclusive.ok()) << exclusive.status();
  ASSERT_TRUE(shared.ok()) << shared.status();
  EXPECT_EQ(exclusive->size(), kExclusive) << exclusive->ToString();
  EXPECT_FALSE(shared->empty());
  EXPECT_FALSE(exclusive->Intersects(*shared)) << exclusive->ToString() << " and " << shared->ToString();
  EXPECT_EQ(ReadCgroup(pod_, "cpu.max"), "400000 100000");
  EXPECT_EQ(ReadCgroup(training_, "cpu.max"), "max 100000");

  Measure();
  // 53 to 57 % where the machine has time for the guest; what matters is that it is far from what was promised.
  EXPECT_GT(MedianGot(), 0.45 * kExclusive);
  EXPECT_LT(MedianGot(), 0.65 * kExclusive);
  for (const Window& window : pods_) {
    EXPECT_GT(window.throttled, window.periods * 9 / 10);
    EXPECT_GT(window.throttled_seconds, 10);
  }
  EXPECT_EQ(CpuStat(training_, "nr_throttled"), 0u) << "its own cpu.stat hides it";
}

}  // namespace
}  // namespace podfence
