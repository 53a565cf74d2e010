#include "agent/kube_places.h"

#include <algorithm>
#include <filesystem>
#include <string_view>
#include <system_error>

#include "absl/status/statusor.h"
#include "agent/cgroup/cgroup.h"
#include "agent/core/text.h"
#include "agent/runtime/kube_cgroups.h"

namespace podfence {
namespace {

constexpr std::string_view kSystemdTop = "kubepods.slice";
constexpr std::string_view kTop = "kubepods";

// "containerd://ID"; empty: none was made.
std::string_view IdOf(const ContainerStatus& status) {
  constexpr std::string_view kScheme = "://";
  const std::string_view text = status.id;
  const size_t scheme = text.find(kScheme);
  return scheme == std::string_view::npos ? std::string_view() : text.substr(scheme + kScheme.size());
}

}  // namespace

std::string FindKubePods(const std::string& cgroup_root) {
  std::error_code error;
  return std::string(std::filesystem::exists(Cat(cgroup_root, "/", kSystemdTop), error) ? kSystemdTop : kTop);
}

std::set<std::string> ResizingPods(const std::vector<PodRecordPtr>& pods) {
  std::set<std::string> uids;
  for (const PodRecordPtr& record : pods) {
    if (record->resizing) uids.insert(record->uid);
  }
  return uids;
}

Places FindPlaces(const std::string& cgroup_root, const std::vector<PodRecordPtr>& pods, std::vector<Unseen>& unseen) {
  Places places;
  places.top = FindKubePods(cgroup_root);
  const bool systemd = places.top == kSystemdTop;
  places.classes = QosClassPaths(systemd);
  for (const PodRecordPtr& record : pods) {
    if (record->pod == nullptr) {
      unseen.push_back({record->FullName(), std::string(record->error.message())});
      continue;
    }
    PodPlace place;
    place.path = PodCgroupPath(record->uid, record->pod->qos, systemd);
    const std::string path = Cat(cgroup_root, "/", places.top, "/", place.path);
    const absl::StatusOr<Cgroup> cgroup = Cgroup::Open(path);
    const absl::StatusOr<std::vector<std::string>> children = cgroup.ok() ? cgroup->Children() : cgroup.status();
    if (absl::IsNotFound(children.status())) continue;  // not yet, or not any more
    if (!children.ok()) {
      unseen.push_back({path, std::string(children.status().message())});
      continue;
    }
    for (const ContainerStatus& status : record->statuses) {
      const std::string_view id = IdOf(status);
      if (id.empty() || record->pod->FindContainer(status.name) == nullptr) continue;
      const auto child =
          std::ranges::find_if(*children, [&](const std::string& name) { return IsContainerCgroup(name, id); });
      if (child != children->end()) place.containers[status.name] = Cat(place.path, "/", *child);
    }
    places.pods.emplace(record->uid, std::move(place));
  }
  return places;
}

}  // namespace podfence
