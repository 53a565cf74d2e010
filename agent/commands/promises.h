#pragma once

#include <span>
#include <string>
#include <vector>

#include "agent/server/snapshot.h"

namespace podfence {

// What Podfence promises, held against consecutive snapshots of one agent (at least two). Pure.
struct Promise {
  std::string pod;  // namespace/name; empty: the node
  std::string container;
  std::string what;  // "CPU time", "throttling", …
  std::string expected;
  std::string seen;
  bool kept = false;
};

// One line a promise, broken ones included:
// - every container runs, on exactly the CPUs decided (cpuset.cpus.effective);
// - an exclusive container gets at least 98% of its CPUs (median of the windows), is not throttled at itself or any
//   ancestor, and no other container, pause or host process ever ran on its CPUs; movable kernel threads less than
//   0.1% of the time measured;
// - what shares a pool or a quota gets no more than that, 2% allowed for the edges of the windows;
// - no fenced task ever ran outside its set.
// busy: the containers are known to want all CPUs they can get; without it CPU time is no promise, an idle container
// keeps it.
std::vector<Promise> JudgePromises(std::span<const Snapshot> snapshots, bool busy);

}  // namespace podfence
