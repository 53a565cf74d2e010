#pragma once

// What the enforcer says in the words of the verifier and of those who read findings, for all who use both rooms.

#include <string>
#include <string_view>

#include "agent/allocator/allocator.h"
#include "agent/config/config.h"
#include "agent/core/node_state.h"
#include "agent/enforcer/audit.h"
#include "agent/enforcer/enforcer.h"
#include "agent/verifier/expectations.h"

namespace podfence {

// cpuCFSQuotaPeriod, in microseconds.
uint64_t QuotaPeriodUs(const Config& config);

// The enforcer's kinds in the words that metrics and alerts use: few, and each something to act on.
std::string_view FindingWord(FindingKind kind);
// namespace/name; the UID where no decision names the pod.
std::string PodName(const NodeState& state, const std::string& uid);
// What is expected of the tasks in a cgroup that is held to a fence.
ExpectedFence ExpectationOf(const LiveFence& live, const std::string& cgroup_root);
AuditOptions AuditOptionsOf(const Config& config);
EnforcerOptions EnforcerOptionsOf(const Config& config, const Allocator& allocator);

}  // namespace podfence
