#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "agent/nri/values.h"

namespace podfence {

// The payloads of NRI's calls to and from plain values. All parsers give InvalidArgument, with the message's name, for
// bytes that are none; what a runtime does not say has its neutral value. Pure.

struct NriConfigureRequest {
  std::string runtime_name;
  std::string runtime_version;
  std::string nri_version;  // since NRI 0.12
  absl::Duration request_timeout = absl::ZeroDuration();
};

struct NriSynchronizeRequest {
  std::vector<NriPod> pods;
  std::vector<NriContainer> containers;
  bool more = false;
};

// Of a pod event, or of a container event, which has both.
struct NriEventRequest {
  NriPod pod;
  NriContainer container;
  std::optional<NriResources> overhead;   // UpdatePodSandbox
  std::optional<NriResources> resources;  // UpdatePodSandbox, UpdateContainer
};

struct NriStateChange {
  int event = 0;  // NriEvent, or one of the future
  NriEventRequest request;
};

absl::StatusOr<NriConfigureRequest> ParseNriConfigure(std::string_view payload);
absl::StatusOr<NriSynchronizeRequest> ParseNriSynchronize(std::string_view payload);
absl::StatusOr<NriEventRequest> ParseNriEvent(NriEvent event, std::string_view payload);
absl::StatusOr<NriStateChange> ParseNriStateChange(std::string_view payload);
absl::StatusOr<NriValidation> ParseNriValidation(std::string_view payload);
absl::StatusOr<std::vector<NriContainerUpdate>> ParseNriUpdates(std::string_view payload);

std::string EncodeNriRegister(const std::string& name, const std::string& index);
std::string EncodeNriConfigureReply(int32_t events);
std::string EncodeNriSynchronizeReply(const std::vector<NriContainerUpdate>& updates, bool more);
std::string EncodeNriCreateReply(const NriCreateReply& reply);
// UpdateContainersRequest, and the replies to UpdateContainer and StopContainer.
std::string EncodeNriUpdates(const std::vector<NriContainerUpdate>& updates);
// OK accepts; an error rejects with its message.
std::string EncodeNriValidationReply(const absl::Status& verdict);

}  // namespace podfence
