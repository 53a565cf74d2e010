#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "agent/enforcer/places.h"
#include "agent/nri/values.h"
#include "agent/runtime/kube_cgroups.h"
#include "agent/runtime/runtime.h"

namespace podfence {

// What a container runtime has told through NRI, by pod UID and container name: a restarted container has a new id, and
// a new sandbox the same UID. Events of an earlier incarnation, which may come late, change nothing of the present one.
class RuntimeBook : public Runtime {
 public:
  struct Container {
    NriContainer nri;
    std::string path;  // of its cgroup, below the one of all pods
    ContainerPhase phase = ContainerPhase::kWaiting;
    int starts = 0;
  };
  struct Pod {
    NriPod nri;  // the present sandbox
    PodCgroup cgroup;
    std::string pause_path;
    std::map<std::string, Container> containers;
    bool sandbox = false;  // it has one now
    // Only such a pod can have exclusive CPUs.
    bool guaranteed() const { return cgroup.class_path.empty(); }
    bool lives() const;
  };

  RuntimeBook() = default;
  // By UID.
  explicit RuntimeBook(std::map<std::string, Pod, std::less<>> pods) : pods_(std::move(pods)) {}

  // Everything that the runtime has, in the place of all before. Runtimes tell of sandboxes that have ended as of those
  // that run, until the kubelet removes them; one runs where a container of it lives, or anything in its cgroup does.
  // populated: whether that is so at a path of the hierarchy. complain: what cannot be told where it is.
  void Replace(
      const std::vector<NriPod>& pods, const std::vector<NriContainer>& containers,
      const std::function<bool(const std::string& path)>& populated,
      const std::function<void(const NriPod& pod, const std::string& what, const absl::Status& status)>& complain);
  // A sandbox is run, or was found. InvalidArgument where its cgroup cannot be told.
  absl::Status PutSandbox(const NriPod& pod);
  // The sandbox ends, and with it what runs in it: its removal may come much later.
  void StopSandbox(const NriPod& pod);
  void RemoveSandbox(const NriPod& pod);

  // A container is made, or was found; cgroups_path: where its cgroup is, if not where the container says. Its pod is
  // known. InvalidArgument where its cgroup cannot be told.
  absl::Status PutContainer(const NriPod& pod, const NriContainer& container, const std::string& cgroups_path);
  void Started(const NriPod& pod, const NriContainer& container);
  // Whether it was the present one.
  bool Stopped(const NriPod& pod, const NriContainer& container);
  void RemoveContainer(const NriPod& pod, const NriContainer& container);

  const std::map<std::string, Pod, std::less<>>& pods() const { return pods_; }
  const Pod* Find(std::string_view uid) const;
  const Container* Find(std::string_view uid, std::string_view container) const;
  // Where the pods' cgroups are. is_guest: no part of the pod's spec (an ephemeral container); what was decided later
  // than the container was made can say so too.
  Places GetPlaces(const std::function<bool(const std::string& uid, const std::string& container)>& is_guest) const;

  std::vector<ContainerRun> Containers() const override;

 private:
  Container* Present(const NriPod& pod, const NriContainer& container);
  void Forget(const std::string& uid);

  std::map<std::string, Pod, std::less<>> pods_;  // by UID
};

}  // namespace podfence
