#include "agent/verifier/findings.h"

#include <algorithm>
#include <string>

#include "agent/core/text.h"

namespace podfence {
namespace {

std::string Comm(const char (&comm)[PODFENCE_COMM_BYTES]) { return {comm, std::find(comm, comm + sizeof(comm), '\0')}; }

std::string Name(const ExpectedFence& fence) {
  switch (fence.kind) {
    case FenceKind::kPause: return Cat("the sandbox of pod ", fence.pod);
    case FenceKind::kPods: return Cat("cgroup ", fence.cgroup);
    default: return Cat("container ", fence.container, " of pod ", fence.pod);
  }
}

std::string Duration(uint64_t ns) { return ns < 1000000 ? Cat(ns / 1000, " us") : Cat(ns / 1000000, " ms"); }

std::string Intruder(const podfence_event& event, const std::map<uint32_t, ExpectedFence>& fences) {
  auto own = fences.find(event.intruder_slot);
  if (event.intruder_slot != 0 && own != fences.end()) return Name(own->second);
  switch (event.foreign) {
    case PODFENCE_FOREIGN_CONTAINER: return Cat("a container (cgroup id ", event.cgroup_id, ")");
    case PODFENCE_FOREIGN_PAUSE: return "the pod's sandbox";
    case PODFENCE_FOREIGN_MOVABLE_KTHREAD: return "a movable kernel thread";
    case PODFENCE_FOREIGN_BOUND_KTHREAD: return "a bound kernel thread";
    default: return Cat("a host process (cgroup id ", event.cgroup_id, ")");
  }
}

}  // namespace

KernelFinding ToFinding(const podfence_event& event, const std::map<uint32_t, ExpectedFence>& fences,
                        const std::string& destination) {
  auto it = fences.find(event.slot);
  const ExpectedFence fence = it != fences.end() ? it->second : ExpectedFence{};
  KernelFinding finding;
  finding.pod = fence.pod;
  finding.container = fence.container;
  finding.cgroup = fence.cgroup;
  finding.pid = static_cast<int>(event.tid);
  finding.comm = Comm(event.comm);
  finding.cgroup_id = event.cgroup_id;
  finding.duration_ns = event.duration_ns;
  const std::string task = Cat(finding.comm, " (pid ", event.tid, ")");
  const std::string set = fence.cpus.ToString();
  if (event.kind == PODFENCE_EVENT_INTRUSION) {
    finding.kind = KernelFindingKind::kIntrusion;
    finding.foreign = static_cast<ForeignClass>(event.foreign);
    finding.cpu = static_cast<int>(event.cpu);
    finding.message = Cat(task, ", ", Intruder(event, fences), ", ran ", Duration(event.duration_ns), " on CPU ",
                          event.cpu, ", exclusive to ", Name(fence));
  } else if (event.kind == PODFENCE_EVENT_ESCAPE) {
    finding.kind = KernelFindingKind::kEscape;
    finding.cpu = static_cast<int>(event.cpu);
    finding.message = Cat(task, " of ", Name(fence), " ran ", Duration(event.duration_ns), " on CPU ", event.cpu,
                          ", outside its CPUs ", set);
  } else if (event.kind == PODFENCE_EVENT_MOVED) {
    finding.kind = KernelFindingKind::kEscape;
    finding.by_pid = static_cast<int>(event.by_tgid);
    finding.by_comm = Comm(event.by_comm);
    const std::string where = destination.empty() ? Cat("cgroup id ", event.cgroup_id) : Cat("/", destination);
    const std::string by = event.by_tgid == 0 ? "" : Cat(" by ", finding.by_comm, " (pid ", event.by_tgid, ")");
    finding.message = Cat(task, " was moved out of the cgroup of ", Name(fence), " to ", where, by);
  } else {
    finding.kind = KernelFindingKind::kDrift;
    finding.by_pid = static_cast<int>(event.by_tgid);
    finding.by_comm = Comm(event.by_comm);
    finding.message =
        event.by_tgid == 0
            ? Cat("the affinity of ", task, " of ", Name(fence), " names CPUs beyond its ", set)
            : Cat(finding.by_comm, " (pid ", event.by_tgid, ") set the affinity of ", task, " of ", Name(fence),
                  event.kind == PODFENCE_EVENT_NARROWED ? " to less than its " : " to CPUs beyond its ", set);
  }
  return finding;
}

}  // namespace podfence
