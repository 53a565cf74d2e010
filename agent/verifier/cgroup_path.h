#pragma once

#include <cstdint>
#include <string>

#include "agent/cgroup/cgroup.h"

namespace podfence {

// The path of the cgroup with this id below `root`, the root of a cgroup hierarchy; empty where it is gone, or this
// process may not open it by its id (CAP_DAC_READ_SEARCH).
std::string CgroupPath(const Cgroup& root, uint64_t id);

}  // namespace podfence
