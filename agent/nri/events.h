#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "agent/nri/messages.h"
#include "agent/nri/plugin.h"
#include "agent/nri/values.h"

namespace podfence {

// Which events a runtime can send, and which we want.

// Every bit of a mask is an event; the runtime refuses a registration that asks for one that it does not know
// (containerd/nri pkg/adaptation/plugin.go configure), and none at all means all of them.
constexpr uint32_t NriBit(NriEvent event) { return 1U << (static_cast<uint32_t>(event) - 1); }

// The events of NRI before 0.10, and those that it has since.
inline constexpr uint32_t kNriOldEvents = NriBit(NriEvent::kUpdatePodSandbox) - 1;
inline constexpr uint32_t kNriAllEvents = (NriBit(NriEvent::kValidateContainerAdjustment) << 1) - 1;

// What the runtime surely knows. It names its version of NRI since 0.12; before, the versions that came with 0.10 tell:
// containerd 2.2 and CRI-O 1.35 (1.34 has NRI 0.9). All others are taken for older ones.
uint32_t NriKnownEvents(const NriConfigureRequest& runtime);

// What there is a handler for.
uint32_t NriWantedEvents(const NriHandlers& handlers);

// The event that a method of the service Plugin is; nullopt for the others (Configure, Synchronize, Shutdown,
// StateChange) and for what is none.
std::optional<NriEvent> NriEventOf(std::string_view method);
// "CreateContainer"; empty for a number that is no event.
std::string_view NriMethodOf(NriEvent event);

}  // namespace podfence
