#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "agent/agent.h"
#include "agent/handover.h"
#include "agent/kubernetes/node_reporter.h"
#include "agent/kubernetes/pod_source.h"
#include "agent/mode.h"
#include "agent/nri/plugin.h"
#include "agent/runtime_book.h"

namespace podfence {

// Mode manage: pods come from the kubelet or the API server, a container runtime runs them and asks through NRI. What
// keeps the promises (design "Manage mode"):
// - A pod is admitted when its sandbox is run, and refused there; a Guaranteed pod that is not known yet is refused
//   until it is, never guessed.
// - A container is created with its CPUs, and checked again before it starts: it does not while one of its CPUs is
//   still shared.
// - CPUs are free when the pod is gone and nothing of it lives, not when a container stops.
// - Every answer comes from memory.
class ManageMode final : public Mode {
 public:
  // former: what another agent has handed over.
  ManageMode(Agent& agent, std::optional<Handover> former) : agent_(agent), former_(std::move(former)) {}

  std::string_view name() const override { return "manage"; }
  absl::Status Start() override;
  const Runtime& runtime() const override { return book_; }
  void Retry() override { Converge(); }
  std::vector<FindingView> Standing() const override;
  void Complete(Snapshot& snapshot) const override;

 private:
  absl::Status StartReporter(const std::string& node_name);
  absl::Status StartNri();
  absl::Status ListenForSuccessor();
  NriHandlers Handlers();

  absl::StatusOr<std::vector<NriContainerUpdate>> Synchronize(const std::vector<NriPod>& pods,
                                                              const std::vector<NriContainer>& containers);
  absl::Status RunSandbox(const NriPod& pod);
  absl::Status AdmitSandbox(const NriPod& pod);
  // Tells the API server, once, that the pod was refused, and answers so.
  absl::Status Reject(const std::string& uid, RefusedPod& refused);
  // Whether anything of the pod has run yet, or nobody knows.
  bool HasRun(const std::string& uid) const;
  // Why there can be no decision on a Guaranteed pod now, and asks for what is lacking.
  absl::Status NotKnown(const NriPod& pod);
  absl::StatusOr<NriCreateReply> CreateContainer(const NriPod& pod, const NriContainer& container);
  absl::Status ValidateAdjustment(const NriValidation& validation);
  absl::Status StartContainer(const NriPod& pod, const NriContainer& container);
  absl::Status MayStart(const NriPod& pod, const NriContainer& container);
  absl::StatusOr<std::vector<NriContainerUpdate>> UpdateContainer(const NriPod& pod, const NriContainer& container,
                                                                  const NriResources& wanted);
  absl::Status ResizeSandbox(const NriPod& pod, const std::optional<NriResources>& wanted);
  void Stopped(const NriPod& pod, const NriContainer& container);

  // Admits what runs but was never decided on, releases what is gone.
  void Converge();
  // The same without fencing it; whether something was decided that is yet to be fenced.
  bool Settle();
  // Running Guaranteed pods that hold nothing yet, the oldest first.
  std::vector<PodRecordPtr> Undecided() const;
  bool AdoptRunning();
  // Takes up what running containers carry along, where the checkpoint has been lost.
  bool RestoreCarried();
  void ReleaseGone();
  // Whether a pod that nobody has told of may still come back: for a while after a boot.
  bool MayComeBack(const std::string& uid);
  // The fences of all that runs, written and read back.
  absl::Status Enforce();
  void TellPlaces();
  Places PlacesNow() const;
  bool IsGuest(const std::string& uid, const std::string& container) const;
  // Whether the pod has decisions that its containers are held to.
  bool IsDecided(const std::string& uid) const;
  bool HasOwnCpus(const std::string& uid) const;

  // Containers that live are expected.
  void ExpectLiving();

  Agent& agent_;
  std::optional<Handover> former_;  // until Start
  RuntimeBook book_;
  std::optional<Places> places_kept_;  // as the places file has them
  std::unique_ptr<PodSource> source_;
  std::unique_ptr<NodeReporter> reporter_;  // null: no API server to tell
  std::unique_ptr<NriPlugin> nri_;
  std::unique_ptr<HandoverServer> handover_;
  std::set<std::string, std::less<>> awaited_;  // UIDs: decided on before a reboot, and nobody has told of them since
  absl::Time await_until_;
  bool synchronized_ = false;  // the runtime has told once what lives
};

}  // namespace podfence
