#include "agent/runtime/kube_cgroups.h"

#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "agent/core/text.h"

namespace podfence {
namespace {

constexpr std::string_view kSlice = ".slice";
constexpr std::string_view kScope = ".scope";
constexpr std::string_view kTop = "kubepods";

// "a-b-c.slice" stands in a.slice/a-b.slice/a-b-c.slice (systemd.slice(5)).
absl::StatusOr<std::string> ExpandSlice(std::string_view slice) {
  if (!slice.ends_with(kSlice) || slice.size() == kSlice.size() || slice.find('/') != std::string_view::npos) {
    return absl::InvalidArgumentError(Cat("\"", slice, "\" is no systemd slice (NAME.slice)"));
  }
  const std::string_view stem = slice.substr(0, slice.size() - kSlice.size());
  std::string path;
  for (size_t dash = stem.find('-');; dash = stem.find('-', dash + 1)) {
    const std::string_view part = stem.substr(0, dash);
    if (part.empty() || part.ends_with('-')) {
      return absl::InvalidArgumentError(Cat("\"", slice, "\" is no systemd slice: a part of its name is empty"));
    }
    path += Cat(path.empty() ? "" : "/", part, kSlice);
    if (dash == std::string_view::npos) return path;
  }
}

// An absolute path without empty or dotted components, its leading slash cut.
absl::StatusOr<std::string> PlainPath(std::string_view path) {
  if (!path.starts_with('/')) return absl::InvalidArgumentError(Cat("cgroup path \"", path, "\" is not absolute"));
  for (absl::string_view part : absl::StrSplit(ToAbsl(path.substr(1)), '/')) {
    if (part.empty() || part == "." || part == "..") {
      return absl::InvalidArgumentError(Cat("cgroup path \"", path, "\" has an empty or dotted component"));
    }
  }
  return std::string(path.substr(1));
}

// A slice as systemd names it, or as the path of its cgroup, where each slice stands in the one that it belongs in.
absl::StatusOr<std::string> SlicePath(std::string_view slice) {
  if (!slice.starts_with('/')) return ExpandSlice(slice);
  absl::StatusOr<std::string> path = ExpandSlice(slice.substr(slice.rfind('/') + 1));
  if (path.ok() && *path != slice.substr(1)) {
    return absl::InvalidArgumentError(Cat("\"", slice, "\" is not where systemd has that slice, /", *path));
  }
  return path;
}

}  // namespace

absl::StatusOr<PodCgroup> ParsePodCgroup(std::string_view cgroup_parent) {
  PodCgroup pod;
  pod.systemd = cgroup_parent.ends_with(kSlice);
  const absl::StatusOr<std::string> path = pod.systemd ? SlicePath(cgroup_parent) : PlainPath(cgroup_parent);
  if (!path.ok()) return path.status();
  const std::vector<std::string> parts = absl::StrSplit(*path, '/');
  if (parts[0] != Cat(kTop, pod.systemd ? kSlice : "")) {
    return absl::InvalidArgumentError(Cat("cgroup \"", cgroup_parent, "\": the kubelet's cgroups are not below ", kTop,
                                          " at the top of the hierarchy (its cgroupRoot); that is not supported"));
  }
  if (parts.size() < 2 || parts.size() > 3) {
    return absl::InvalidArgumentError(Cat("cgroup \"", cgroup_parent, "\" is not a pod's"));
  }
  pod.top = parts[0];
  if (parts.size() == 3) pod.class_path = parts[1];
  pod.path = path->substr(pod.top.size() + 1);
  return pod;
}

std::vector<std::string> QosClassPaths(bool systemd) {
  if (systemd) return {"kubepods-burstable.slice", "kubepods-besteffort.slice"};
  return {"burstable", "besteffort"};
}

std::string PodCgroupPath(std::string_view uid, QosClass qos, bool systemd) {
  const std::string_view name = qos == QosClass::kBurstable    ? "burstable"
                                : qos == QosClass::kBestEffort ? "besteffort"
                                                               : "";
  if (!systemd) return Cat(name, name.empty() ? "" : "/", "pod", uid);
  const std::string slice = Cat(kTop, name.empty() ? "" : "-", name);
  const std::string own = absl::StrReplaceAll(ToAbsl(uid), {{"-", "_"}});
  return Cat(name.empty() ? "" : Cat(slice, kSlice, "/"), slice, "-pod", own, kSlice);
}

bool IsContainerCgroup(std::string_view name, std::string_view id) {
  if (name.ends_with(kScope)) name.remove_suffix(kScope.size());
  if (!name.ends_with(id)) return false;
  name.remove_suffix(id.size());
  return name.empty() || (name.ends_with('-') && name.find("conmon") == std::string_view::npos);
}

absl::StatusOr<std::string> CgroupPathOf(std::string_view cgroups_path) {
  const std::vector<std::string> parts = absl::StrSplit(ToAbsl(cgroups_path), ':');
  if (parts.size() == 1) return PlainPath(cgroups_path);
  if (parts.size() != 3 || parts[1].empty() || parts[2].empty() || parts[1].find('/') != std::string::npos ||
      parts[2].find('/') != std::string::npos) {
    return absl::InvalidArgumentError(Cat("cgroups path \"", cgroups_path, "\" is not SLICE:PREFIX:NAME"));
  }
  const absl::StatusOr<std::string> slice = ExpandSlice(parts[0]);
  if (!slice.ok()) return slice.status();
  return Cat(*slice, "/", parts[1], "-", parts[2], kScope);
}

std::string CgroupsPathInGroup(std::string_view cgroups_path, const PodCgroup& pod, std::string_view group) {
  if (!pod.systemd) return Cat("/", pod.top, "/", group, cgroups_path.substr(cgroups_path.rfind('/')));
  return Cat(group.substr(group.rfind('/') + 1), cgroups_path.substr(cgroups_path.find(':')));
}

}  // namespace podfence
