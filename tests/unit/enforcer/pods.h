#pragma once

// Pods and decisions as short literals, for the enforcer's tests.

#include <initializer_list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "agent/core/node_state.h"
#include "agent/core/text.h"

namespace podfence {

inline ResourceList Resources(const std::string& cpu, const std::string& memory = "") {
  ResourceList list;
  if (!cpu.empty()) list.emplace("cpu", *Quantity::Parse(cpu));
  if (!memory.empty()) list.emplace("memory", *Quantity::Parse(memory));
  return list;
}

// A container whose requests are its limits; empty amounts: none.
inline Container App(const std::string& name, const std::string& cpu = "", const std::string& memory = "") {
  Container container;
  container.name = name;
  container.resources.limits = container.resources.requests = Resources(cpu, memory);
  return container;
}
inline Container Sidecar(const std::string& name, const std::string& cpu = "", const std::string& memory = "") {
  Container container = App(name, cpu, memory);
  container.restart_policy = RestartPolicy::kAlways;
  return container;
}

// What a container was given; cpus empty: the node shared pool.
struct Held {
  std::string name;
  std::string cpus;
  Isolation isolation = Isolation::kHost;
  NumaSet numa;
};
inline Held Exclusive(const std::string& name, const std::string& cpus, NumaSet numa = {}) {
  return {name, cpus, Isolation::kContainer, numa};
}
inline Held PodShared(const std::string& name, const std::string& cpus, NumaSet numa = {}) {
  return {name, cpus, Isolation::kPod, numa};
}
inline Held NodeShared(const std::string& name) { return {name, "", Isolation::kHost, {}}; }

inline PodAllocation Decide(Pod pod, const std::vector<Held>& held, const std::string& bubble = "") {
  PodAllocation allocation;
  if (!bubble.empty()) allocation.cpus = *CpuSet::Parse(bubble);
  for (const Held& one : held) {
    ContainerAllocation container;
    container.name = one.name;
    if (!one.cpus.empty()) container.cpus = *CpuSet::Parse(one.cpus);
    container.cpu_isolation = one.isolation;
    if (!one.numa.empty()) container.memory.push_back({one.numa, "memory", 1 << 20});
    allocation.containers.push_back(std::move(container));
  }
  allocation.pod = std::make_shared<const Pod>(std::move(pod));
  return allocation;
}

inline Pod NewPod(const std::string& uid, std::vector<Container> init, std::vector<Container> apps) {
  Pod pod;
  pod.uid = uid;
  pod.name = uid;
  pod.init_containers = std::move(init);
  pod.containers = std::move(apps);
  pod.qos = QosClass::kGuaranteed;
  return pod;
}
// With a pod-level budget (requests are limits).
inline Pod NewPod(const std::string& uid, const std::string& cpu, const std::string& memory,
                  std::vector<Container> init, std::vector<Container> apps) {
  Pod pod = NewPod(uid, std::move(init), std::move(apps));
  pod.resources.emplace();
  pod.resources->limits = pod.resources->requests = Resources(cpu, memory);
  return pod;
}

// ml-workload of the examples, as the container scope decides it on 24 CPUs.
inline PodAllocation MlWorkload() {
  return Decide(NewPod("ml", "4", "8Gi", {Sidecar("service-mesh-sidecar")}, {App("ml-training", "3", "6Gi")}),
                {NodeShared("service-mesh-sidecar"), Exclusive("ml-training", "1-3", NumaSet{0})});
}
// tightly-coupled-database of the examples, as the pod scope decides it.
inline PodAllocation Database() {
  return Decide(
      NewPod("db", "8", "16Gi", {Sidecar("metrics-exporter"), Sidecar("backup-agent")}, {App("database", "6", "12Gi")}),
      {PodShared("metrics-exporter", "18-19", NumaSet{1}), PodShared("backup-agent", "18-19", NumaSet{1}),
       Exclusive("database", "12-17", NumaSet{1})},
      "12-19");
}

inline NodeState StateOf(const std::string& shared, std::initializer_list<PodAllocation> pods) {
  NodeState state;
  state.shared_cpus = *CpuSet::Parse(shared);
  for (const PodAllocation& pod : pods) state.pods.emplace(pod.pod->uid, pod);
  return state;
}

}  // namespace podfence
