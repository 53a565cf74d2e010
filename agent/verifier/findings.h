#pragma once

#include <cstdint>
#include <map>

#include "agent/verifier/expectations.h"
#include "agent/verifier/observation.h"
#include "bpf/podfence_bpf.h"

namespace podfence {

// Makes a finding of what a program reported. fences: what each slot stands, or lastly stood, for. Pure.
KernelFinding ToFinding(const podfence_event& event, const std::map<uint32_t, ExpectedFence>& fences);

}  // namespace podfence
