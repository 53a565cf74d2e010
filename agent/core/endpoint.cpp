#include "agent/core/endpoint.h"

#include <charconv>

#include "absl/strings/escaping.h"
#include "agent/core/text.h"

namespace podfence {
namespace {

constexpr int kHttpPort = 80;
constexpr int kHttpsPort = 443;
constexpr size_t kLongest = 2048;

bool IsHost(std::string_view host, bool bracketed) {
  if (host.empty()) return false;
  for (const char c : host) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (!letter && c != '.' && c != (bracketed ? ':' : '-') && (bracketed || c != '_')) return false;
  }
  return !bracketed || host.find(':') != std::string_view::npos;
}

// What a request line can carry: no blanks or control characters, and neither query nor fragment.
bool IsPath(std::string_view path) {
  for (const char c : path) {
    if (c <= ' ' || c >= 0x7f || c == '?' || c == '#') return false;
  }
  return true;
}

}  // namespace

std::string Endpoint::Authority() const {
  return host.find(':') == std::string::npos ? Cat(host, ":", port) : Cat("[", host, "]:", port);
}

std::string Endpoint::Origin() const { return Cat(tls ? "https://" : "http://", Authority()); }

absl::StatusOr<Endpoint> ParseEndpoint(std::string_view url) {
  const auto bad = [&](std::string_view why) {
    return absl::InvalidArgumentError(Cat("\"", absl::Utf8SafeCEscape(ToAbsl(url.substr(0, 80))), "\" ", why,
                                          "; write http://HOST:PORT/PATH or https://HOST:PORT/PATH"));
  };
  if (url.size() > kLongest) return bad("is too long for an URL");
  Endpoint endpoint;
  std::string_view rest = url;
  if (rest.starts_with("https://")) {
    endpoint.tls = true;
    rest.remove_prefix(8);
  } else if (rest.starts_with("http://")) {
    rest.remove_prefix(7);
  } else {
    return bad("does not begin with http:// or https://");
  }
  if (const size_t slash = rest.find('/'); slash != std::string_view::npos) {
    endpoint.path = rest.substr(slash);
    rest = rest.substr(0, slash);
  }
  if (!IsPath(endpoint.path)) return bad("has a path with blanks, a query, or characters that are not ASCII");
  const bool bracketed = rest.starts_with('[');
  const size_t end = bracketed ? rest.find(']') : rest.find(':');
  if (bracketed && end == std::string_view::npos) return bad("has no ']' after its IPv6 address");
  const std::string_view host = bracketed ? rest.substr(1, end - 1) : rest.substr(0, end);
  if (!IsHost(host, bracketed)) return bad("has no valid host");
  endpoint.host = host;
  std::string_view port = end == std::string_view::npos ? "" : rest.substr(bracketed ? end + 1 : end);
  if (port.empty()) {
    endpoint.port = endpoint.tls ? kHttpsPort : kHttpPort;
    return endpoint;
  }
  if (port.front() != ':') return bad("has text behind its IPv6 address");
  port.remove_prefix(1);
  const auto [stop, error] = std::from_chars(port.data(), port.data() + port.size(), endpoint.port);
  if (error != std::errc() || stop != port.data() + port.size() || endpoint.port < 1 || endpoint.port > 65535) {
    return bad("has no port from 1 to 65535");
  }
  return endpoint;
}

}  // namespace podfence
