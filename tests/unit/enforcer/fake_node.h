#pragma once

// A node on which ml-workload of pods.h lives, as files that behave like the kernel's where the tests need that.

#include <string>
#include <vector>

#include "agent/core/machine.h"
#include "agent/enforcer/enforcer.h"
#include "tests/unit/cgroup/cgroup_tree.h"

namespace podfence {

// A machine of 24 CPUs in 2 NUMA nodes.
inline Machine Node() {
  Machine machine;
  for (int node = 0; node < 2; ++node) {
    NumaNode numa;
    numa.id = node;
    numa.memory = uint64_t{24} << 30;
    numa.distances = {10, 21};
    for (int cpu = node * 12; cpu < node * 12 + 12; ++cpu) numa.cores.push_back({node, std::nullopt, {cpu}});
    machine.nodes.push_back(numa);
  }
  return machine;
}

// A cgroup as the kernel makes it, with its effective set showing what was written.
inline TreeEntry FakeCgroup(const std::string& name, const std::string& cpus, std::vector<TreeEntry> children = {}) {
  std::vector<TreeEntry> entries = {File("cpuset.cpus", cpus),
                                    Link("cpuset.cpus.effective", "cpuset.cpus"),
                                    File("cpuset.mems", ""),
                                    File("cpu.max", "max 100000"),
                                    File("cpu.weight", "100"),
                                    File("memory.max", "max"),
                                    File("cgroup.events", "populated 1"),
                                    File("cgroup.controllers", "cpuset cpu memory"),
                                    File("cgroup.subtree_control", "cpuset cpu memory")};
  entries.insert(entries.end(), children.begin(), children.end());
  return Dir(name, std::move(entries));
}

// Of sysfs: which of the 24 CPUs are switched on.
inline TreeEntry FakeCpus(const std::string& online) {
  return Dir("sys", {Dir("devices", {Dir("system", {Dir("cpu", {File("present", "0-23"), File("online", online)})})})});
}

// The root of the hierarchy, with sysfs beside the cgroups.
inline std::vector<TreeEntry> FakeRoot(std::vector<TreeEntry> cgroups = {}) {
  std::vector<TreeEntry> entries = {
      File("cgroup.controllers", "cpuset cpu memory"), File("cgroup.subtree_control", "cpuset cpu memory"),
      File("cpuset.cpus.effective", "0-23"), File("cpuset.mems.effective", "0-1"), FakeCpus("0-23")};
  entries.insert(entries.end(), cgroups.begin(), cgroups.end());
  return entries;
}

// For cgroups that the kubelet and a runtime make below "kubepods" of such a tree.
inline EnforcerOptions KubepodsOptions(const CgroupTree& tree) {
  EnforcerOptions options;
  options.name = "kubepods";
  options.runtime_cgroups = true;
  options.reserved = CpuSet{0};
  options.sys_root = tree.path() + "/sys";
  return options;
}

inline std::vector<TreeEntry> FakeNode() {
  return FakeRoot({FakeCgroup(
      "podfence", "",
      {FakeCgroup("podml", "", {FakeCgroup("ml-training", "0-23"), FakeCgroup("service-mesh-sidecar", "0-23")})})});
}

}  // namespace podfence
