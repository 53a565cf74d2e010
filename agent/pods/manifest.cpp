#include "agent/pods/manifest.h"

#include <array>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "agent/core/text.h"
#include "agent/pods/names.h"

namespace podfence {
namespace {

constexpr std::array<std::pair<std::string_view, RestartPolicy>, 3> kRestartPolicies{
    {{"Always", RestartPolicy::kAlways}, {"OnFailure", RestartPolicy::kOnFailure}, {"Never", RestartPolicy::kNever}}};
constexpr std::array<QosClass, 3> kQosClasses{QosClass::kGuaranteed, QosClass::kBurstable, QosClass::kBestEffort};

std::string Quoted(std::string_view text) {
  constexpr size_t kShown = 80;
  return Cat("\"", absl::Utf8SafeCEscape(ToAbsl(text.substr(0, kShown))), text.size() > kShown ? "…" : "", "\"");
}

std::optional<RestartPolicy> ReadRestartPolicy(const Field& field, Problems& problems) {
  const std::string text = ReadString(field, problems);
  if (text.empty()) return std::nullopt;
  for (const auto& [name, policy] : kRestartPolicies) {
    if (text == name) return policy;
  }
  problems.Add(field, Cat(Quoted(text), " is unknown; allowed are Always, OnFailure and Never"));
  return std::nullopt;
}

std::string_view RestartPolicyName(RestartPolicy wanted) {
  for (const auto& [name, policy] : kRestartPolicies) {
    if (policy == wanted) return name;
  }
  return "";
}

std::vector<std::string> ReadStringList(const Field& field, Problems& problems) {
  std::vector<std::string> list;
  if (!Is(field, Node::Kind::kList, problems)) return list;
  field.EachItem([&](size_t, const Field& item) { list.push_back(ReadString(item, problems)); });
  return list;
}

// Variables that take their value from elsewhere (valueFrom) are left out: nothing here could look it up.
std::vector<EnvVar> ReadEnv(const Field& field, Problems& problems) {
  std::vector<EnvVar> env;
  if (!Is(field, Node::Kind::kList, problems)) return env;
  field.EachItem([&](size_t, const Field& item) {
    if (!Is(item, Node::Kind::kMap, problems)) return;
    EnvVar variable;
    bool from_elsewhere = false;
    item.EachMember([&](const std::string& key, const Field& value) {
      if (key == "name") variable.name = ReadString(value, problems);
      if (key == "value") variable.value = ReadString(value, problems);
      if (key == "valueFrom") from_elsewhere = !value.is_null();
    });
    if (variable.name.empty() || variable.name.find('=') != std::string::npos) {
      problems.Add(item, "needs a name without '='");
    }
    if (!from_elsewhere) env.push_back(std::move(variable));
  });
  return env;
}

ResourceRequirements ReadRequirements(const Field& field, Problems& problems) {
  ResourceRequirements requirements;
  if (!Is(field, Node::Kind::kMap, problems)) return requirements;
  field.EachMember([&](const std::string& key, const Field& value) {
    if (key == "requests") requirements.requests = ReadResourceList(value, problems);
    if (key == "limits") requirements.limits = ReadResourceList(value, problems);
  });
  return requirements;
}

// Whether objects must name themselves, or ValidatePod is to say so.
enum class Names { kRequired, kLeftToValidation };

Container ReadContainer(const Field& field, Names names, Problems& problems) {
  Container container;
  if (!Is(field, Node::Kind::kMap, problems)) return container;
  field.EachMember([&](const std::string& key, const Field& value) {
    if (key == "name") container.name = ReadString(value, problems);
    if (key == "image") container.image = ReadString(value, problems);
    if (key == "command") container.command = ReadStringList(value, problems);
    if (key == "args") container.args = ReadStringList(value, problems);
    if (key == "env") container.env = ReadEnv(value, problems);
    if (key == "workingDir") container.working_dir = ReadString(value, problems);
    if (key == "restartPolicy") container.restart_policy = ReadRestartPolicy(value, problems);
    if (key == "resources") container.resources = ReadRequirements(value, problems);
  });
  if (names == Names::kRequired && container.name.empty()) problems.Add(field, "has no name");
  return container;
}

std::vector<Container> ReadContainers(const Field& field, Names names, Problems& problems) {
  std::vector<Container> containers;
  if (!Is(field, Node::Kind::kList, problems)) return containers;
  field.EachItem([&](size_t, const Field& item) { containers.push_back(ReadContainer(item, names, problems)); });
  return containers;
}

void ReadMetadata(const Field& field, Pod& pod, Problems& problems) {
  if (!Is(field, Node::Kind::kMap, problems)) return;
  field.EachMember([&](const std::string& key, const Field& value) {
    if (key == "name") pod.name = ReadString(value, problems);
    if (key == "uid") {
      pod.uid = ReadString(value, problems);
      // The API takes any text; here it names cgroups and directories.
      if (LabelValueFaults(pod.uid) > 0) problems.Add(value, Cat(Quoted(pod.uid), " must be ", kLabelValueRule));
    }
    if (key == "labels") pod.labels = ReadStringMap(value, problems);
    if (key == "annotations") pod.annotations = ReadStringMap(value, problems);
    if (key == "namespace") {
      if (std::string ns = ReadString(value, problems); !ns.empty()) pod.ns = std::move(ns);
    }
  });
}

void ReadSpec(const Field& field, Names names, Pod& pod, Problems& problems) {
  if (!Is(field, Node::Kind::kMap, problems)) return;
  field.EachMember([&](const std::string& key, const Field& value) {
    if (key == "initContainers") pod.init_containers = ReadContainers(value, names, problems);
    if (key == "containers") pod.containers = ReadContainers(value, names, problems);
    if (key == "overhead") pod.overhead = ReadResourceList(value, problems);
    if (key == "resources" && !value.is_null()) pod.resources = ReadRequirements(value, problems);
    if (key == "restartPolicy") pod.restart_policy = ReadRestartPolicy(value, problems).value_or(pod.restart_policy);
    if (key == "terminationGracePeriodSeconds") {
      pod.termination_grace_period_seconds = ReadInt(value, problems, pod.termination_grace_period_seconds);
    }
  });
}

void ReadStatus(const Field& field, Pod& pod, Problems& problems) {
  if (!Is(field, Node::Kind::kMap, problems)) return;
  field.EachMember([&](const std::string& key, const Field& value) {
    if (key != "qosClass") return;
    const std::string text = ReadString(value, problems);
    for (QosClass qos : kQosClasses) {
      if (text == QosName(qos)) pod.qos = qos;
    }
  });
}

enum class TypeMeta { kRequired, kOptional };

// The kind of an object; "" after a complaint about apiVersion or kind.
std::string ReadKind(const Field& field, TypeMeta type_meta, Problems& problems) {
  std::string version;
  std::string kind;
  field.EachMember([&](const std::string& key, const Field& value) {
    if (key == "apiVersion") version = ReadString(value, problems);
    if (key == "kind") kind = ReadString(value, problems);
  });
  if (type_meta == TypeMeta::kOptional) {
    if (version.empty()) version = "v1";
    if (kind.empty()) kind = "Pod";
  }
  if (version != "v1") {
    problems.Add(field, version.empty() ? "has no apiVersion; must be v1"
                                        : Cat("apiVersion is ", Quoted(version), "; must be v1"));
    return "";
  }
  if (kind.empty()) problems.Add(field, "has no kind; must be Pod, PodList or List");
  return kind;
}

Pod ReadPod(const Field& field, Names names, Problems& problems) {
  Pod pod;
  field.EachMember([&](const std::string& key, const Field& value) {
    if (key == "metadata") ReadMetadata(value, pod, problems);
    if (key == "spec") ReadSpec(value, names, pod, problems);
    if (key == "status") ReadStatus(value, pod, problems);
  });
  return pod;
}

// What ValidatePod would say too, but without a line.
void RequireNames(const Field& field, const Pod& pod, Problems& problems) {
  if (pod.name.empty()) problems.Add(field, "metadata.name is missing: a pod needs a name");
  const Node* spec = field.node().Find("spec");
  const Node* containers = spec == nullptr ? nullptr : spec->Find("containers");
  if (containers == nullptr || (containers->kind == Node::Kind::kList && containers->children.empty())) {
    problems.Add(field, "spec.containers is missing: a pod needs at least one container");
  }
}

void ReadObject(const Field& field, TypeMeta type_meta, std::vector<Pod>& pods, Problems& problems) {
  if (field.node().kind != Node::Kind::kMap) {
    problems.Add(field, Cat("is ", KindName(field.node().kind), "; a manifest is a map with apiVersion and kind"));
    return;
  }
  const std::string kind = ReadKind(field, type_meta, problems);
  if (kind == "Pod") {
    pods.push_back(ReadPod(field, Names::kRequired, problems));
    RequireNames(field, pods.back(), problems);
  } else if ((kind == "List" || kind == "PodList") && type_meta == TypeMeta::kRequired) {
    field.EachMember([&](const std::string& key, const Field& items) {
      if (key != "items" || !Is(items, Node::Kind::kList, problems)) return;
      items.EachItem([&](size_t, const Field& item) { ReadObject(item, TypeMeta::kOptional, pods, problems); });
    });
  } else if (!kind.empty()) {
    problems.Add(field, Cat("kind is ", Quoted(kind), "; must be Pod, PodList or List"));
  }
}

nlohmann::json ToJson(const ResourceList& list) {
  nlohmann::json json = nlohmann::json::object();
  for (const auto& [name, amount] : list) json[name] = amount.ToString();
  return json;
}

nlohmann::json ToJson(const ResourceRequirements& requirements) {
  nlohmann::json json = nlohmann::json::object();
  if (!requirements.requests.empty()) json["requests"] = ToJson(requirements.requests);
  if (!requirements.limits.empty()) json["limits"] = ToJson(requirements.limits);
  return json;
}

nlohmann::json ToJson(const std::vector<Container>& containers) {
  nlohmann::json list = nlohmann::json::array();
  for (const Container& container : containers) {
    nlohmann::json& json = list.emplace_back(nlohmann::json::object());
    json["name"] = container.name;
    if (!container.image.empty()) json["image"] = container.image;
    if (!container.command.empty()) json["command"] = container.command;
    if (!container.args.empty()) json["args"] = container.args;
    for (const EnvVar& variable : container.env) {
      json["env"].push_back({{"name", variable.name}, {"value", variable.value}});
    }
    if (!container.working_dir.empty()) json["workingDir"] = container.working_dir;
    if (container.restart_policy) json["restartPolicy"] = RestartPolicyName(*container.restart_policy);
    if (nlohmann::json resources = ToJson(container.resources); !resources.empty()) {
      json["resources"] = std::move(resources);
    }
  }
  return list;
}

}  // namespace

ResourceList ReadResourceList(const Field& field, Problems& problems) {
  ResourceList list;
  if (!Is(field, Node::Kind::kMap, problems)) return list;
  field.EachMember([&](const std::string& name, const Field& value) {
    const Node& node = value.node();
    if (node.kind == Node::Kind::kNull) {  // the API reads null as zero
      list[name] = Quantity();
      return;
    }
    if (node.kind != Node::Kind::kString && node.kind != Node::Kind::kNumber) {
      problems.Add(value, Cat("is ", KindName(node.kind), ", must be a quantity (250m, 4, 16Gi)"));
      return;
    }
    const absl::StatusOr<Quantity> quantity = Quantity::Parse(ToStd(absl::StripAsciiWhitespace(node.text)));
    if (!quantity.ok()) {
      problems.Add(value, ToStd(quantity.status().message()));
      return;
    }
    list[name] = *quantity;
  });
  return list;
}

absl::StatusOr<std::vector<Pod>> LoadManifests(std::string_view text, std::string_view file) {
  std::vector<Node> documents;
  if (file.ends_with(".json")) {
    absl::StatusOr<Node> document = ReadJson(text, file);
    if (!document.ok()) return document.status();
    documents.push_back(*std::move(document));
  } else {
    absl::StatusOr<std::vector<Node>> read = ReadYaml(text, file);
    if (!read.ok()) return read.status();
    documents = *std::move(read);
  }
  if (documents.empty()) return absl::InvalidArgumentError(Cat(file, ": holds no manifest"));
  Problems problems(file);
  std::vector<Pod> pods;
  std::set<std::string> names;
  for (const Node& document : documents) {
    const size_t before = pods.size();
    ReadObject(Field(document), TypeMeta::kRequired, pods, problems);
    for (size_t i = before; i < pods.size(); ++i) {
      if (!pods[i].name.empty() && !names.insert(pods[i].FullName()).second) {
        problems.Add(document, "", Cat("pod ", pods[i].FullName(), " is in this file twice"));
      }
    }
  }
  if (!problems.empty()) return problems.ToStatus();
  return pods;
}

absl::StatusOr<Pod> ParsePodJson(const nlohmann::json& json) {
  const absl::StatusOr<Node> node = ToNode(json);
  if (!node.ok()) return node.status();
  const Field field(*node);
  Problems problems("");
  Pod pod;
  if (node->kind != Node::Kind::kMap) {
    problems.Add(field, Cat("is ", KindName(node->kind), ", must be a Pod"));
  } else if (const std::string kind = ReadKind(field, TypeMeta::kOptional, problems); kind == "Pod") {
    pod = ReadPod(field, Names::kLeftToValidation, problems);
  } else if (!kind.empty()) {
    problems.Add(field, Cat("kind is ", Quoted(kind), "; must be Pod"));
  }
  if (!problems.empty()) return problems.ToStatus();
  return pod;
}

nlohmann::json PodToJson(const Pod& pod) {
  nlohmann::json metadata = {{"name", pod.name}, {"namespace", pod.ns}};
  if (!pod.uid.empty()) metadata["uid"] = pod.uid;
  if (!pod.labels.empty()) metadata["labels"] = pod.labels;
  if (!pod.annotations.empty()) metadata["annotations"] = pod.annotations;
  nlohmann::json spec = {{"containers", ToJson(pod.containers)},
                         {"restartPolicy", RestartPolicyName(pod.restart_policy)},
                         {"terminationGracePeriodSeconds", pod.termination_grace_period_seconds}};
  if (!pod.init_containers.empty()) spec["initContainers"] = ToJson(pod.init_containers);
  if (!pod.overhead.empty()) spec["overhead"] = ToJson(pod.overhead);
  if (pod.resources) spec["resources"] = ToJson(*pod.resources);
  return {{"apiVersion", "v1"},
          {"kind", "Pod"},
          {"metadata", std::move(metadata)},
          {"spec", std::move(spec)},
          {"status", {{"qosClass", QosName(pod.qos)}}}};
}

}  // namespace podfence
