#include "agent/server/snapshot_json.h"

#include "agent/core/text.h"
#include "agent/state/state_json.h"
#include "agent/topology/machine_json.h"

// null: not known.
template <typename T>
struct nlohmann::adl_serializer<std::optional<T>> {
  static void to_json(nlohmann::json& value, const std::optional<T>& known) {
    value = known ? nlohmann::json(*known) : nlohmann::json(nullptr);
  }
  static void from_json(const nlohmann::json& value, std::optional<T>& known) {
    known = value.is_null() ? std::nullopt : std::optional<T>(value.get<T>());
  }
};

// How single values look; found by nlohmann-json through argument-dependent lookup, hence in podfence itself.
namespace podfence {

using nlohmann::json;

namespace {

// nlohmann-json reports a wrong shape by exception; inside this file only, SnapshotFromJson ends it.
struct WrongShape : std::runtime_error {
  using std::runtime_error::runtime_error;
};

json ListToJson(const ResourceList& list) {
  json object = json::object();
  for (const auto& [name, amount] : list) object[name] = amount.ToString();
  return object;
}

ResourceList ListFromJson(const json& object) {
  ResourceList list;
  for (const auto& [name, text] : object.items()) {
    const absl::StatusOr<Quantity> amount = Quantity::Parse(text.get<std::string>());
    if (!amount.ok()) throw WrongShape(Cat(name, ": ", ToStd(amount.status().message())));
    list.emplace(name, *amount);
  }
  return list;
}

}  // namespace

void to_json(json& value, const CpuSet& cpus) { value = cpus.ToString(); }
void from_json(const json& value, CpuSet& cpus) {
  absl::StatusOr<CpuSet> parsed = CpuSet::Parse(value.get<std::string>());
  if (!parsed.ok()) throw WrongShape(std::string(parsed.status().message()));
  cpus = *std::move(parsed);
}
void to_json(json& value, const NumaSet& numa) {
  value = json::array();
  for (int id : numa) value.push_back(id);
}
void from_json(const json& value, NumaSet& numa) {
  numa = NumaSet();
  for (const json& id : value) {
    const int node = id.get<int>();
    if (node < 0 || node > NumaSet::kMaxNode) throw WrongShape(Cat("NUMA node ", node, " is out of range"));
    numa.Add(node);
  }
}
void to_json(json& value, const Policy& policy) {
  json reserved_memory = json::array();
  for (const NumaReservation& reservation : policy.reserved_memory) {
    reserved_memory.push_back({{"numaNode", reservation.numa_node}, {"limits", ListToJson(reservation.limits)}});
  }
  value = {{"cpuManagerPolicy", policy.cpu_manager_policy},
           {"cpuManagerPolicyOptions", policy.cpu_manager_policy_options},
           {"memoryManagerPolicy", policy.memory_manager_policy},
           {"topologyManagerPolicy", policy.topology_manager_policy},
           {"topologyManagerScope", policy.topology_manager_scope},
           {"topologyManagerPolicyOptions", policy.topology_manager_policy_options},
           {"reservedSystemCPUs", policy.reserved_system_cpus},
           {"reserved", ListToJson(policy.reserved)},
           {"reservedMemory", std::move(reserved_memory)}};
}
void from_json(const json& value, Policy& policy) {
  value.at("cpuManagerPolicy").get_to(policy.cpu_manager_policy);
  value.at("cpuManagerPolicyOptions").get_to(policy.cpu_manager_policy_options);
  value.at("memoryManagerPolicy").get_to(policy.memory_manager_policy);
  value.at("topologyManagerPolicy").get_to(policy.topology_manager_policy);
  value.at("topologyManagerScope").get_to(policy.topology_manager_scope);
  value.at("topologyManagerPolicyOptions").get_to(policy.topology_manager_policy_options);
  value.at("reservedSystemCPUs").get_to(policy.reserved_system_cpus);
  policy.reserved = ListFromJson(value.at("reserved"));
  policy.reserved_memory.clear();
  for (const json& entry : value.at("reservedMemory")) {
    policy.reserved_memory.push_back(
        {.numa_node = entry.at("numaNode").get<int>(), .limits = ListFromJson(entry.at("limits"))});
  }
}

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Histogram, bounds, counts, sum)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(RunQueueView, waits, p50_seconds, p90_seconds, p99_seconds, p999_seconds)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ThrottlingView, cgroup, limited, periods, throttled_periods, throttled_seconds)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ContainerView, name, kind, phase, message, restarts, assignment, cpus,
                                   effective_cpus, mems, promised_cpus, cpu_seconds, throttling, foreign_seconds,
                                   escaped_seconds, irq_seconds, softirq_seconds, run_queue)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(PodView, uid, containers)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(RejectedView, pod, source, reason, message)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ProbeView, name, running, hook, finds, reason, fallback, runs, run_seconds, wanted)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(FindingActor, pid, comm, cgroup)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(VerificationView::Reason, what, reason)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(VerificationView, state, reasons)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(CollectorView, name, up, duration_seconds, errors)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(CpuInterruptsView, cpu, hard_seconds, soft_seconds)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(PromiseTotals, foreign_seconds, escaped_seconds, throttled_seconds,
                                   throttled_periods, interrupts, shared_throttled_seconds, run_queue)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(CounterGrowth, allocations, allocation_errors, assignments)

