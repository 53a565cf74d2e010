#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "agent/commands/table.h"

namespace podfence {

// A decision for people, from its JSON (DecisionToJson), so that one that is only planned and one that an agent made
// read the same. Fields that are missing or of another type show as nothing; neither function fails.

// The verdict, and where every container lands with its CPUs and memory; or why the pod was refused, what each NUMA
// node had, and what would help.
std::string RenderDecision(const nlohmann::json& decision, const Terminal& terminal);

// How the decision came about, step by step: the hints of every provider (of many, the first preferred ones and their
// number), what they merged to, and what was picked and why.
std::string RenderTrace(const nlohmann::json& decision, const Terminal& terminal);

}  // namespace podfence
