#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace podfence {

// An HTTP(S) server and a place on it.
struct Endpoint {
  bool tls = false;
  std::string host;  // a name or an address, IPv6 without brackets
  int port = 0;
  std::string path = "/";

  // "HOST:PORT", IPv6 in brackets: as the Host header has it.
  std::string Authority() const;
  // "https://HOST:PORT", as errors show it.
  std::string Origin() const;
  friend bool operator==(const Endpoint&, const Endpoint&) = default;
};

// "http[s]://HOST[:PORT][/PATH]", IPv6 in brackets, the scheme's own port where none is given; no user, query or
// fragment. InvalidArgument says what is wrong.
absl::StatusOr<Endpoint> ParseEndpoint(std::string_view url);

}  // namespace podfence
