#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "agent/verifier/expectations.h"
#include "agent/verifier/observation.h"
#include "bpf/podfence_bpf.h"

namespace podfence {

// Makes a finding of what a program reported. fences: what each slot stands, or lastly stood, for. destination: of a
// task that was moved, the path of the cgroup it came to; empty: not known. Pure.
KernelFinding ToFinding(const podfence_event& event, const std::map<uint32_t, ExpectedFence>& fences,
                        const std::string& destination = "");

}  // namespace podfence
