// bench_sweep: CPU time of a whole sweep over 250 fenced containers that do nothing, which is all that an idle agent
// does. On this machine, and so against files of the temporary directory instead of the kernel's control files; what
// the kernel programs count is read where they attach. scripts/bench agent-cost is the same on a real hierarchy, in the
// emulated guest.

#include <time.h>

#include <cstdio>
#include <string>

#include "agent/core/text.h"
#include "agent/fencer.h"
#include "tests/unit/enforcer/fake_node.h"
#include "tests/unit/enforcer/pods.h"

namespace podfence {
namespace {

constexpr int kPods = 50;
constexpr int kContainers = 5;  // of each pod
constexpr int kSweeps = 50;
constexpr double kInterval = 10;  // driftSweepInterval's default, in seconds

TreeEntry Leaf(const std::string& name, const std::string& cpus) {
  std::string numa;
  for (const char* key : {"anon", "file", "kernel_stack", "pagetables", "shmem", "file_mapped", "slab_unreclaimable"}) {
    numa += Cat(key, " N0=1048576 N1=0\n");
  }
  return FakeCgroup(
      name, cpus,
      {File("cpu.stat", "usage_usec 12345\nuser_usec 1\nsystem_usec 1\nnr_periods 0\nnr_throttled 0\nthrottled_usec 0"),
       File("memory.numa_stat", numa)});
}

double CpuSeconds() {
  timespec now = {};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

int Run() {
  // CPUs that every machine has, since the programs run on this one's kernel: the first container has CPU 1.
  NodeState state = StateOf("0", {});
  Places places;
  places.classes = {"burstable", "besteffort"};
  std::vector<TreeEntry> cgroups = {Leaf("burstable", ""), Leaf("besteffort", "")};
  for (int i = 0; i < kPods; ++i) {
    const std::string uid = Cat("u", i);
    std::vector<Container> apps;
    std::vector<Held> held;
    std::vector<TreeEntry> leaves;
    PodPlace& place = places.pods[uid];
    place.path = Cat("pod", uid);
    for (int j = 0; j < kContainers; ++j) {
      const std::string name = Cat("c", j);
      const bool own = i == 0 && j == 0;
      apps.push_back(own ? App(name, "1", "32Mi") : App(name));
      held.push_back(own ? Exclusive(name, "1", NumaSet{0}) : NodeShared(name));
      leaves.push_back(Leaf(name, ""));
      place.containers[name] = Cat(place.path, "/", name);
    }
    state.pods.emplace(uid, Decide(NewPod(uid, "2", "64Mi", {}, std::move(apps)), held));
    TreeEntry pod = Leaf(Cat("pod", uid), "");
    pod.children.insert(pod.children.end(), leaves.begin(), leaves.end());
    cgroups.push_back(std::move(pod));
  }
  const CgroupTree tree(FakeRoot({FakeCgroup("kubepods", "0-23", std::move(cgroups))}));
  const EnforcerOptions options = KubepodsOptions(tree);
  absl::StatusOr<Enforcer> enforcer = Enforcer::Create(tree.path(), Node(), options);
  absl::StatusOr<std::unique_ptr<Verifier>> verifier = Verifier::Start({.cgroup_root = tree.path()});
  if (!enforcer.ok() || !verifier.ok()) {
    std::printf("%s %s\n", enforcer.status().ToString().c_str(), verifier.status().ToString().c_str());
    return 1;
  }
  int attached = 0;
  for (const Probe& probe : (*verifier)->Probes().probes) attached += probe.attached ? 1 : 0;
  enforcer->SetPlaces(places);
  Fencer fencer(*std::move(enforcer), *std::move(verifier), WriteWatch::Create(), tree.path(), options.name,
                [](const FindingView&) {});
  absl::Status status = fencer.Enforce(state);
  for (const auto& [uid, place] : places.pods) {
    for (const auto& [name, path] : place.containers) status.Update(fencer.SetAlive(uid, name, true));
  }
  status.Update(fencer.Reconcile(state));
  const double begin = CpuSeconds();
  for (int i = 0; i < kSweeps; ++i) status.Update(fencer.Reconcile(state));
  const double each = (CpuSeconds() - begin) / kSweeps;
  if (!status.ok()) {
    std::printf("%s\n", status.ToString().c_str());
    return 1;
  }
  std::printf(
      "%d pods, %d containers, %d probes: %.1f ms of CPU time a sweep, %.2f%% of one CPU at one in %.0f s "
      "(aim: below 0.5%%); %d control files written in the last one\n",
      kPods, kPods * kContainers, attached, each * 1e3, 100 * each / kInterval, kInterval, fencer.writes());
  return 0;
}

}  // namespace
}  // namespace podfence

int main() { return podfence::Run(); }
