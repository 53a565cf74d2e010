#include "agent/podsapi/pod_message.h"

#include "absl/time/time.h"
#include "agent/core/text.h"
#include "core_v1.pb.h"

namespace podfence {
namespace {

using nlohmann::json;

template <typename Map>
json Quantities(const Map& amounts) {
  json list = json::object();
  for (const auto& [name, amount] : amounts) list[name] = amount.string().empty() ? "0" : amount.string();
  return list;
}

json Resources(const core_v1::ResourceRequirements& resources) {
  json requirements = json::object();
  if (resources.limits_size() > 0) requirements["limits"] = Quantities(resources.limits());
  if (resources.requests_size() > 0) requirements["requests"] = Quantities(resources.requests());
  return requirements;
}

template <typename List>
json Containers(const List& containers) {
  json list = json::array();
  for (const core_v1::Container& container : containers) {
    json& item = list.emplace_back(json{{"name", container.name()}, {"image", container.image()}});
    if (container.has_resources()) item["resources"] = Resources(container.resources());
    if (!container.restartpolicy().empty()) item["restartPolicy"] = container.restartpolicy();
  }
  return list;
}

template <typename List>
json Statuses(const List& statuses) {
  json list = json::array();
  for (const core_v1::ContainerStatus& status : statuses) {
    json& item = list.emplace_back(json{{"name", status.name()},
                                        {"containerID", status.containerid()},
                                        {"restartCount", status.restartcount()},
                                        {"state", json::object()}});
    if (status.state().has_running()) item["state"]["running"] = json::object();
    if (status.state().has_terminated()) item["state"]["terminated"] = json::object();
  }
  return list;
}

// No time is an empty message.
void SetTime(const core_v1::Time& time, const char* key, json& into) {
  if (!time.has_seconds()) return;
  into[key] = absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", absl::FromUnixSeconds(time.seconds()), absl::UTCTimeZone());
}

template <typename Map>
json Strings(const Map& map) {
  json strings = json::object();
  for (const auto& [key, value] : map) strings[key] = value;
  return strings;
}

json Conditions(const google::protobuf::RepeatedPtrField<core_v1::PodCondition>& conditions) {
  json list = json::array();
  for (const core_v1::PodCondition& condition : conditions) {
    list.push_back({{"type", condition.type()}, {"status", condition.status()}});
  }
  return list;
}

json Metadata(const core_v1::ObjectMeta& metadata) {
  json meta = {{"name", metadata.name()},
               {"namespace", metadata.namespace_()},
               {"uid", metadata.uid()},
               {"resourceVersion", metadata.resourceversion()},
               {"labels", Strings(metadata.labels())},
               {"annotations", Strings(metadata.annotations())}};
  SetTime(metadata.creationtimestamp(), "creationTimestamp", meta);
  SetTime(metadata.deletiontimestamp(), "deletionTimestamp", meta);
  for (const core_v1::OwnerReference& owner : metadata.ownerreferences()) {
    meta["ownerReferences"].push_back({{"kind", owner.kind()}, {"name", owner.name()}});
  }
  return meta;
}

json Spec(const core_v1::PodSpec& spec) {
  json body = {{"containers", Containers(spec.containers())},
               {"initContainers", Containers(spec.initcontainers())},
               {"nodeName", spec.nodename()}};
  if (!spec.restartpolicy().empty()) body["restartPolicy"] = spec.restartpolicy();
  if (spec.has_terminationgraceperiodseconds()) {
    body["terminationGracePeriodSeconds"] = spec.terminationgraceperiodseconds();
  }
  if (spec.overhead_size() > 0) body["overhead"] = Quantities(spec.overhead());
  if (spec.has_resources()) body["resources"] = Resources(spec.resources());
  for (const core_v1::EphemeralContainer& container : spec.ephemeralcontainers()) {
    body["ephemeralContainers"].push_back({{"name", container.ephemeralcontainercommon().name()}});
  }
  return body;
}

}  // namespace

absl::StatusOr<json> PodJsonFromMessage(const std::string& message) {
  core_v1::Pod pod;
  if (!pod.ParseFromString(message)) {
    return absl::InvalidArgumentError(Cat("is no v1.Pod in protobuf (", message.size(), " bytes)"));
  }
  const json object{{"metadata", Metadata(pod.metadata())},
                    {"spec", Spec(pod.spec())},
                    {"status",
                     {{"phase", pod.status().phase()},
                      {"conditions", Conditions(pod.status().conditions())},
                      {"initContainerStatuses", Statuses(pod.status().initcontainerstatuses())},
                      {"containerStatuses", Statuses(pod.status().containerstatuses())},
                      {"ephemeralContainerStatuses", Statuses(pod.status().ephemeralcontainerstatuses())}}}};
  // Its strings are any bytes, since these are proto2's; whoever reads the pod as JSON is shown U+FFFD for what is no
  // UTF-8, and so are we.
  return json::parse(object.dump(-1, ' ', false, json::error_handler_t::replace));
}

}  // namespace podfence
