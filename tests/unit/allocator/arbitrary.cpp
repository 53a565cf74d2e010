#include "tests/unit/allocator/arbitrary.h"

#include <rapidcheck.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "agent/core/text.h"
#include "agent/pods/defaults.h"

namespace podfence::arbitrary {
namespace {

constexpr uint64_t kGi = uint64_t{1} << 30;

int Pick(int first, int last) { return *rc::gen::inRange(first, last + 1); }
bool OneIn(int count) { return Pick(1, count) == 1; }

template <typename T>
T Among(std::initializer_list<T> values) {
  return std::data(values)[Pick(0, static_cast<int>(values.size()) - 1)];
}

Quantity Bytes(uint64_t bytes) { return Quantity::FromInt(static_cast<int64_t>(bytes), Quantity::Format::kBinarySI); }

// CPUs in thousandths, MiB of memory and of huge pages that a container asks for.
struct Ask {
  int cpu = 0;
  int memory = 0;
  int pages = 0;
};

Ask AnyAsk() {
  Ask ask;
  ask.cpu = OneIn(6) ? Among({100, 500, 1500}) : 1000 * Pick(1, OneIn(4) ? 8 : 3);
  ask.memory = 256 * Pick(1, OneIn(4) ? 32 : 6);
  ask.pages = OneIn(5) ? 64 * Pick(1, 4) : 0;
  return ask;
}

ResourceList ListOf(const Ask& ask) {
  ResourceList list;
  if (ask.cpu > 0) list["cpu"] = Quantity::FromMilli(ask.cpu);
  if (ask.memory > 0) list["memory"] = Bytes(static_cast<uint64_t>(ask.memory) << 20);
  if (ask.pages > 0) list["hugepages-2Mi"] = Bytes(static_cast<uint64_t>(ask.pages) << 20);
  return list;
}

Container AnyContainer(const std::string& name, bool may_share, Ask& asked) {
  Container container;
  container.name = name;
  container.image = "registry.k8s.io/pause:3.10";
  asked = {};
  if (may_share && OneIn(3)) return container;
  asked = AnyAsk();
  container.resources.limits = ListOf(asked);
  if (OneIn(12)) container.resources.requests["cpu"] = Quantity::FromMilli(100);  // Burstable, or shares the budget
  return container;
}

}  // namespace

Machine AnyMachine() {
  Machine machine;
  const int nodes = Pick(1, 6);
  const int sockets = Pick(1, nodes);
  const int smt = Among({1, 2, 2, 4});
  const bool with_pages = OneIn(2);
  const bool with_caches = OneIn(2);
  int id = 0;
  int cpu = 0;
  for (int n = 0; n < nodes; ++n) {
    NumaNode node;
    node.id = id;
    id += OneIn(8) ? 2 : 1;
    node.memory = static_cast<uint64_t>(Pick(4, 32)) * kGi;
    for (int other = 0; other < nodes; ++other) node.distances.push_back(other == n ? 10 : 10 + 1 + (other ^ n));
    if (with_pages) node.hugepages = {{.page_size_kb = 2048, .count = static_cast<uint64_t>(128 * Pick(0, 4))}};
    const int cores = n > 0 && OneIn(8) ? 0 : Pick(1, 6);
    for (int c = 0; c < cores; ++c) {
      Core core;
      core.socket = n * sockets / nodes;
      if (with_caches) core.l3 = 10 * n + c / 2;
      const int threads = OneIn(20) ? 1 : smt;  // an offline sibling
      for (int t = 0; t < threads; ++t) core.threads.push_back(cpu++);
      node.cores.push_back(std::move(core));
    }
    machine.nodes.push_back(std::move(node));
  }
  return machine;
}

Policy AnyPolicy(const Machine& machine) {
  Policy policy;
  policy.cpu_manager_policy = OneIn(12) ? "none" : "static";
  policy.memory_manager_policy = OneIn(5) ? "None" : "Static";
  policy.topology_manager_policy = Among({"none", "best-effort", "restricted", "single-numa-node"});
  policy.topology_manager_scope = Among({"container", "pod"});
  if (policy.topology_manager_policy != "none" && OneIn(3)) {
    policy.topology_manager_policy_options["prefer-closest-numa-nodes"] = "true";
  }
  if (policy.cpu_manager_policy == "static") {
    for (const char* option :
         {"full-pcpus-only", "distribute-cpus-across-numa", "align-by-socket", "distribute-cpus-across-cores",
          "strict-cpu-reservation", "prefer-align-cpus-by-uncorecache"}) {
      if (OneIn(6)) policy.cpu_manager_policy_options[option] = "true";
    }
  }
  const int cpus = std::min(Pick(1, 2), machine.Cpus().size());
  policy.reserved["cpu"] = Quantity::FromInt(cpus);
  if (OneIn(3)) {
    CpuSet reserved;
    const CpuSet all = machine.Cpus();
    const std::vector<int> list(all.begin(), all.end());
    while (reserved.size() < cpus) reserved.Add(list[Pick(0, static_cast<int>(list.size()) - 1)]);
    policy.reserved_system_cpus = reserved.ToString();
  }
  uint64_t sum = 0;
  for (const NumaNode& node : machine.nodes) {
    if (sum > 0 && OneIn(2)) continue;
    const uint64_t bytes = static_cast<uint64_t>(Pick(1, 4)) * (kGi / 4);
    policy.reserved_memory.push_back({.numa_node = node.id, .limits = {{"memory", Bytes(bytes)}}});
    sum += bytes;
  }
  policy.reserved["memory"] = Bytes(sum);
  return policy;
}

std::shared_ptr<const Pod> AnyPod(int number) {
  auto pod = std::make_shared<Pod>();
  pod->uid = pod->name = Cat("pod-", number);
  const bool budget = OneIn(2);
  Ask together;  // of all that run for the pod's whole life
  Ask starting;  // the most that a one-shot init container needs beside the sidecars before it
  const auto add = [](Ask& sum, const Ask& more) {
    sum.cpu += more.cpu;
    sum.memory += more.memory;
    sum.pages += more.pages;
  };
  const int init_containers = OneIn(2) ? 0 : Pick(1, 3);
  for (int i = 0; i < init_containers; ++i) {
    Ask asked;
    Container container = AnyContainer(Cat("init", i), budget, asked);
    if (OneIn(2)) {
      container.restart_policy = RestartPolicy::kAlways;
      add(together, asked);
    } else {
      add(asked, together);
      starting = {std::max(starting.cpu, asked.cpu), std::max(starting.memory, asked.memory),
                  std::max(starting.pages, asked.pages)};
    }
    pod->init_containers.push_back(std::move(container));
  }
  const int containers = Pick(1, 3);
  for (int i = 0; i < containers; ++i) {
    Ask asked;
    pod->containers.push_back(AnyContainer(Cat("app", i), budget, asked));
    add(together, asked);
  }
  if (budget) {
    Ask whole = {std::max(together.cpu, starting.cpu), std::max(together.memory, starting.memory),
                 std::max(together.pages, starting.pages)};
    whole.cpu = (whole.cpu + 999) / 1000 * 1000 + 1000 * Pick(0, 2);
    whole.memory += 256 * Pick(0, 4);
    if (whole.cpu == 0) whole.cpu = 1000;
    if (whole.memory == 0) whole.memory = 256;
    pod->resources = ResourceRequirements{ListOf(whole), ListOf(whole)};
  }
  DefaultPod(*pod);
  return pod;
}

}  // namespace podfence::arbitrary
