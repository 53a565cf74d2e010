#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "agent/allocator/allocator.h"
#include "agent/config/config.h"
#include "agent/core/node_state.h"
#include "agent/enforcer/inspect.h"
#include "agent/verifier/expectations.h"

namespace podfence {

// What was decided, and what of it lives, at one moment.
struct Look {
  NodeState state;
  Inspection inspection;
  std::vector<std::string> misfits = {};  // what was decided and does not fit this machine
  Expectations expectations = {};
};

// Where one check of the node learns what was decided. Changes nothing.
class Looks {
 public:
  virtual ~Looks() = default;
  // None: `unknown` says why nothing can be said.
  virtual std::optional<Look> Take(std::vector<Unseen>& unknown) = 0;
  // How long what was decided just now may take until the kernel has it: a finding that is gone by then is none.
  virtual absl::Duration Settles() const = 0;
};

// The checkpoint of the state directory, or, in mode audit, the kubelet's and its pods. Both arguments outlive it.
std::unique_ptr<Looks> MakeLooks(const Config& config, const Allocator& allocator);

}  // namespace podfence
