// bench_allocator: admissions and merges at sizes where the reference walks for minutes or cannot run at all. What can
// be compared with it in one run is in `podfence replay --timing` (recorded beside the decisions).

#include "agent/allocator/allocator.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "agent/allocator/merge.h"
#include "agent/core/text.h"
#include "agent/pods/defaults.h"

namespace {

// Heap in use, and its peak since the last reset: the whole process allocates through here.
size_t heap_now = 0;
size_t heap_peak = 0;
constexpr size_t kHeader = alignof(std::max_align_t);

}  // namespace

void* operator new(size_t size) {
  auto* block = static_cast<char*>(std::malloc(size + kHeader));
  if (block == nullptr) throw std::bad_alloc();
  *reinterpret_cast<size_t*>(block) = size;
  heap_now += size;
  heap_peak = std::max(heap_peak, heap_now);
  return block + kHeader;
}
void operator delete(void* pointer) noexcept {
  if (pointer == nullptr) return;
  char* block = static_cast<char*>(pointer) - kHeader;
  heap_now -= *reinterpret_cast<size_t*>(block);
  std::free(block);
}
void operator delete(void* pointer, size_t) noexcept { operator delete(pointer); }

namespace podfence {
namespace {

constexpr uint64_t kGib = uint64_t{1} << 30;

// Runs work `rounds` times and prints median, worst and peak heap beside the aim.
void Measure(const char* name, int rounds, const char* aim, const std::function<void()>& work) {
  std::vector<double> micros;
  const size_t heap_before = heap_now;
  heap_peak = heap_now;
  for (int i = 0; i < rounds; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    work();
    micros.push_back(std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin).count());
  }
  std::ranges::sort(micros);
  std::printf("%-62s %10.1f %10.1f %9.2f  %s\n", name, micros[micros.size() / 2], micros.back(),
              static_cast<double>(heap_peak - heap_before) / (1 << 20), aim);
}

Machine MakeMachine(int nodes, int cores, int threads, uint64_t memory) {
  Machine machine;
  machine.name = "bench";
  int cpu = 0;
  for (int id = 0; id < nodes; ++id) {
    NumaNode& node = machine.nodes.emplace_back();
    node.id = id;
    node.memory = memory;
    for (int other = 0; other < nodes; ++other) node.distances.push_back(other == id ? 10 : 20);
    for (int core = 0; core < cores; ++core) {
      Core& made = node.cores.emplace_back();
      made.socket = id;
      made.l3 = id;
      for (int thread = 0; thread < threads; ++thread) made.threads.push_back(cpu++);
    }
  }
  return machine;
}

std::shared_ptr<const Pod> MakePod(const std::string& name, int cpus, uint64_t memory) {
  Pod pod;
  pod.name = pod.uid = name;
  Container& container = pod.containers.emplace_back();
  container.name = "main";
  container.resources.limits = {{"cpu", Quantity::FromInt(cpus)},
                                {"memory", Quantity::FromInt(static_cast<int64_t>(memory))}};
  DefaultPod(pod);
  return std::make_shared<const Pod>(std::move(pod));
}

Allocator MakeAllocator(Machine machine, const std::string& topology_policy) {
  Policy policy;
  policy.topology_manager_policy = topology_policy;
  policy.topology_manager_policy_options = {{"max-allowable-numa-nodes", "64"}};
  policy.reserved = {{"cpu", Quantity::FromInt(2)}, {"memory", Quantity::FromInt(static_cast<int64_t>(kGib))}};
  policy.reserved_memory = {{.numa_node = 0, .limits = {{"memory", policy.reserved.at("memory")}}}};
  absl::StatusOr<Allocator> allocator = Allocator::Create(std::move(machine), std::move(policy));
  if (!allocator.ok()) {
    std::fprintf(stderr, "bench_allocator: %s\n", std::string(allocator.status().message()).c_str());
    std::exit(1);
  }
  return *std::move(allocator);
}

// A refusal is quick for the wrong reason.
void MustAdmit(const AdmitResult& result) {
  if (result.admitted()) return;
  std::fprintf(stderr, "bench_allocator: refused: %s\n", std::get<Rejection>(result.outcome).message.c_str());
  std::exit(1);
}

// Fills a node with pods until one is refused or `pods` are there.
NodeState Fill(const Allocator& allocator, int pods, int cpus, uint64_t memory) {
  NodeState state = allocator.InitialState();
  for (int i = 0; i < pods; ++i) {
    const AdmitResult result = allocator.Admit(state, MakePod(Cat("pod-", i), cpus, memory));
    if (!result.admitted()) {
      std::fprintf(stderr, "bench_allocator: only %d pods fit\n", i);
      std::exit(1);
    }
    Apply(std::get<StateChange>(result.outcome), state);
  }
  return state;
}

// A provider that lists every set of an eight-node machine, only its own pairs preferred: no set suits all providers,
// so the best of all intersections must be found.
ProviderHints ListedProvider(int seed) {
  ResourceHints hints;
  hints.resource = kCpu;
  hints.kind = ResourceHints::Kind::kList;
  for (uint64_t bits = 1; bits < 256; ++bits) {
    const NumaSet set(bits);
    hints.list.push_back({set, set.size() == 2 && set.First() == seed});
  }
  return {hints};
}

void MergeEightNodesFourProviders() {
  std::vector<int> nodes;
  std::vector<std::vector<uint64_t>> distances;
  for (int id = 0; id < 8; ++id) {
    nodes.push_back(id);
    std::vector<uint64_t>& row = distances.emplace_back();
    for (int other = 0; other < 8; ++other) row.push_back(id == other ? 10 : 20);
  }
  const HintMerger merger(nodes, distances, {.policy = TopologyPolicy::kBestEffort, .prefer_closest_numa = true});
  const std::vector<ProviderHints> providers = {ListedProvider(0), ListedProvider(1), ListedProvider(2),
                                                ListedProvider(3)};
  Measure("merge: 8 NUMA nodes, 4 providers of 255 hints", 101, "< 10,000 us, < 10 MiB (reference: 258 s, 407 GB)",
          [&] { merger.Merge(providers); });
}

// Devices on every node, as given input: three providers in all.
std::vector<DeviceHints> Devices(int nodes) {
  ResourceHints hints;
  hints.resource = "device";
  hints.kind = ResourceHints::Kind::kFamily;
  hints.family.thresholds = {{.amount = std::vector<uint64_t>(static_cast<size_t>(nodes), 2), .request = 6}};
  for (int id = 0; id < nodes; ++id) hints.family.universe.Add(id);
  hints.family.preferred_size = 3;
  return {{.container = "main", .hints = {hints}}};
}

void AdmitThirtyFourNodes() {
  const Allocator allocator = MakeAllocator(MakeMachine(34, 4, 1, 64 * kGib), "restricted");
  const NodeState empty = allocator.InitialState();
  const std::vector<DeviceHints> devices = Devices(34);
  const auto pod = MakePod("wide", 12, 150 * kGib);
  Measure("admit: 34 NUMA nodes, 3 providers, a request of 3 nodes", 21, "< 100,000 us (reference: 2^34 hints)",
          [&] { MustAdmit(allocator.Admit(empty, pod, devices)); });
  // Half of every node taken: what fits three nodes of the machine needs six now, and no set is preferred by all.
  const Allocator loose = MakeAllocator(MakeMachine(34, 4, 1, 64 * kGib), "best-effort");
  const NodeState half = Fill(loose, 34, 2, 32 * kGib - kGib);
  Measure("admit: the same where every node is half full (best-effort)", 21, "< 100,000 us",
          [&] { MustAdmit(loose.Admit(half, MakePod("wide", 6, 90 * kGib), devices)); });
}

void AdmitBigMachine() {
  const Allocator allocator = MakeAllocator(MakeMachine(16, 64, 2, 512 * kGib), "best-effort");
  const NodeState state = Fill(allocator, 500, 2, 4 * kGib);
  for (const int cpus : {1, 2, 40, 200}) {
    const auto pod = MakePod("next", cpus, 8 * kGib);
    Measure(Cat("admit: 2,048 CPUs, 16 NUMA nodes, 500 containers, asks ", cpus).c_str(), 101, "< 1,000 us",
            [&] { MustAdmit(allocator.Admit(state, pod)); });
  }
}

}  // namespace
}  // namespace podfence

int main() {
  std::printf("%-62s %10s %10s %9s  %s\n", "", "median us", "worst us", "heap MiB", "aim");
  podfence::MergeEightNodesFourProviders();
  podfence::AdmitThirtyFourNodes();
  podfence::AdmitBigMachine();
}
