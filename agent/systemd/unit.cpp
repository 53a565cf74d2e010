#include "agent/systemd/unit.h"

#include <algorithm>
#include <string_view>

#include "absl/strings/str_split.h"
#include "agent/core/text.h"

namespace podfence {
namespace {

constexpr uint64_t kSecondUs = 1000000;

bool IsSlice(std::string_view name) { return name.ends_with(".slice"); }

// Whether systemd made the cgroup at the path, whose top one is a slice.
bool IsUnit(std::string_view path) {
  const std::vector<std::string> parts = absl::StrSplit(ToAbsl(path), '/');
  return std::ranges::all_of(parts.begin(), parts.end() - 1, IsSlice) &&
         (IsSlice(parts.back()) || parts.back().ends_with(".scope"));
}

UnitProperties PropertiesOf(const Fence& fence) {
  UnitProperties properties;
  if (fence.held.cpus) properties.cpus = fence.cpus;
  if (fence.held.mems) properties.mems = fence.mems;
  if (fence.held.cpu_max) properties.cpu_max = fence.cpu_max;
  if (fence.held.cpu_weight) properties.cpu_weight = fence.cpu_weight;
  return properties;
}

// "ay": a bit for each number, the lowest first (shared/cpu-set-util.c cpu_set_from_dbus).
template <typename Set>
void AppendSet(sd_bus_message* message, const char* name, const Set& set) {
  std::vector<uint8_t> bits;
  for (const int number : set) {
    const size_t byte = static_cast<size_t>(number) / 8;
    if (bits.size() <= byte) bits.resize(byte + 1, 0);
    bits[byte] = static_cast<uint8_t>(bits[byte] | 1u << (number % 8));
  }
  sd_bus_message_open_container(message, SD_BUS_TYPE_STRUCT, "sv");
  sd_bus_message_append_basic(message, SD_BUS_TYPE_STRING, name);
  sd_bus_message_open_container(message, SD_BUS_TYPE_VARIANT, "ay");
  sd_bus_message_append_array(message, SD_BUS_TYPE_BYTE, bits.data(), bits.size());
  sd_bus_message_close_container(message);
  sd_bus_message_close_container(message);
}

}  // namespace

std::vector<Unit> UnitsOf(const std::vector<LiveFence>& live) {
  const auto top = std::ranges::find(live, CgroupRole::kTop, [](const LiveFence& each) { return each.fence.role; });
  if (top == live.end() || !IsSlice(top->path)) return {};
  std::vector<Unit> units;
  for (const LiveFence& each : live) {
    if (!each.fence.path.empty() && !IsUnit(each.fence.path)) continue;
    UnitProperties wanted = PropertiesOf(each.fence);
    if (wanted.empty()) continue;
    units.push_back({.name = each.path.substr(each.path.rfind('/') + 1),
                     .path = each.path,
                     .id = each.id,
                     .implicit = each.fence.role == CgroupRole::kQuotaGroup,
                     .wanted = std::move(wanted)});
  }
  return units;
}

UnitProperties Untold(const UnitProperties& wanted, const std::optional<UnitProperties>& told) {
  UnitProperties untold = wanted;
  if (!told) return untold;
  if (untold.cpus == told->cpus) untold.cpus.reset();
  if (untold.mems == told->mems) untold.mems.reset();
  if (untold.cpu_max == told->cpu_max) untold.cpu_max.reset();
  if (untold.cpu_weight == told->cpu_weight) untold.cpu_weight.reset();
  return untold;
}

// Want of memory poisons the message, and every step after it fails: the last one tells.
int AppendProperties(sd_bus_message* message, const UnitProperties& properties) {
  sd_bus_message_open_container(message, SD_BUS_TYPE_ARRAY, "(sv)");
  if (properties.cpus) AppendSet(message, "AllowedCPUs", *properties.cpus);
  if (properties.mems) AppendSet(message, "AllowedMemoryNodes", *properties.mems);
  if (properties.cpu_max) {
    const CpuMax& max = *properties.cpu_max;
    const uint64_t per_second = max.quota_us ? *max.quota_us * kSecondUs / max.period_us : UINT64_MAX;
    sd_bus_message_append(message, "(sv)", "CPUQuotaPerSecUSec", "t", per_second);
    sd_bus_message_append(message, "(sv)", "CPUQuotaPeriodUSec", "t", max.period_us);
  }
  if (properties.cpu_weight) sd_bus_message_append(message, "(sv)", "CPUWeight", "t", *properties.cpu_weight);
  return sd_bus_message_close_container(message);
}

}  // namespace podfence
