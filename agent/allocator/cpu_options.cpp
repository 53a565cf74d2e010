#include "agent/allocator/cpu_options.h"

#include <array>
#include <optional>
#include <string_view>

#include "agent/core/text.h"

namespace podfence {
namespace {

constexpr std::string_view kKey = "cpuManagerPolicyOptions";

struct Option {
  std::string_view name;
  bool CpuOptions::*value;
};
constexpr Option kFullPcpusOnly = {"full-pcpus-only", &CpuOptions::full_pcpus_only};
constexpr Option kDistributeNuma = {"distribute-cpus-across-numa", &CpuOptions::distribute_across_numa};
constexpr Option kAlignBySocket = {"align-by-socket", &CpuOptions::align_by_socket};
constexpr Option kDistributeCores = {"distribute-cpus-across-cores", &CpuOptions::distribute_across_cores};
constexpr Option kStrict = {"strict-cpu-reservation", &CpuOptions::strict_cpu_reservation};
constexpr Option kUncore = {"prefer-align-cpus-by-uncorecache", &CpuOptions::prefer_align_by_uncore_cache};
constexpr std::array kOptions = {kFullPcpusOnly, kDistributeNuma, kAlignBySocket, kDistributeCores, kStrict, kUncore};

struct Clash {
  Option a;
  Option b;
};
constexpr std::array kClashes = {Clash{kFullPcpusOnly, kDistributeCores}, Clash{kDistributeNuma, kDistributeCores},
                                 Clash{kUncore, kDistributeCores}, Clash{kUncore, kDistributeNuma}};

// The values Go's strconv.ParseBool takes.
std::optional<bool> ParseBool(std::string_view text) {
  for (std::string_view yes : {"1", "t", "T", "true", "TRUE", "True"}) {
    if (text == yes) return true;
  }
  for (std::string_view no : {"0", "f", "F", "false", "FALSE", "False"}) {
    if (text == no) return false;
  }
  return std::nullopt;
}

}  // namespace

absl::StatusOr<CpuOptions> ParseCpuOptions(const std::map<std::string, std::string>& options) {
  CpuOptions parsed;
  for (const auto& [name, value] : options) {
    const Option* known = nullptr;
    for (const Option& option : kOptions) {
      if (option.name == name) known = &option;
    }
    if (known == nullptr) {
      std::string names;
      for (const Option& option : kOptions) names += Cat(names.empty() ? "" : ", ", option.name);
      return absl::InvalidArgumentError(
          Cat(kKey, ": unknown CPU Manager Policy option: \"", name, "\"; there are ", names));
    }
    const std::optional<bool> yes = ParseBool(value);
    if (!yes.has_value()) {
      return absl::InvalidArgumentError(
          Cat(kKey, ": bad value for option \"", name, "\": \"", value, "\" is neither true nor false"));
    }
    parsed.*known->value = *yes;
  }
  for (const Clash& clash : kClashes) {
    if (parsed.*clash.a.value && parsed.*clash.b.value) {
      return absl::InvalidArgumentError(Cat(kKey, ": static policy options ", clash.a.name, " and ", clash.b.name,
                                            " can not be used at the same time"));
    }
  }
  return parsed;
}

absl::Status CheckCpuOptions(const CpuOptions& options, const CpuTopology& topology,
                             const std::string& topology_manager_policy) {
  if (!options.align_by_socket) return absl::OkStatus();
  if (topology_manager_policy == "single-numa-node") {
    return absl::InvalidArgumentError(Cat(kKey,
                                          ": Topology manager single-numa-node policy (topologyManagerPolicy) is "
                                          "incompatible with CPUManager align-by-socket policy option"));
  }
  if (topology.sockets.size() > topology.nodes.size()) {
    return absl::InvalidArgumentError(
        Cat(kKey, ": align-by-socket is not compatible with hardware where the number of sockets (",
            topology.sockets.size(), ") is more than the number of NUMA nodes (", topology.nodes.size(), ")"));
  }
  return absl::OkStatus();
}

}  // namespace podfence
