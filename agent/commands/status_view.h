#pragma once

#include <string>
#include <string_view>

#include "agent/commands/table.h"
#include "agent/server/snapshot.h"

namespace podfence {

// What an agent decided and saw, for people, from its Snapshots: `podfence status` and the agent's own report. Each
// function renders one section, ready to print, empty where it has nothing to say. before is an earlier snapshot of the
// same agent, for CPU time as a rate; without it (null) no rate is shown.

// Version, mode, age, pods, and in red whatever an operator must look at: findings, violations, failing collectors.
std::string RenderHeadline(const Snapshot& now, const Terminal& terminal);
// Each container with its CPUs, its NUMA nodes, CPUs' worth of time used against its promise, time throttled at itself
// and every ancestor, time that others ran on its exclusive CPUs; below it whatever else there is to say of it.
std::string RenderContainers(const Snapshot& now, const Snapshot* before, const Terminal& terminal);
// CFS bandwidth of every container's cgroup and of every ancestor, each once, as a tree; beyond 40 cgroups only those
// that have a quota or were throttled.
std::string RenderThrottling(const Snapshot& now, const Terminal& terminal);
std::string RenderRejected(const Snapshot& now, const Terminal& terminal);
std::string RenderFindings(const Snapshot& now, const Terminal& terminal);
// What the last look could not say, as `podfence verify` does.
std::string RenderUnknown(const Snapshot& now, const Terminal& terminal);
std::string RenderProbes(const Snapshot& now, const Terminal& terminal);
// `podfence status --probes`: each probe with its hook, its state, what it finds, why it does not run and what finds
// the same instead.
std::string RenderProbeTable(const Snapshot& now, const Terminal& terminal);
// up, down (refused here), off (turned off, or not needed beside a better one).
std::string_view ProbeState(const ProbeView& probe);
// The three resource_manager_* counters.
std::string RenderCounters(const Snapshot& now, const Terminal& terminal);

// All of it under headings, the node map first.
std::string RenderStatus(const Snapshot& now, const Snapshot* before, const Terminal& terminal);

}  // namespace podfence
