#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "agent/agent.h"
#include "agent/audit_state.h"
#include "agent/auditor.h"
#include "agent/enforcer/finding.h"
#include "agent/kubelet_state/kubelet_state.h"
#include "agent/kubelet_state/state_watch.h"
#include "agent/kubernetes/pod_source.h"
#include "agent/mode.h"
#include "agent/runtime/runtime.h"

namespace podfence {

// Mode audit: the kubelet decides and fences. Its checkpoints and its pods are put together to the state that the
// auditor holds the kernel to, anew whenever one of them changes. Nothing on the node is written.
class AuditMode final : public Mode, private Runtime {
 public:
  AuditMode(Agent& agent, Auditor& auditor) : agent_(agent), auditor_(auditor) {}

  std::string_view name() const override { return "audit"; }
  absl::Status Start() override;
  const Runtime& runtime() const override { return *this; }
  void Retry() override { ReadState(); }
  void Complete(Snapshot& snapshot) const override;

 private:
  // What the kubelet has told of its containers.
  std::vector<ContainerRun> Containers() const override;
  void ReadState();
  void Converge();
  std::vector<Unseen> Unknown() const;

  Agent& agent_;
  Auditor& auditor_;
  std::unique_ptr<StateWatch> watch_;
  std::unique_ptr<PodSource> source_;
  KubeletState kubelet_;  // as last read whole
  bool read_ = false;     // once at least
  absl::Status reading_;  // the last time
  TakenBack taken_back_;
  std::vector<PodRecordPtr> pods_;
};

}  // namespace podfence
