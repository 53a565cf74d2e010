#pragma once

#include <string>

#include "agent/commands/table.h"
#include "agent/core/machine.h"

namespace podfence {

// A Machine for people: its nodes with memory, huge pages, sockets and L3 groups, its cores with their CPUs, its
// distances and what is offline.
std::string RenderTopology(const Machine& machine, const Terminal& terminal);

}  // namespace podfence
