#include "agent/commands/replay_input.h"

#include <zlib.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <string_view>
#include <utility>

#include "agent/commands/replay_fields.h"
#include "agent/core/text.h"
#include "agent/topology/machine_json.h"

namespace podfence {
namespace {

using nlohmann::json;

ResourceList ReadResources(const json& object, const std::string& place, absl::Status& status) {
  VectorFields fields(object, place, status);
  ResourceList list;
  if (!status.ok()) return list;
  for (const auto& [name, unused] : object.items()) {
    absl::StatusOr<Quantity> amount = Quantity::Parse(fields.Text(name));
    if (!amount.ok()) {
      fields.Fail(name, ToStd(amount.status().message()));
      return list;
    }
    list.emplace(name, *amount);
  }
  return list;
}

std::map<std::string, std::string> ReadOptions(VectorFields& config, std::string_view key) {
  std::map<std::string, std::string> options;
  if (config.Find(key) == nullptr) return options;
  const json& object = config.Object(key);
  VectorFields fields(object, config.PlaceOf(key), config.status());
  for (const auto& [name, unused] : object.items()) options.emplace(name, fields.Text(name));
  return options;
}

Policy ReadPolicy(const json& object, absl::Status& status) {
  VectorFields config(object, "config", status);
  Policy policy;
  policy.cpu_manager_policy = config.Text("cpuManagerPolicy");
  policy.cpu_manager_policy_options = ReadOptions(config, "cpuManagerPolicyOptions");
  policy.memory_manager_policy = config.Text("memoryManagerPolicy");
  policy.topology_manager_policy = config.Text("topologyManagerPolicy");
  policy.topology_manager_scope = config.TextOr("topologyManagerScope", "container");
  policy.topology_manager_policy_options = ReadOptions(config, "topologyManagerPolicyOptions");
  policy.reserved_system_cpus = config.TextOr("reservedSystemCPUs", "");
  if (const json* reserved = config.Find("reserved")) {
    policy.reserved = ReadResources(*reserved, "config.reserved", status);
  }
  if (config.Find("reservedMemory") == nullptr) return policy;
  for (const json& entry : config.Array("reservedMemory")) {
    const std::string place = Cat("config.reservedMemory[", policy.reserved_memory.size(), "]");
    VectorFields fields(entry, place, status);
    NumaReservation& reservation = policy.reserved_memory.emplace_back();
    reservation.numa_node = static_cast<int>(fields.Number("numaNode"));
    reservation.limits = ReadResources(fields.Object("limits"), Cat(place, ".limits"), status);
  }
  return policy;
}

VectorOp ReadOp(const json& object, const std::string& place, absl::Status& status) {
  VectorFields fields(object, place, status);
  VectorOp op;
  const std::string kind = fields.Text("op");
  if (kind == "admit") {
    op.pod = fields.Object("pod");
  } else if (kind == "start" || kind == "remove") {
    op.kind = kind == "start" ? VectorOp::Kind::kStart : VectorOp::Kind::kRemove;
    op.uid = fields.Text("uid");
    if (kind == "start") op.container = fields.Text("container");
  } else {
    fields.Fail("op", Cat("expected admit, start or remove, got \"", kind, "\""));
  }
  return op;
}

absl::StatusOr<Scenario> ReadScenario(const json& line) {
  absl::Status status;
  VectorFields fields(line, "", status);
  Scenario scenario;
  scenario.name = fields.Text("name");
  const std::string check = fields.TextOr("check", "equal");
  scenario.invariants_only = check == "invariants";
  if (check != "equal" && check != "invariants") fields.Fail("check", Cat("is unknown: \"", check, "\""));
  absl::StatusOr<Machine> machine = MachineFromJson(fields.Array("topology"), scenario.name);
  if (status.ok() && !machine.ok()) return machine.status();
  if (machine.ok()) scenario.machine = *std::move(machine);
  scenario.policy = ReadPolicy(fields.Object("config"), status);
  for (const json& op : fields.Array("ops")) {
    scenario.ops.push_back(ReadOp(op, Cat("ops[", scenario.ops.size(), "]"), status));
  }
  VectorFields expect(fields.Object("expect"), "expect", status);
  scenario.config_error = expect.Find("configError") != nullptr;
  if (!scenario.config_error) {
    scenario.start = expect.Object("start");
    for (const json& step : expect.Array("steps")) scenario.steps.push_back(step);
    if (scenario.steps.size() != scenario.ops.size()) {
      expect.Fail("steps", Cat("there are ", scenario.steps.size(), " for ", scenario.ops.size(), " ops"));
    }
  }
  if (!status.ok()) return status;
  return scenario;
}

absl::StatusOr<NumaSet> ReadNodes(const json& list, const std::string& place, size_t nodes) {
  NumaSet set;
  if (!list.is_array()) return absl::InvalidArgumentError(Cat(place, ": expected an array, got ", list.type_name()));
  for (const json& node : list) {
    if (!node.is_number_unsigned() || node.get<uint64_t>() >= nodes) {
      return absl::InvalidArgumentError(Cat(place, ": expected node numbers below ", nodes, ", got ", node.dump()));
    }
    set.Add(node.get<int>());
  }
  return set;
}

void ReadHints(const json& object, const std::string& place, size_t nodes, ResourceHints& hints, absl::Status& status) {
  VectorFields fields(object, place, status);
  const json* list = fields.Find("hints");
  if (list == nullptr || list->is_null()) return;
  hints.kind = ResourceHints::Kind::kList;
  for (const json& entry : fields.Array("hints")) {
    const std::string hint_place = Cat(place, ".hints[", hints.list.size(), "]");
    VectorFields hint(entry, hint_place, status);
    Hint& read = hints.list.emplace_back();
    read.preferred = hint.Flag("preferred");
    const json* numa = hint.Find("numa");
    if (numa == nullptr || numa->is_null()) continue;
    absl::StatusOr<NumaSet> set = ReadNodes(*numa, Cat(hint_place, ".numa"), nodes);
    if (!set.ok()) {
      if (status.ok()) status = set.status();
      return;
    }
    read.numa = *set;
  }
}

absl::StatusOr<RecordedMerge> ReadMerge(const json& line) {
  absl::Status status;
  VectorFields fields(line, "", status);
  RecordedMerge merge;
  merge.name = fields.Text("name");
  const json& distances = fields.Array("distances");
  for (const json& row : distances) {
    if (!row.is_array() || row.size() != distances.size() || distances.size() > NumaSet::kMaxNode + 1) {
      fields.Fail("distances", "expected a square matrix of at most 64 nodes");
      return status;
    }
    for (const json& distance : row) {
      if (!distance.is_number_unsigned()) fields.Fail("distances", "expected whole numbers");
    }
    if (!status.ok()) return status;
    merge.distances.push_back(row.get<std::vector<uint64_t>>());
  }
  // The same reading of policy names as everywhere, on a machine of that many nodes.
  Machine machine;
  machine.nodes.resize(merge.distances.size());
  Policy policy;
  policy.topology_manager_policy = fields.Text("policy");
  policy.topology_manager_policy_options = {{"max-allowable-numa-nodes", "64"}};
  absl::StatusOr<TopologyOptions> options = ParseTopologyOptions(machine, policy);
  if (!options.ok()) {
    fields.Fail("policy", ToStd(options.status().message()));
    return status;
  }
  merge.options = *options;
  merge.options.prefer_closest_numa = fields.Flag("preferClosestNuma");
  const json& providers = fields.Array("providers");
  merge.resources.resize(providers.size());
  for (size_t p = 0; p < providers.size(); ++p) {
    const std::string place = Cat("providers[", p, "]");
    if (!providers[p].is_array()) fields.Fail("providers", "expected an array of arrays");
    if (!status.ok()) return status;
    ProviderHints& provider = merge.providers.emplace_back();
    merge.resources[p].reserve(providers[p].size());
    for (const json& entry : providers[p]) {
      const std::string entry_place = Cat(place, "[", provider.size(), "]");
      VectorFields entry_fields(entry, entry_place, status);
      merge.resources[p].push_back(entry_fields.Text("resource"));
      ResourceHints& hints = provider.emplace_back();
      hints.resource = merge.resources[p].back();
      ReadHints(entry, entry_place, merge.distances.size(), hints, status);
    }
  }
  merge.expect = fields.Object("expect");
  VectorFields expect(merge.expect, "expect", status);
  if (expect.Find("reference_ns") != nullptr) merge.reference_ns = expect.Number("reference_ns");
  if (!status.ok()) return status;
  return merge;
}

absl::StatusOr<RecordedVector> ReadVector(const std::string& text) {
  const json line = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (line.is_discarded()) return absl::InvalidArgumentError("is not JSON");
  if (!line.is_object()) return absl::InvalidArgumentError(Cat("expected an object, got ", line.type_name()));
  if (line.contains("ops")) {
    absl::StatusOr<Scenario> scenario = ReadScenario(line);
    if (!scenario.ok()) return scenario.status();
    return RecordedVector(*std::move(scenario));
  }
  if (line.contains("providers")) {
    absl::StatusOr<RecordedMerge> merge = ReadMerge(line);
    if (!merge.ok()) return merge.status();
    return RecordedVector(*std::move(merge));
  }
  return absl::InvalidArgumentError("has neither ops (a scenario) nor providers (a merge)");
}

struct GzClose {
  void operator()(gzFile file) const { gzclose(file); }
};

}  // namespace

absl::Status ForEachVector(const std::string& path, const std::function<void(const RecordedVector&)>& visit) {
  // zlib reads what is not gzipped as it is.
  errno = 0;
  const std::unique_ptr<gzFile_s, GzClose> file(gzopen(path.c_str(), "rb"));
  if (file == nullptr) {
    return absl::NotFoundError(Cat("cannot open ", path, ": ", std::strerror(errno != 0 ? errno : ENOMEM)));
  }
  std::string line;
  std::string buffer(size_t{1} << 16, '\0');
  uint64_t number = 0;
  const auto finish_line = [&]() -> absl::Status {
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string::npos) {
      line.clear();
      return absl::OkStatus();
    }
    absl::StatusOr<RecordedVector> read = ReadVector(line);
    line.clear();
    if (!read.ok()) {
      return absl::InvalidArgumentError(Cat(path, ": line ", number, ": ", ToStd(read.status().message())));
    }
    visit(*read);
    return absl::OkStatus();
  };
  while (true) {
    errno = 0;
    const int count = gzread(file.get(), buffer.data(), static_cast<unsigned>(buffer.size()));
    if (count < 0) {
      int code = Z_OK;
      const char* what = gzerror(file.get(), &code);
      return absl::InternalError(Cat("cannot read ", path, ": ", code == Z_ERRNO ? std::strerror(errno) : what));
    }
    if (count == 0) break;
    std::string_view rest(buffer.data(), static_cast<size_t>(count));
    for (size_t end = rest.find('\n'); end != std::string_view::npos; end = rest.find('\n')) {
      line.append(rest.substr(0, end));
      rest.remove_prefix(end + 1);
      if (absl::Status status = finish_line(); !status.ok()) return status;
    }
    line.append(rest);
  }
  int code = Z_OK;
  const char* what = gzerror(file.get(), &code);
  if (code != Z_OK) return absl::InternalError(Cat("cannot read ", path, ": ", what));
  return line.empty() ? absl::OkStatus() : finish_line();
}

}  // namespace podfence
