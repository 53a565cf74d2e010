#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "agent/config/config.h"
#include "agent/verifier/observation.h"

namespace podfence {

// One thing that mode manage, or audit, needs of a node.
struct PreflightCheck {
  enum class State { kOk, kWarning, kFailed };
  std::string name;
  State state = State::kOk;
  std::string found;   // what is there, for people
  std::string remedy;  // where it is not ok: what to do
};
std::string_view PreflightStateName(PreflightCheck::State state);  // ok, warning, failed

struct PreflightOptions {
  std::string root;                                             // of the host's files; for tests
  std::string kubelet_config = "/var/lib/kubelet/config.yaml";  // below root
};

// Whether Podfence can manage this node, or audit it where that is the mode: everything that stands in the way, each
// with its remedy. Changes nothing; loads the kernel programs once to see which attach.
// - cgroup v2 with its controllers
// - BTF and the kernel programs; capabilities
// - the kubelet's cgroups of pods, which must be at the top of the hierarchy (cgroupRoot); its quotas, which
//   should be as podfence.yaml has them (cpuCFSQuota, cpuCFSQuotaPeriod)
// To manage it:
// - partitions (Linux 6.7)
// - policies and reservations that this machine can have; reservations should be the kubelet's
// - the kubelet's own CPU and memory managers, which must be off (policies none, None), by its configuration and by the
//   state files that it keeps; on what an earlier policy left it does not start
//   (cm/cpumanager/state/state_checkpoint.go)
// - under the systemd driver the system bus
// - the runtime's NRI socket; other NRI plugins that are installed beside it, or connected to it
// - the state directory
// To audit it:
// - the kubelet's own CPU manager, which must be on, and its state, which must be readable
std::vector<PreflightCheck> Preflight(const Config& config, const PreflightOptions& options);

// What the kernel programs say, as they were tried. Fences hold all the same.
PreflightCheck CheckProbes(const std::vector<Probe>& probes);

// 0: nothing stands in the way; 1: something does.
int PreflightExitCode(const std::vector<PreflightCheck>& checks);

}  // namespace podfence
