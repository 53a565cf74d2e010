#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "agent/config/config.h"

namespace podfence {

// One thing that mode manage needs of a node.
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

// Whether Podfence can manage this node: everything that stands in the way, each with its remedy. Changes nothing;
// loads the kernel programs once to see which attach.
// - cgroup v2 with its controllers; partitions (Linux 6.7)
// - the kubelet's own CPU and memory managers, which must be off (policies none, None), and a state file of an
//   earlier policy, which the kubelet refuses (cm/cpumanager/state/state_checkpoint.go)
// - under the systemd driver the system bus
// - the runtime's NRI socket; other NRI plugins that are installed beside it
// - BTF and the kernel programs; capabilities; the state directory
std::vector<PreflightCheck> Preflight(const Config& config, const PreflightOptions& options);

// 0: nothing stands in the way; 1: something does.
int PreflightExitCode(const std::vector<PreflightCheck>& checks);

}  // namespace podfence
