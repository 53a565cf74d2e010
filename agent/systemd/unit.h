#pragma once

// systemd/ keeps systemd's own notes of the cgroups that it made (slices and scopes, where the kubelet and the runtime
// use the systemd driver) in agreement with the fences. systemd writes what it has noted whenever it likes: at
// daemon-reload, and whenever anyone sets a property of the unit or starts one beside it (core/cgroup.c
// cgroup_context_apply). The room uses core/, cgroup/ and what enforcer/ says of fences, and writes no cgroup: the
// fences are written by the enforcer, first, and stay the truth.

#include <systemd/sd-bus.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "agent/cgroup/control.h"
#include "agent/core/cpu_set.h"
#include "agent/core/numa_set.h"
#include "agent/enforcer/enforcer.h"

namespace podfence {

// Of one unit, what is said to systemd; none: nothing is, it stays whoever's it is.
struct UnitProperties {
  std::optional<CpuSet> cpus = std::nullopt;          // AllowedCPUs; empty: inherits
  std::optional<NumaSet> mems = std::nullopt;         // AllowedMemoryNodes; empty: inherits
  std::optional<CpuMax> cpu_max = std::nullopt;       // CPUQuotaPerSecUSec, CPUQuotaPeriodUSec
  std::optional<uint64_t> cpu_weight = std::nullopt;  // CPUWeight
  bool empty() const { return *this == UnitProperties(); }
  friend bool operator==(const UnitProperties&, const UnitProperties&) = default;
};

struct Unit {
  std::string name;  // "kubepods-pod<uid>.slice", "cri-containerd-<id>.scope"
  std::string path;  // of its cgroup, absolute
  uint64_t id = 0;   // of the cgroup: a unit of the same name that is made anew is another one
  // Made by systemd for the scopes in it, so not transient: what was set of it is kept beyond its end.
  bool implicit = false;
  UnitProperties wanted;
};

// The units among the cgroups of a pass. A cgroup is a unit's where its name is a slice's or a scope's and all above it
// are slices: a name alone does not tell, since the cgroupfs driver's cgroups may be named as they like. What systemd
// has no property for (the partition), or that is not held, is not in it. Pure.
std::vector<Unit> UnitsOf(const std::vector<LiveFence>& live);

// What of `wanted` was not told yet.
UnitProperties Untold(const UnitProperties& wanted, const std::optional<UnitProperties>& told);

// Appends them as SetUnitProperties takes them, a(sv). The result is sd-bus': negative on an error.
int AppendProperties(sd_bus_message* message, const UnitProperties& properties);

}  // namespace podfence
