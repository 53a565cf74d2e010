#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "agent/commands/table.h"
#include "agent/verification.h"

namespace podfence {

// For people: what was found, what does not run and what is not known, each as a table where there is any; on the last
// line the result.
std::string RenderVerification(const Verification& verification, const Terminal& terminal);
// For scripts: {"result", "containers", "findings": [as in /api/v1/findings], "unknown": […], "not_running": […]}.
// Every key is always there.
nlohmann::json VerificationToJson(const Verification& verification);

}  // namespace podfence
