#pragma once

#include <ostream>

#include "agent/commands/replay_run.h"

namespace podfence {

// The result for a person: the differences, the times where asked for, and the line of totals last.
void PrintReplay(const ReplayResult& result, bool timing, std::ostream& out);
// The same as one JSON object.
nlohmann::json ReplayToJson(const ReplayResult& result, bool timing);

// One step for a person, and as JSON.
void PrintStep(const ReplayStep& step, std::ostream& out);
nlohmann::json StepToJson(const ReplayStep& step);

}  // namespace podfence
