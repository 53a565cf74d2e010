#pragma once

#include <cstddef>
#include <vector>

#include "agent/core/cpu_set.h"

namespace podfence {

// One cgroup's cpuset as it stands and as it shall be. An empty set inherits.
struct CpusetChange {
  bool owner = false;  // the wanted CPUs are its own
  CpuSet present;
  CpuSet wanted;
};

// One write of cpuset.cpus.
struct CpusetWrite {
  size_t cgroup = 0;  // index into the changes
  CpuSet cpus;
  friend bool operator==(const CpusetWrite&, const CpusetWrite&) = default;
};

// The writes that bring all cgroups from present to wanted, in an order that lets nobody run beside an owner:
struct CpusetOrder {
  // (1) Nobody grows: every cgroup is cut to what it has and shall keep. One that keeps nothing of what it has goes to
  // its wanted set here if it is shared. Shared ones first. Then effective sets are to be read back.
  std::vector<CpusetWrite> vacate;
  // (2) Owners get what is theirs.
  std::vector<CpusetWrite> hand_over;
  // (3) Shared cgroups grow into what was released.
  std::vector<CpusetWrite> grow;
};

// Pure. `all`: the CPUs that a cgroup which inherits may run on. Parents stand before their children in changes.
// No write in it makes a set empty unless the wanted set is: empty means "inherit", which would be everything.
CpusetOrder OrderCpusets(const std::vector<CpusetChange>& changes, const CpuSet& all);

}  // namespace podfence