// By hand, since `class` is no name of a field in C++.
void to_json(json& value, const FindingView& finding) {
  value = {{"kind", finding.kind},
           {"pod", finding.pod},
           {"container", finding.container},
           {"cgroup", finding.cgroup},
           {"file", finding.file},
           {"cpu", finding.cpu},
           {"expected", finding.expected},
           {"seen", finding.seen},
           {"class", finding.foreign_class},
           {"by", finding.by},
           {"duration_seconds", finding.duration_seconds},
           {"repaired", finding.repaired},
           {"message", finding.message},
           {"since", finding.since},
           {"last_seen", finding.last_seen},
           {"count", finding.count},
           {"active", finding.active}};
}
void from_json(const json& value, FindingView& finding) {
  value.at("kind").get_to(finding.kind);
  value.at("pod").get_to(finding.pod);
  value.at("container").get_to(finding.container);
  value.at("cgroup").get_to(finding.cgroup);
  value.at("file").get_to(finding.file);
  value.at("cpu").get_to(finding.cpu);
  value.at("expected").get_to(finding.expected);
  value.at("seen").get_to(finding.seen);
  value.at("class").get_to(finding.foreign_class);
  value.at("by").get_to(finding.by);
  value.at("duration_seconds").get_to(finding.duration_seconds);
  value.at("repaired").get_to(finding.repaired);
  value.at("message").get_to(finding.message);
  value.at("since").get_to(finding.since);
  value.at("last_seen").get_to(finding.last_seen);
  value.at("count").get_to(finding.count);
  value.at("active").get_to(finding.active);
}

json FindingToJson(const FindingView& finding) { return finding; }

json FindingsToJson(const Snapshot& snapshot) {
  return {{"time", snapshot.time},
          {"state", snapshot.verification.state},
          {"reasons", snapshot.verification.reasons},
          {"findings", snapshot.findings}};
}

json SnapshotToJson(const Snapshot& snapshot) {
  return {{"version", snapshot.version},
          {"mode", snapshot.mode},
          {"time", snapshot.time},
          {"monotonic", snapshot.monotonic},
          {"started", snapshot.started},
          {"machine",
           {{"name", snapshot.machine.name},
            {"offline", snapshot.machine.offline},
            {"topology", MachineToJson(snapshot.machine)}}},
          {"policy", snapshot.policy},
          {"reserved_cpus", snapshot.reserved_cpus},
          {"state", StateToJson(snapshot.state)},
          {"pods", snapshot.pods},
          {"rejected", snapshot.rejected},
          {"probes", snapshot.probes},
          {"findings", snapshot.findings},
          {"verification", snapshot.verification},
          {"collectors", snapshot.collectors},
          {"totals", snapshot.totals},
          {"per_pod_metrics", snapshot.per_pod_metrics},
          {"finding_totals", snapshot.finding_totals},
          {"counters", snapshot.counters},
          {"lost_events", snapshot.lost_events},
          {"drift_repairs", snapshot.drift_repairs},
          {"repair_seconds", snapshot.repair_seconds},
          {"invariant_violations", snapshot.invariant_violations},
          {"commits", snapshot.commits},
          {"commit_errors", snapshot.commit_errors},
          {"decisions", snapshot.decisions},
          {"last_decision_seconds", snapshot.last_decision_seconds}};
}

absl::StatusOr<Snapshot> SnapshotFromJson(const json& value) {
  Snapshot snapshot;
  try {
    value.at("version").get_to(snapshot.version);
    value.at("mode").get_to(snapshot.mode);
    value.at("time").get_to(snapshot.time);
    value.at("monotonic").get_to(snapshot.monotonic);
    value.at("started").get_to(snapshot.started);
    const json& machine = value.at("machine");
    absl::StatusOr<Machine> read = MachineFromJson(machine.at("topology"), machine.at("name").get<std::string>());
    if (!read.ok()) return read.status();
    snapshot.machine = *std::move(read);
    machine.at("offline").get_to(snapshot.machine.offline);
    value.at("policy").get_to(snapshot.policy);
    value.at("reserved_cpus").get_to(snapshot.reserved_cpus);
    absl::StatusOr<NodeState> state = StateFromJson(value.at("state"));
    if (!state.ok()) return state.status();
    snapshot.state = *std::move(state);
    value.at("pods").get_to(snapshot.pods);
    value.at("rejected").get_to(snapshot.rejected);
    value.at("probes").get_to(snapshot.probes);
    value.at("findings").get_to(snapshot.findings);
    value.at("verification").get_to(snapshot.verification);
    value.at("collectors").get_to(snapshot.collectors);
    value.at("totals").get_to(snapshot.totals);
    value.at("per_pod_metrics").get_to(snapshot.per_pod_metrics);
    value.at("finding_totals").get_to(snapshot.finding_totals);
    value.at("counters").get_to(snapshot.counters);
    value.at("lost_events").get_to(snapshot.lost_events);
    value.at("drift_repairs").get_to(snapshot.drift_repairs);
    value.at("repair_seconds").get_to(snapshot.repair_seconds);
    value.at("invariant_violations").get_to(snapshot.invariant_violations);
    value.at("commits").get_to(snapshot.commits);
    value.at("commit_errors").get_to(snapshot.commit_errors);
    value.at("decisions").get_to(snapshot.decisions);
    value.at("last_decision_seconds").get_to(snapshot.last_decision_seconds);
  } catch (const std::exception& error) {
    return absl::InvalidArgumentError(Cat("the agent's state: ", error.what()));
  }
  return snapshot;
}

}  // namespace podfence
