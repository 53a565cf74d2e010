#pragma once

#include "absl/status/status.h"

namespace podfence {

// What this process may do after its probes are attached. Attaching needs CAP_BPF, CAP_PERFMON and CAP_SYS_ADMIN;
// reading maps, running iterators and settling CPUs through descriptors that are open does not (measured on 6.1
// and 6.12 with kernel.unprivileged_bpf_disabled = 2, tests/kernel/agent_privileges_test.cpp).
//
// Capabilities belong to threads, and threads inherit them: call these before the first other thread is started. The
// bounding set stays, so that what is executed as root has what it had before: containers of mode local run as they
// did, and only this process has less.

// What enforcement needs, and no more. FailedPrecondition names the kernel's refusal; nothing was dropped then.
absl::Status KeepEnforcing();
// For those who only look: nothing is left.
absl::Status KeepNothing();

}  // namespace podfence
