#pragma once

#include <string>

#include "agent/server/snapshot.h"

namespace podfence {

// A finding as one line of logfmt: finding kind=drift pod=default/db container=main cgroup=… file=… cpu=… expected="…"
// seen="…" class=… by_pid=… by_comm=… by_cgroup=… duration_seconds=… repaired=true msg="…". What is empty is left out.
// A value with anything but plain characters is quoted, with C's escapes: whatever a task calls itself, the line stays
// one, and its keys are ours.
std::string FindingLine(const FindingView& finding);

}  // namespace podfence
