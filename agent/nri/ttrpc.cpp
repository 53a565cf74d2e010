#include "agent/nri/ttrpc.h"

#include <algorithm>
#include <utility>

#include "agent/core/text.h"
#include "agent/nri/big_endian.h"
#include "ttrpc.pb.h"

namespace podfence {
namespace {

absl::StatusOr<std::string> Encode(uint32_t stream, TtrpcType type, const google::protobuf::MessageLite& body) {
  const size_t size = body.ByteSizeLong();
  if (size > kTtrpcMaxMessage) {
    return absl::ResourceExhaustedError(
        Cat("a call of ", size, " bytes; ttrpc takes at most ", kTtrpcMaxMessage, " bytes"));
  }
  std::string out;
  out.reserve(kTtrpcHeader + size);
  AppendBigEndian32(static_cast<uint32_t>(size), out);
  AppendBigEndian32(stream, out);
  out.push_back(static_cast<char>(type));
  out.push_back(0);
  body.AppendToString(&out);
  return out;
}

}  // namespace

absl::Status TtrpcDecoder::Feed(std::string_view bytes, const Sink& sink) {
  for (;;) {
    if (header_size_ < kTtrpcHeader) {
      const size_t part = std::min(bytes.size(), kTtrpcHeader - header_size_);
      std::copy_n(bytes.begin(), part, header_.begin() + header_size_);
      header_size_ += part;
      bytes.remove_prefix(part);
      if (header_size_ < kTtrpcHeader) return absl::OkStatus();
      message_ = TtrpcMessage{.stream = ReadBigEndian32(header_.data() + 4),
                              .type = static_cast<uint8_t>(header_[8]),
                              .flags = static_cast<uint8_t>(header_[9]),
                              .length = ReadBigEndian32(header_.data()),
                              .body = {}};
      left_ = message_.length;
    }
    const std::string_view part = bytes.substr(0, left_);
    left_ -= part.size();
    bytes.remove_prefix(part.size());
    if (!message_.oversize()) message_.body.append(part);
    if (left_ > 0) return absl::OkStatus();
    header_size_ = 0;
    absl::Status taken = sink(std::exchange(message_, {}));
    if (!taken.ok()) return taken;
  }
}

absl::StatusOr<std::string> EncodeTtrpcRequest(uint32_t stream, const TtrpcRequest& request) {
  ttrpc::Request body;
  body.set_service(request.service);
  body.set_method(request.method);
  body.set_payload(request.payload);
  body.set_timeout_nano(absl::ToInt64Nanoseconds(request.timeout));
  return Encode(stream, TtrpcType::kRequest, body);
}

absl::StatusOr<std::string> EncodeTtrpcResponse(uint32_t stream, const absl::StatusOr<std::string>& payload) {
  ttrpc::Response body;
  if (payload.ok()) {
    body.set_payload(*payload);
  } else {
    body.mutable_status()->set_code(payload.status().raw_code());
    body.mutable_status()->set_message(std::string(payload.status().message()));
  }
  return Encode(stream, TtrpcType::kResponse, body);
}

absl::StatusOr<TtrpcRequest> ParseTtrpcRequest(std::string_view body) {
  ttrpc::Request request;
  if (!request.ParseFromArray(body.data(), static_cast<int>(body.size()))) {
    return absl::InvalidArgumentError(Cat("a ttrpc request of ", body.size(), " bytes that is no protobuf"));
  }
  return TtrpcRequest{.service = std::move(*request.mutable_service()),
                      .method = std::move(*request.mutable_method()),
                      .payload = std::move(*request.mutable_payload()),
                      .timeout = absl::Nanoseconds(request.timeout_nano())};
}

absl::StatusOr<std::string> ParseTtrpcResponse(std::string_view body) {
  ttrpc::Response response;
  if (!response.ParseFromArray(body.data(), static_cast<int>(body.size()))) {
    return absl::InvalidArgumentError(Cat("a ttrpc response of ", body.size(), " bytes that is no protobuf"));
  }
  if (response.status().code() != 0) {
    return absl::Status(static_cast<absl::StatusCode>(response.status().code()), response.status().message());
  }
  return std::move(*response.mutable_payload());
}

}  // namespace podfence
