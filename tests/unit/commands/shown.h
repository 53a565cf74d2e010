#pragma once

// What the tests of the commands share.

#include <string>
#include <string_view>

#include "agent/commands/table.h"
#include "agent/core/cpu_set.h"

namespace podfence {

inline constexpr Terminal kPlain80 = {80, false};

inline CpuSet Cpus(std::string_view list) { return *CpuSet::Parse(list); }

// What a command left behind.
struct Result {
  int exit_code;
  std::string out;
  std::string err;
};

}  // namespace podfence
