#include "agent/nri/events.h"

#include <array>
#include <charconv>
#include <utility>

namespace podfence {
namespace {

constexpr std::array<std::pair<std::string_view, NriEvent>, 14> kMethods = {{
    {"RunPodSandbox", NriEvent::kRunPodSandbox},
    {"StopPodSandbox", NriEvent::kStopPodSandbox},
    {"RemovePodSandbox", NriEvent::kRemovePodSandbox},
    {"CreateContainer", NriEvent::kCreateContainer},
    {"PostCreateContainer", NriEvent::kPostCreateContainer},
    {"StartContainer", NriEvent::kStartContainer},
    {"PostStartContainer", NriEvent::kPostStartContainer},
    {"UpdateContainer", NriEvent::kUpdateContainer},
    {"PostUpdateContainer", NriEvent::kPostUpdateContainer},
    {"StopContainer", NriEvent::kStopContainer},
    {"RemoveContainer", NriEvent::kRemoveContainer},
    {"UpdatePodSandbox", NriEvent::kUpdatePodSandbox},
    {"PostUpdatePodSandbox", NriEvent::kPostUpdatePodSandbox},
    {"ValidateContainerAdjustment", NriEvent::kValidateContainerAdjustment},
}};

// Whether "v2.4.2", "2.2.0-rc.1+unknown" and the like are at least major.minor; false for what is no version.
bool AtLeast(std::string_view version, int major, int minor) {
  if (version.starts_with("v")) version.remove_prefix(1);
  std::pair<int, int> have;
  const char* end = version.data() + version.size();
  const auto [dot, no_major] = std::from_chars(version.data(), end, have.first);
  if (no_major != std::errc() || dot == end || *dot != '.') return false;
  if (std::from_chars(dot + 1, end, have.second).ec != std::errc()) return false;
  return have >= std::pair(major, minor);
}

}  // namespace

uint32_t NriKnownEvents(const NriConfigureRequest& runtime) {
  const bool since_0_10 = !runtime.nri_version.empty() ||
                          (runtime.runtime_name == "containerd" && AtLeast(runtime.runtime_version, 2, 2)) ||
                          (runtime.runtime_name == "cri-o" && AtLeast(runtime.runtime_version, 1, 35));
  return since_0_10 ? kNriAllEvents : kNriOldEvents;
}

uint32_t NriWantedEvents(const NriHandlers& handlers) {
  uint32_t wanted = 0;
  const auto want = [&](bool is, NriEvent event) { wanted |= is ? NriBit(event) : 0; };
  want(handlers.run_pod_sandbox != nullptr, NriEvent::kRunPodSandbox);
  want(handlers.stop_pod_sandbox != nullptr, NriEvent::kStopPodSandbox);
  want(handlers.remove_pod_sandbox != nullptr, NriEvent::kRemovePodSandbox);
  want(handlers.create_container != nullptr, NriEvent::kCreateContainer);
  want(handlers.post_create_container != nullptr, NriEvent::kPostCreateContainer);
  want(handlers.start_container != nullptr, NriEvent::kStartContainer);
  want(handlers.post_start_container != nullptr, NriEvent::kPostStartContainer);
  want(handlers.update_container != nullptr, NriEvent::kUpdateContainer);
  want(handlers.post_update_container != nullptr, NriEvent::kPostUpdateContainer);
  want(handlers.stop_container != nullptr, NriEvent::kStopContainer);
  want(handlers.remove_container != nullptr, NriEvent::kRemoveContainer);
  want(handlers.update_pod_sandbox != nullptr, NriEvent::kUpdatePodSandbox);
  want(handlers.post_update_pod_sandbox != nullptr, NriEvent::kPostUpdatePodSandbox);
  want(handlers.validate_adjustment != nullptr, NriEvent::kValidateContainerAdjustment);
  return wanted;
}

std::optional<NriEvent> NriEventOf(std::string_view method) {
  for (const auto& [name, event] : kMethods) {
    if (name == method) return event;
  }
  return std::nullopt;
}

std::string_view NriMethodOf(NriEvent event) {
  for (const auto& [name, candidate] : kMethods) {
    if (candidate == event) return name;
  }
  return {};
}

}  // namespace podfence
