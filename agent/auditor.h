#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "agent/enforcer/audit.h"
#include "agent/kubernetes/pod_cache.h"
#include "agent/witness.h"

namespace podfence {

// The witness of a node whose kubelet decides and fences: expects what the kubelet has decided, and changes nothing.
// Where the containers are is found anew at each look, since restarts change it.
class Auditor final : public Witness {
 public:
  Auditor(std::unique_ptr<Verifier> verifier, absl::StatusOr<WriteWatch> writes, AuditOptions options,
          FindingSink sink);

  // The node's pods, from the next look on.
  void SetPods(std::vector<PodRecordPtr> pods) { pods_ = std::move(pods); }
  // Asked whenever the node is judged: what could not be learnt about what is to be expected.
  void AskUnknown(std::function<std::vector<Unseen>()> unknown) { unknown_ = std::move(unknown); }

  // NotFound where it does not live, or its pod is of a QoS class that holds nothing of its own.
  absl::StatusOr<Cgroup> FindContainer(const NodeState& state, const std::string& uid,
                                       const std::string& container) override;

 private:
  absl::StatusOr<Sight> Look(const NodeState& state) override;
  bool IsTold(const FindingView& finding) const override;
  std::vector<Unseen> Unknown() const override;
  void FollowPool(const CpuSet& pool);

  AuditOptions options_;
  std::vector<PodRecordPtr> pods_;
  std::function<std::vector<Unseen>()> unknown_;
  CpuSet pool_;                                         // the node shared pool of the last look
  std::vector<std::pair<CpuSet, absl::Time>> earlier_;  // those before it, and until when containers may have them
  std::set<std::pair<std::string, std::string>> told_;  // cgroup and file of the last look's findings
};

}  // namespace podfence
