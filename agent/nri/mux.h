#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace podfence {

// NRI's multiplexer: several byte streams over one socket, in frames of a stream's number, a length (both big endian,
// 32 bit) and so many bytes (containerd/nri pkg/net/multiplex/mux.go). Pure: bytes in, bytes out.

inline constexpr uint32_t kMuxPluginService = 1;   // the runtime calls us
inline constexpr uint32_t kMuxRuntimeService = 2;  // we call the runtime
inline constexpr size_t kMuxHeader = 8;
// The runtime reads through a buffer of 4096 bytes, into which each frame must fit at once (mux.go conn.Read: ENOMEM).
inline constexpr size_t kMuxMaxSend = 4096;
// The reference sends a ttrpc message in at most two frames: its header and its body.
inline constexpr size_t kMuxMaxReceive = (size_t{4} << 20) + 10;
// The runtime closes the socket when it has that many unread frames of one stream.
inline constexpr size_t kMuxQueue = 256;

// How many frames `bytes` take.
constexpr size_t MuxFrames(size_t bytes) { return (bytes + kMuxMaxSend - 1) / kMuxMaxSend; }

// Appends `bytes` of the stream as frames to `out`.
void AppendMuxFrames(uint32_t stream, std::string_view bytes, std::string& out);

// Splits what comes from the socket. Frames are cut anywhere; what of a frame has come is passed on at once, so nothing
// is held back but a part of a header.
class MuxDecoder {
 public:
  // Called with the bytes of a stream in their order; not OK ends the feeding.
  using Sink = std::function<absl::Status(uint32_t stream, std::string_view bytes)>;
  // Errors: a frame that is too large (InvalidArgument), or the sink's. After an error the decoder must not be fed.
  absl::Status Feed(std::string_view bytes, const Sink& sink);
  // Whether a frame has come in part.
  bool within() const { return header_size_ > 0 || left_ > 0; }

 private:
  std::array<char, kMuxHeader> header_{};
  size_t header_size_ = 0;
  uint32_t stream_ = 0;
  size_t left_ = 0;  // of the frame
};

}  // namespace podfence
