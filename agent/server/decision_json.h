#pragma once

#include <nlohmann/json.hpp>

#include "agent/core/decision.h"

namespace podfence {

// A decision with its reasons: the body of GET /api/v1/explain and of `podfence plan --output json`.
//   {pod, uid, admitted, containers [{name, cpus, memory, cpu_isolation, memory_isolation}], cpus, memory}  admitted
//   {pod, uid, admitted, reason, message, reference_message, container, asked, nodes, remedy}               refused
// and in both steps [{container, hints, merged, preferred, admitted, notes}].
nlohmann::json DecisionToJson(const Pod& pod, const AdmitResult& result, const Trace& trace);

}  // namespace podfence
