#include "agent/runtime_book.h"

#include <algorithm>
#include <utility>

#include "agent/core/text.h"

namespace podfence {
namespace {

// The path below the cgroup of all pods.
absl::StatusOr<std::string> PathBelow(const PodCgroup& pod, std::string_view cgroups_path) {
  absl::StatusOr<std::string> path = CgroupPathOf(cgroups_path);
  if (!path.ok()) return path;
  const std::string prefix = Cat(pod.top, "/", pod.path, "/");
  if (!path->starts_with(prefix)) {
    return absl::InvalidArgumentError(Cat("cgroup \"", cgroups_path, "\" is not below its pod's, ", prefix));
  }
  return path->substr(pod.top.size() + 1);
}

bool IsLive(ContainerPhase phase) { return phase != ContainerPhase::kTerminated; }

}  // namespace

bool RuntimeBook::Pod::lives() const {
  return sandbox || std::ranges::any_of(containers, [](const auto& entry) { return IsLive(entry.second.phase); });
}

absl::Status RuntimeBook::PutSandbox(const NriPod& pod) {
  absl::StatusOr<PodCgroup> cgroup = ParsePodCgroup(pod.cgroup_parent);
  if (!cgroup.ok()) return cgroup.status();
  // Not every runtime says it; the sandbox is then fenced as a cgroup that no decision names.
  absl::StatusOr<std::string> pause = std::string();
  if (!pod.cgroups_path.empty()) pause = PathBelow(*cgroup, pod.cgroups_path);
  if (!pause.ok()) return pause.status();
  Pod& known = pods_[pod.uid];
  known.nri = pod;
  known.cgroup = *std::move(cgroup);
  known.pause_path = *std::move(pause);
  known.sandbox = true;
  return absl::OkStatus();
}

void RuntimeBook::Replace(
    const std::vector<NriPod>& pods, const std::vector<NriContainer>& containers,
    const std::function<bool(const std::string& path)>& populated,
    const std::function<void(const NriPod& pod, const std::string& what, const absl::Status& status)>& complain) {
  pods_.clear();
  const auto runs = [&](const NriPod& pod) {
    if (std::ranges::any_of(containers, [&](const NriContainer& each) {
          return each.pod_id == pod.id && each.state != NriContainerState::kStopped;
        })) {
      return true;
    }
    const absl::StatusOr<std::string> path =
        CgroupPathOf(pod.cgroups_path.empty() ? pod.cgroup_parent : pod.cgroups_path);
    return path.ok() && populated(*path);
  };
  for (const NriPod& pod : pods) {
    if (pod.uid.empty()) continue;  // not Kubernetes'
    const bool running = runs(pod);
    if (!running && pods_.contains(pod.uid)) continue;
    complain(pod, "sandbox", PutSandbox(pod));
    if (!running) StopSandbox(pod);
  }
  for (const NriContainer& container : containers) {
    const auto pod = std::ranges::find(pods, container.pod_id, &NriPod::id);
    if (pod == pods.end()) continue;
    const Pod* known = Find(pod->uid);
    if (known == nullptr || known->nri.id != pod->id) continue;
    const Container* other = Find(pod->uid, container.name);
    if (other != nullptr && IsLive(other->phase) && container.state == NriContainerState::kStopped) continue;
    complain(*pod, "container " + container.name, PutContainer(*pod, container, ""));
  }
}

void RuntimeBook::StopSandbox(const NriPod& pod) {
  const auto found = pods_.find(pod.uid);
  if (found == pods_.end() || found->second.nri.id != pod.id) return;
  found->second.sandbox = false;
  found->second.pause_path.clear();
}

void RuntimeBook::RemoveSandbox(const NriPod& pod) {
  const auto found = pods_.find(pod.uid);
  if (found == pods_.end() || found->second.nri.id != pod.id) return;
  StopSandbox(pod);
  // Its containers went with it.
  std::erase_if(found->second.containers, [&](const auto& entry) { return entry.second.nri.pod_id == pod.id; });
  Forget(pod.uid);
}

void RuntimeBook::Forget(const std::string& uid) {
  const auto found = pods_.find(uid);
  if (found != pods_.end() && !found->second.sandbox && found->second.containers.empty()) pods_.erase(found);
}

absl::Status RuntimeBook::PutContainer(const NriPod& pod, const NriContainer& container,
                                       const std::string& cgroups_path) {
  const auto found = pods_.find(pod.uid);
  if (found == pods_.end()) {
    return absl::NotFoundError(
        Cat("container ", container.name, ": the runtime has told of no sandbox of pod ", pod.uid));
  }
  const std::string& where = cgroups_path.empty() ? container.cgroups_path : cgroups_path;
  absl::StatusOr<std::string> path = PathBelow(found->second.cgroup, where);
  if (!path.ok()) return path.status();
  Container& known = found->second.containers[container.name];
  const int starts = known.starts;
  known = {.nri = container, .path = *std::move(path), .phase = ContainerPhase::kWaiting, .starts = starts};
  if (container.state == NriContainerState::kRunning || container.state == NriContainerState::kPaused) {
    known.phase = ContainerPhase::kRunning;
    ++known.starts;
  }
  if (container.state == NriContainerState::kStopped) known.phase = ContainerPhase::kTerminated;
  return absl::OkStatus();
}

RuntimeBook::Container* RuntimeBook::Present(const NriPod& pod, const NriContainer& container) {
  const auto found = pods_.find(pod.uid);
  if (found == pods_.end()) return nullptr;
  const auto known = found->second.containers.find(container.name);
  if (known == found->second.containers.end() || known->second.nri.id != container.id) return nullptr;
  return &known->second;
}

void RuntimeBook::Started(const NriPod& pod, const NriContainer& container) {
  Container* known = Present(pod, container);
  if (known == nullptr) return;
  known->nri.pid = container.pid;
  known->nri.started_at = container.started_at;
  known->phase = ContainerPhase::kRunning;
  ++known->starts;
}

bool RuntimeBook::Stopped(const NriPod& pod, const NriContainer& container) {
  Container* known = Present(pod, container);
  if (known == nullptr) return false;
  known->phase = ContainerPhase::kTerminated;
  known->nri.pid = 0;
  return true;
}

void RuntimeBook::RemoveContainer(const NriPod& pod, const NriContainer& container) {
  if (Present(pod, container) == nullptr) return;
  pods_.find(pod.uid)->second.containers.erase(container.name);
  Forget(pod.uid);
}

const RuntimeBook::Pod* RuntimeBook::Find(std::string_view uid) const {
  const auto found = pods_.find(uid);
  return found == pods_.end() ? nullptr : &found->second;
}

const RuntimeBook::Container* RuntimeBook::Find(std::string_view uid, std::string_view container) const {
  const Pod* pod = Find(uid);
  if (pod == nullptr) return nullptr;
  const auto found = pod->containers.find(std::string(container));
  return found == pod->containers.end() ? nullptr : &found->second;
}

Places RuntimeBook::GetPlaces(
    const std::function<bool(const std::string& uid, const std::string& container)>& is_guest) const {
  Places places;
  for (const auto& [uid, pod] : pods_) {
    places.top = pod.cgroup.top;
    places.classes = QosClassPaths(pod.cgroup.systemd);
    if (!pod.guaranteed()) continue;
    PodPlace& place = places.pods[uid];
    place.path = pod.cgroup.path;
    place.pause = pod.pause_path;
    for (const auto& [name, container] : pod.containers) {
      if (!IsLive(container.phase)) continue;
      (is_guest(uid, name) ? place.guests : place.containers)[name] = container.path;
    }
  }
  return places;
}

std::vector<ContainerRun> RuntimeBook::Containers() const {
  std::vector<ContainerRun> runs;
  for (const auto& [uid, pod] : pods_) {
    for (const auto& [name, container] : pod.containers) {
      ContainerRun& run = runs.emplace_back();
      run.uid = uid;
      run.name = name;
      run.phase = container.phase;
      run.pid = static_cast<pid_t>(container.nri.pid);
      run.restarts = std::max(0, container.starts - 1);
      if (container.nri.started_at > 0) run.started = absl::FromUnixNanos(container.nri.started_at);
    }
  }
  return runs;
}

}  // namespace podfence
