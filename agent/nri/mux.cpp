#include "agent/nri/mux.h"

#include <algorithm>

#include "agent/core/text.h"
#include "agent/nri/big_endian.h"

namespace podfence {

void AppendMuxFrames(uint32_t stream, std::string_view bytes, std::string& out) {
  out.reserve(out.size() + bytes.size() + MuxFrames(bytes.size()) * kMuxHeader);
  while (!bytes.empty()) {
    const std::string_view part = bytes.substr(0, kMuxMaxSend);
    AppendBigEndian32(stream, out);
    AppendBigEndian32(static_cast<uint32_t>(part.size()), out);
    out.append(part);
    bytes.remove_prefix(part.size());
  }
}

absl::Status MuxDecoder::Feed(std::string_view bytes, const Sink& sink) {
  while (!bytes.empty()) {
    if (left_ == 0) {
      const size_t part = std::min(bytes.size(), kMuxHeader - header_size_);
      std::copy_n(bytes.begin(), part, header_.begin() + header_size_);
      header_size_ += part;
      bytes.remove_prefix(part);
      if (header_size_ < kMuxHeader) break;
      header_size_ = 0;
      stream_ = ReadBigEndian32(header_.data());
      left_ = ReadBigEndian32(header_.data() + 4);
      if (left_ > kMuxMaxReceive) {
        return absl::InvalidArgumentError(Cat("NRI frame of stream ", stream_, ": ", left_, " bytes, more than the ",
                                              kMuxMaxReceive, " of the largest call; this is no NRI runtime"));
      }
      continue;
    }
    const std::string_view part = bytes.substr(0, left_);
    left_ -= part.size();
    bytes.remove_prefix(part.size());
    absl::Status taken = sink(stream_, part);
    if (!taken.ok()) return taken;
  }
  return absl::OkStatus();
}

}  // namespace podfence
