// What an operator, the kubelet or a damaged disk can put into the files that the agent reads. The first byte, a
// digit, says which of them the others are: 0 manifests in YAML, 1 in JSON, 2 the configuration, 3 and 4 the kubelet's
// checkpoints of its CPU and its Memory manager, 5 the agent's own, 6 a pod of an API.
//
// Beside what the sanitizers find: what is refused is refused with a reason and, where it is a file that people write,
// its place; and what was read can be written and read again.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string_view>

#include "absl/status/status.h"
#include "agent/config/config.h"
#include "agent/core/text.h"
#include "agent/kubelet_state/kubelet_state.h"
#include "agent/pods/manifest.h"
#include "agent/pods/pod_object.h"
#include "agent/state/state_json.h"

namespace podfence {
namespace {

void Require(bool holds) {
  if (!holds) std::abort();
}

void RequireReason(const absl::Status& status) {
  Require(absl::IsInvalidArgument(status) || absl::IsDataLoss(status));
  Require(!status.message().empty());
}

// The file's name stands in front of every problem.
void RequirePlace(const absl::Status& status) {
  RequireReason(status);
  Require(ToStd(status.message()).starts_with("file:"));
}

void FuzzManifests(std::string_view text, std::string_view file) {
  const absl::StatusOr<std::vector<Pod>> pods = LoadManifests(text, file);
  if (!pods.ok()) {
    RequireReason(pods.status());
    Require(ToStd(pods.status().message()).starts_with(file));
    return;
  }
  for (const Pod& pod : *pods) Require(ParsePodJson(PodToJson(pod)).value() == pod);
}

void FuzzOwnCheckpoint(std::string_view text) {
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
  if (json.is_discarded()) return;  // as the store does
  const absl::StatusOr<NodeState> state = StateFromJson(json);
  if (!state.ok()) return RequireReason(state.status());
  Require(StateFromJson(StateToJson(*state)).ok());
}

void FuzzApiPod(std::string_view text) {
  nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
  if (json.is_discarded()) return;  // as the API's client does
  const absl::StatusOr<PodObject> pod = ParsePodObject(std::move(json));
  if (!pod.ok()) return RequireReason(pod.status());
  Require(!pod->uid.empty() && !pod->name.empty());
  Require((pod->pod == nullptr) == !pod->error.ok());
}

// A file whose problems carry their place.
template <typename Parse>
void FuzzPlaced(Parse parse, std::string_view text) {
  const auto read = parse(text, "file");
  if (!read.ok()) RequirePlace(read.status());
}

}  // namespace
}  // namespace podfence

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (static_cast<uint8_t>(data[0] - '0') % 7) {
    case 0: podfence::FuzzManifests(text, "pods.yaml"); break;
    case 1: podfence::FuzzManifests(text, "pods.json"); break;
    case 2: podfence::FuzzPlaced(podfence::ParseConfig, text); break;
    case 3: podfence::FuzzPlaced(podfence::ParseCpuManagerState, text); break;
    case 4: podfence::FuzzPlaced(podfence::ParseMemoryManagerState, text); break;
    case 5: podfence::FuzzOwnCheckpoint(text); break;
    default: podfence::FuzzApiPod(text); break;
  }
  return 0;
}
