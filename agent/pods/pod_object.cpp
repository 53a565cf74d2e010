#include "agent/pods/pod_object.h"

#include <algorithm>
#include <array>
#include <utility>

#include "agent/core/text.h"
#include "agent/pods/defaults.h"
#include "agent/pods/manifest.h"
#include "agent/pods/names.h"
#include "agent/pods/validation.h"

namespace podfence {
namespace {

constexpr std::string_view kSourceAnnotation = "kubernetes.io/config.source";
constexpr std::string_view kMirrorAnnotation = "kubernetes.io/config.mirror";
constexpr std::string_view kHashAnnotation = "kubernetes.io/config.hash";
constexpr std::string_view kLastApplied = "kubectl.kubernetes.io/last-applied-configuration";
constexpr std::array<std::pair<std::string_view, PodPhase>, 5> kPhases{{{"Pending", PodPhase::kPending},
                                                                        {"Running", PodPhase::kRunning},
                                                                        {"Succeeded", PodPhase::kSucceeded},
                                                                        {"Failed", PodPhase::kFailed},
                                                                        {"Unknown", PodPhase::kUnknown}}};

// What the API server wrote is read leniently: what is not there, or of a kind that nobody expects, is empty.
const nlohmann::json& At(const nlohmann::json& object, std::string_view key) {
  static const nlohmann::json none;
  if (!object.is_object()) return none;
  const auto found = object.find(key);
  return found == object.end() ? none : *found;
}

std::string Text(const nlohmann::json& object, std::string_view key) {
  const nlohmann::json& value = At(object, key);
  return value.is_string() ? value.get<std::string>() : "";
}

std::optional<absl::Time> Timestamp(const nlohmann::json& object, std::string_view key) {
  const std::string text = Text(object, key);
  absl::Time time;
  std::string error;
  if (text.empty() || !absl::ParseTime(absl::RFC3339_full, text, &time, &error)) return std::nullopt;
  return time;
}

PodPhase ReadPhase(const nlohmann::json& status) {
  const std::string text = Text(status, "phase");
  if (text.empty()) return PodPhase::kPending;  // as the kubelet takes it
  for (const auto& [name, phase] : kPhases) {
    if (text == name) return phase;
  }
  return PodPhase::kUnknown;
}

bool IsResizing(const nlohmann::json& status) {
  if (!Text(status, "resize").empty()) return true;
  const nlohmann::json& conditions = At(status, "conditions");
  if (!conditions.is_array()) return false;
  return std::ranges::any_of(conditions, [](const nlohmann::json& condition) {
    const std::string type = Text(condition, "type");
    return (type == "PodResizePending" || type == "PodResizeInProgress") && Text(condition, "status") == "True";
  });
}

void ReadStatuses(const nlohmann::json& list, std::vector<ContainerStatus>& statuses) {
  if (!list.is_array()) return;
  for (const nlohmann::json& item : list) {
    ContainerStatus status{.name = Text(item, "name"), .id = Text(item, "containerID")};
    const nlohmann::json& state = At(item, "state");
    if (At(state, "running").is_object()) status.state = ContainerState::kRunning;
    if (At(state, "terminated").is_object()) status.state = ContainerState::kTerminated;
    const nlohmann::json& restarts = At(item, "restartCount");
    if (restarts.is_number_integer()) status.restart_count = restarts.get<int64_t>();
    statuses.push_back(std::move(status));
  }
}

// The annotation alone proves nothing: whoever may create pods may write it. The kubelet also makes the node the owner
// (pkg/kubelet/pod/mirror_client.go CreateMirrorPod), and PodCache lets no mirror take another pod's place.
bool IsMirror(const nlohmann::json& metadata) {
  if (Text(At(metadata, "annotations"), kMirrorAnnotation).empty()) return false;
  const nlohmann::json& owners = At(metadata, "ownerReferences");
  if (!owners.is_array()) return false;
  for (const nlohmann::json& owner : owners) {
    if (Text(owner, "kind") == "Node") return true;
  }
  return false;
}

// Takes out what is not kept, so that 100 pods are small.
void Prune(nlohmann::json& json) {
  if (!json["metadata"].is_object()) return;
  json["metadata"].erase("managedFields");
  if (nlohmann::json& annotations = json["metadata"]["annotations"]; annotations.is_object()) {
    annotations.erase(std::string(kLastApplied));
  }
  nlohmann::json& spec = json["spec"];
  if (!spec.is_object()) return;
  spec.erase("volumes");
  for (const char* list : {"initContainers", "containers"}) {
    if (!spec[list].is_array()) continue;
    for (nlohmann::json& container : spec[list]) {
      if (!container.is_object()) continue;
      for (const char* key : {"command", "args", "env", "workingDir"}) container.erase(key);
    }
  }
}

absl::StatusOr<Pod> CompletePod(const nlohmann::json& json, const std::string& uid) {
  absl::StatusOr<Pod> pod = ParsePodJson(json);
  if (!pod.ok()) return pod.status();
  pod->uid = uid;
  DefaultPod(*pod);
  std::string problems;
  for (const PodProblem& problem : CheckPod(*pod)) {
    if (!problems.empty()) problems += '\n';
    problems += problem.Full();
  }
  if (!problems.empty()) return absl::InvalidArgumentError(problems);
  return pod;
}

}  // namespace

std::string_view PhaseName(PodPhase phase) {
  for (const auto& [name, known] : kPhases) {
    if (known == phase) return name;
  }
  return "";
}

absl::StatusOr<PodObject> ParsePodObject(nlohmann::json json) {
  const nlohmann::json& metadata = At(json, "metadata");
  PodObject object;
  object.api_uid = Text(metadata, "uid");
  object.name = Text(metadata, "name");
  object.ns = Text(metadata, "namespace");
  if (object.api_uid.empty() || object.name.empty() || object.ns.empty()) {
    return absl::InvalidArgumentError(Cat("a pod without UID, name or namespace (\"", object.api_uid, "\", \"",
                                          object.name, "\", \"", object.ns, "\")"));
  }
  const nlohmann::json& annotations = At(metadata, "annotations");
  object.resource_version = Text(metadata, "resourceVersion");
  object.is_mirror = IsMirror(metadata);
  object.uid = object.api_uid;
  if (object.is_mirror) {
    if (std::string hash = Text(annotations, kHashAnnotation); !hash.empty()) object.uid = std::move(hash);
  }
  // Here it names cgroups and directories.
  if (LabelValueFaults(object.uid) > 0) {
    return absl::InvalidArgumentError(Cat("pod ", object.FullName(), " has the UID \"", object.uid.substr(0, 80),
                                          "\", which must be ", kLabelValueRule));
  }
  // Of an API object that is no mirror the annotation is its author's, not the kubelet's.
  if (object.resource_version.empty() || object.is_mirror) {
    if (std::string source = Text(annotations, kSourceAnnotation); !source.empty()) object.source = std::move(source);
  }
  object.created = Timestamp(metadata, "creationTimestamp");
  object.deleted = Timestamp(metadata, "deletionTimestamp");
  object.node_name = Text(At(json, "spec"), "nodeName");
  if (const nlohmann::json& list = At(At(json, "spec"), "ephemeralContainers"); list.is_array()) {
    for (const nlohmann::json& item : list) object.ephemeral_containers.push_back(Text(item, "name"));
  }
  const nlohmann::json& status = At(json, "status");
  object.phase = ReadPhase(status);
  object.resizing = IsResizing(status);
  for (const char* list : {"initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"}) {
    ReadStatuses(At(status, list), object.statuses);
  }
  Prune(json);
  absl::StatusOr<Pod> pod = CompletePod(json, object.uid);
  if (pod.ok()) {
    object.pod = std::make_shared<const Pod>(*std::move(pod));
  } else {
    object.error = absl::Status(pod.status().code(), ToAbsl(Cat("pod ", object.FullName(), " (UID ", object.uid,
                                                                "): ", ToStd(pod.status().message()))));
  }
  return object;
}

bool SameForTheNode(const PodObject& a, const PodObject& b) {
  return a.uid == b.uid && a.api_uid == b.api_uid && a.ns == b.ns && a.name == b.name && a.node_name == b.node_name &&
         a.source == b.source && a.is_mirror == b.is_mirror && a.phase == b.phase && a.resizing == b.resizing &&
         a.created == b.created && a.deleted == b.deleted && a.ephemeral_containers == b.ephemeral_containers &&
         a.statuses == b.statuses && a.error == b.error && (a.pod == nullptr) == (b.pod == nullptr) &&
         (a.pod == nullptr || *a.pod == *b.pod);
}

}  // namespace podfence
