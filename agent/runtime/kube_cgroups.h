#pragma once

// How the kubelet and container runtimes name the cgroups of pods. Pure.

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "agent/core/pod.h"

namespace podfence {

// A pod's cgroup in the hierarchy, as its parts.
struct PodCgroup {
  std::string top;         // the kubelet's cgroup of all pods: "kubepods", "kubepods.slice"
  std::string class_path;  // of its QoS class below top: "burstable"; empty: Guaranteed, directly below top
  std::string path;        // the pod's own, below top
  bool systemd = false;    // made by systemd (the systemd driver), not by writing (cgroupfs)
};

// Reads the cgroup parent that the kubelet gives the runtime (cm/cgroup_manager_linux.go ToCgroupfs, ToSystemd):
// "/kubepods/burstable/pod<uid>", or a slice, by its path (containerd hands that on,
// "/kubepods.slice/kubepods-pod<uid>.slice") or its name alone ("kubepods-pod<uid>.slice"). InvalidArgument where it is
// none of these, or where the kubelet's cgroups are not at the top of the hierarchy (cgroupRoot).
absl::StatusOr<PodCgroup> ParsePodCgroup(std::string_view cgroup_parent);

// The cgroups of the QoS classes burstable and besteffort below `top` (cm/qos_container_manager_linux.go).
std::vector<std::string> QosClassPaths(bool systemd);

// A pod's own cgroup below `top` (cm/pod_container_manager_linux.go GetPodContainerName; under systemd dashes nest
// slices, so those of the UID become underscores).
std::string PodCgroupPath(std::string_view uid, QosClass qos, bool systemd);

// Whether a cgroup in a pod's is that of the container with this id: "<id>" and "cri-containerd-<id>.scope" of
// containerd, "crio-<id>" and "crio-<id>.scope" of CRI-O, whose monitor "crio-conmon-<id>.scope" is not it.
bool IsContainerCgroup(std::string_view name, std::string_view id);

// Where a runtime makes the cgroup that it calls `cgroups_path` (OCI linux.cgroupsPath), below the root of the
// hierarchy: "/kubepods/pod<uid>/<id>", or "<slice>:<prefix>:<name>" (opencontainers/cgroups systemd/common.go
// ExpandSlice, unit name "<prefix>-<name>.scope"). InvalidArgument where it is neither.
absl::StatusOr<std::string> CgroupPathOf(std::string_view cgroups_path);

// The cgroupsPath for the same container in a group of its pod; `group` as QuotaGroupOf names it, below pod.top.
std::string CgroupsPathInGroup(std::string_view cgroups_path, const PodCgroup& pod, std::string_view group);

}  // namespace podfence
