#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "agent/allocator/allocator.h"
#include "agent/config/config.h"
#include "agent/enforcer/finding.h"
#include "agent/server/snapshot.h"

namespace podfence {

// The answer of one check of this node. What could not be looked at is never clean.
struct Verification {
  struct NotRunning {
    std::string pod;
    std::string container;
  };
  size_t containers = 0;              // that run, and were looked at
  std::vector<FindingView> findings;  // since, last_seen: of this check
  std::vector<Unseen> unknown;
  std::vector<NotRunning> not_running;  // decided, but nothing of it lives

  // clean, findings or unknown: a finding is one whatever else is not known.
  std::string_view Result() const;
  int ExitCode() const;  // 0, 1, 3
};

// Called once, when the probes are attached: what only attaching needs can be given up. An error ends the watching.
using AfterAttaching = std::function<absl::Status()>;

// Holds the checkpoint of the state directory, in mode audit the kubelet's, against what the kernel says and, for as
// long as the window, does; 0: only against what it says. Needs no agent, goes on beside one, and changes nothing.
Verification VerifyNode(const Config& config, const Allocator& allocator, absl::Duration window,
                        const AfterAttaching& after_attaching = {});

}  // namespace podfence
