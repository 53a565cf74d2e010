#include "agent/server/decision_json.h"

#include "agent/core/text.h"

namespace podfence {
namespace {

using nlohmann::json;

json Numa(NumaSet numa) {
  json ids = json::array();
  for (int id : numa) ids.push_back(id);
  return ids;
}

json Blocks(const std::vector<MemoryBlock>& blocks) {
  json list = json::array();
  for (const MemoryBlock& block : blocks) {
    list.push_back({{"numa", Numa(block.numa)}, {"type", block.resource}, {"size", block.bytes}});
  }
  return list;
}

void AddAllocation(const PodAllocation& allocation, json& decision) {
  json containers = json::array();
  for (const ContainerAllocation& container : allocation.containers) {
    json entry = {{"name", container.name},
                  {"memory", Blocks(container.memory)},
                  {"cpu_isolation", IsolationName(container.cpu_isolation)},
                  {"memory_isolation", IsolationName(container.memory_isolation)}};
    if (container.cpus) entry["cpus"] = container.cpus->ToString();
    containers.push_back(std::move(entry));
  }
  decision["containers"] = std::move(containers);
  decision["memory"] = Blocks(allocation.memory);
  if (allocation.cpus) decision["cpus"] = allocation.cpus->ToString();
}

void AddRejection(const Rejection& rejection, json& decision) {
  decision["reason"] = rejection.reason;
  decision["message"] = rejection.message;
  decision["reference_message"] = rejection.reference_message;
  decision["container"] = rejection.container;
  decision["remedy"] = rejection.remedy;
  json asked = json::object();
  for (const auto& [resource, amount] : rejection.asked) asked[resource] = amount;
  decision["asked"] = std::move(asked);
  json nodes = json::array();
  for (const NodeShortage& node : rejection.nodes) {
    nodes.push_back(
        {{"numa", node.numa_node}, {"type", node.resource}, {"free", node.free}, {"capacity", node.capacity}});
  }
  decision["nodes"] = std::move(nodes);
}

json StepToJson(const TraceStep& step) {
  json hints = json::array();
  for (const ShownHints& shown : step.hints) {
    json list = json::array();
    for (const auto& [numa, preferred] : shown.hints) list.push_back({{"numa", Numa(numa)}, {"preferred", preferred}});
    hints.push_back({{"resource", shown.resource},
                     {"no_preference", shown.no_preference},
                     {"total", shown.total},
                     {"hints", std::move(list)}});
  }
  return {{"container", step.container}, {"hints", std::move(hints)}, {"merged", Numa(step.merged)},
          {"preferred", step.preferred}, {"admitted", step.admitted}, {"notes", step.notes}};
}

}  // namespace

json DecisionToJson(const Pod& pod, const AdmitResult& result, const Trace& trace) {
  json decision = {{"pod", pod.FullName()}, {"uid", pod.uid}, {"admitted", result.admitted()}};
  if (const auto* change = std::get_if<StateChange>(&result.outcome)) {
    AddAllocation(*change->pod, decision);
  } else {
    AddRejection(std::get<Rejection>(result.outcome), decision);
  }
  json steps = json::array();
  for (const TraceStep& step : trace.steps) steps.push_back(StepToJson(step));
  decision["steps"] = std::move(steps);
  return decision;
}

}  // namespace podfence
