#include "agent/runtime_book_json.h"

#include <utility>

#include "agent/core/text.h"

namespace podfence {
namespace {

using Json = nlohmann::json;

Json ToJson(const RuntimeBook::Container& container) {
  const NriContainer& nri = container.nri;
  return {{"id", nri.id},
          {"sandbox", nri.pod_id},
          {"cgroups_path", nri.cgroups_path},
          {"pid", nri.pid},
          {"started_at", nri.started_at},
          {"path", container.path},
          {"phase", static_cast<int>(container.phase)},
          {"starts", container.starts}};
}

RuntimeBook::Container ContainerFromJson(const std::string& name, const Json& json) {
  const int phase = json.at("phase").get<int>();
  if (phase < 0 || phase > static_cast<int>(ContainerPhase::kTerminated)) {
    throw Json::other_error::create(501, Cat("container ", name, ": no phase ", phase), &json);
  }
  RuntimeBook::Container container{.nri = {},
                                   .path = json.at("path").get<std::string>(),
                                   .phase = static_cast<ContainerPhase>(phase),
                                   .starts = json.at("starts").get<int>()};
  container.nri.name = name;
  json.at("id").get_to(container.nri.id);
  json.at("sandbox").get_to(container.nri.pod_id);
  json.at("cgroups_path").get_to(container.nri.cgroups_path);
  json.at("pid").get_to(container.nri.pid);
  json.at("started_at").get_to(container.nri.started_at);
  return container;
}

Json ToJson(const RuntimeBook::Pod& pod) {
  Json containers = Json::object();
  for (const auto& [name, container] : pod.containers) containers[name] = ToJson(container);
  return {{"id", pod.nri.id},
          {"name", pod.nri.name},
          {"namespace", pod.nri.ns},
          {"cgroup_parent", pod.nri.cgroup_parent},
          {"pause", pod.pause_path},
          {"sandbox", pod.sandbox},
          {"containers", std::move(containers)}};
}

absl::StatusOr<RuntimeBook::Pod> PodFromJson(const std::string& uid, const Json& json) {
  RuntimeBook::Pod pod;
  pod.nri.uid = uid;
  json.at("id").get_to(pod.nri.id);
  json.at("name").get_to(pod.nri.name);
  json.at("namespace").get_to(pod.nri.ns);
  json.at("cgroup_parent").get_to(pod.nri.cgroup_parent);
  json.at("pause").get_to(pod.pause_path);
  json.at("sandbox").get_to(pod.sandbox);
  absl::StatusOr<PodCgroup> cgroup = ParsePodCgroup(pod.nri.cgroup_parent);
  if (!cgroup.ok()) return cgroup.status();
  pod.cgroup = *std::move(cgroup);
  for (const auto& [name, container] : json.at("containers").items()) {
    pod.containers.emplace(name, ContainerFromJson(name, container));
  }
  return pod;
}

}  // namespace

Json BookToJson(const RuntimeBook& book) {
  Json pods = Json::object();
  for (const auto& [uid, pod] : book.pods()) pods[uid] = ToJson(pod);
  return pods;
}

absl::StatusOr<RuntimeBook> BookFromJson(const Json& json) {
  std::map<std::string, RuntimeBook::Pod, std::less<>> pods;
  try {
    for (const auto& [uid, each] : json.items()) {
      absl::StatusOr<RuntimeBook::Pod> pod = PodFromJson(uid, each);
      if (!pod.ok()) return absl::InvalidArgumentError(Cat("pod ", uid, ": ", ToStd(pod.status().message())));
      pods.emplace(uid, *std::move(pod));
    }
  } catch (const Json::exception& error) {
    return absl::InvalidArgumentError(Cat("what the runtime has told: ", error.what()));
  }
  return RuntimeBook(std::move(pods));
}

}  // namespace podfence
