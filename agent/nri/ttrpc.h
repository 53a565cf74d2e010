#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace podfence {

// ttrpc's messages over one byte stream (containerd/ttrpc channel.go, request.proto): a header of length, stream (both
// big endian, 32 bit), type and flags, then that many bytes. Pure: bytes in, bytes out. A call is a request and a
// response of the same stream; NRI uses no others.

inline constexpr size_t kTtrpcHeader = 10;
inline constexpr size_t kTtrpcMaxMessage = size_t{4} << 20;

enum class TtrpcType : uint8_t { kRequest = 1, kResponse = 2, kData = 3 };

struct TtrpcMessage {
  uint32_t stream = 0;
  uint8_t type = 0;  // TtrpcType, or one of the future
  uint8_t flags = 0;
  // Above kTtrpcMaxMessage the body was thrown away (channel.go recv): the call fails, the connection goes on.
  size_t length = 0;
  std::string body = {};

  bool oversize() const { return length > kTtrpcMaxMessage; }
};

// Cuts a byte stream into messages, wherever it is cut itself. Takes no more memory than has come.
class TtrpcDecoder {
 public:
  // Called with each message; not OK ends the feeding.
  using Sink = std::function<absl::Status(TtrpcMessage message)>;
  absl::Status Feed(std::string_view bytes, const Sink& sink);
  // Whether a message has come in part.
  bool within() const { return header_size_ > 0; }

 private:
  std::array<char, kTtrpcHeader> header_{};
  size_t header_size_ = 0;
  size_t left_ = 0;  // of the body
  TtrpcMessage message_;
};

struct TtrpcRequest {
  std::string service = {};
  std::string method = {};
  std::string payload = {};
  absl::Duration timeout = absl::ZeroDuration();  // of the caller; 0: none
};

// The bytes of one message for its stream. ResourceExhausted when it is larger than kTtrpcMaxMessage.
absl::StatusOr<std::string> EncodeTtrpcRequest(uint32_t stream, const TtrpcRequest& request);
absl::StatusOr<std::string> EncodeTtrpcResponse(uint32_t stream, const absl::StatusOr<std::string>& payload);

// From a message's body. InvalidArgument where it is none.
absl::StatusOr<TtrpcRequest> ParseTtrpcRequest(std::string_view body);
// The payload, or the status that the other side answered with.
absl::StatusOr<std::string> ParseTtrpcResponse(std::string_view body);

}  // namespace podfence
