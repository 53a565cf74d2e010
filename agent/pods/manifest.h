#pragma once

// pods/ turns Pod manifests and API objects into the Pod that the allocator and the runtimes take: it reads
// (manifest.h), fills in what is left open (defaults.h) and checks (validation.h), as the API server and the kubelet
// would. It uses core/ alone, and must not open files, know of machines, or decide where a pod goes.

#include <nlohmann/json.hpp>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "agent/core/pod.h"
#include "agent/pods/document.h"

namespace podfence {

// Reads the Pods of one manifest file: YAML with any number of documents, or JSON where the name of the file ends in
// ".json"; each document a Pod, a PodList or a List of Pods, apiVersion v1. Fields that Podfence keeps nothing of are
// passed over; wrong types, unknown enumerations, missing names, duplicate keys and duplicate pods are errors.
// InvalidArgument lists every problem as "FILE:LINE:COLUMN: FIELD: WHAT". The pods are not defaulted yet.
absl::StatusOr<std::vector<Pod>> LoadManifests(std::string_view text, std::string_view file);

// Reads one Pod object, as the API or PodToJson writes it; apiVersion and kind may be left out. A missing name is left
// for ValidatePod. Not defaulted.
absl::StatusOr<Pod> ParsePodJson(const nlohmann::json& json);

// The v1.Pod object with all that is kept of a Pod: ParsePodJson gives the same Pod back. The QoS class is in
// status.qosClass.
nlohmann::json PodToJson(const Pod& pod);

// Reads a v1.ResourceList: quantities as strings or numbers.
ResourceList ReadResourceList(const Field& field, Problems& problems);

}  // namespace podfence
