#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "agent/core/cpu_set.h"

namespace podfence {

// What the kernel is expected to do with the tasks of one cgroup and of everything below it. Where fences nest, the
// nearest one above a task counts.
enum class FenceKind {
  kExclusive,  // a container with CPUs of its own: `cpus` are exclusive to it
  kShared,  // a container (or a nested `…-shared` cgroup) that runs in a pool: `cpus` is the pool; several may share
  kPause,   // a pod's sandbox
  kPods,    // a pod's own cgroup, or a parent of all pods: what runs below is a container, nothing more is expected
};
std::string_view FenceKindName(FenceKind kind);

struct ExpectedFence {
  std::string cgroup;      // path below the cgroup root, without a leading slash ("podfence/pod<uid>/<container>")
  uint64_t cgroup_id = 0;  // inode of that directory; 0: of what is there now
  FenceKind kind = FenceKind::kShared;
  CpuSet cpus;            // where its tasks may run; empty: anywhere, refused for the first two kinds; runs
                          // outside it are counted for those only, affinities beyond it are drift for all
  std::string pod;        // UID
  std::string container;  // name; empty for kPause and kPods
  friend bool operator==(const ExpectedFence&, const ExpectedFence&) = default;
};

// All fences of the node at one moment. A CPU that an exclusive fence names is owned by it; a task below any other
// cgroup is foreign there. Exclusive fences of one pod may overlap (the reference lets app containers reuse the CPUs of
// init containers): none of them is foreign to the other, and foreign time is charged to the first in the list.
struct Expectations {
  std::vector<ExpectedFence> fences;
  friend bool operator==(const Expectations&, const Expectations&) = default;
};

// InvalidArgument names the fence at fault: the same cgroup twice, an exclusive or shared fence without CPUs, a fence
// without its pod. A pool that overlaps exclusive CPUs, or a CPU that two pods own, is no error here: the verifier
// shows what happens, and tasks of the second are foreign.
absl::Status ValidateExpectations(const Expectations& expectations);

}  // namespace podfence
