#include "agent/kubernetes/http_client.h"

#include <httplib.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/x509.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <exception>
#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "agent/core/text.h"

namespace podfence {
namespace {

constexpr size_t kTokenBytes = size_t{64} << 10;
constexpr size_t kErrorBytes = size_t{64} << 10;
constexpr int kConnectSeconds = 3;
constexpr int kOk = 200;

// A peer that is gone without a word (its node lost power, a firewall forgot the connection) is noticed within about
// this time, also where a watch is silent because nothing happens.
void NoticeDeadPeers(int socket) {
  const int on = 1;
  const int idle_seconds = 20;
  const int interval_seconds = 5;
  const int probes = 3;
  const unsigned unacknowledged_ms = 30'000;
  // What fails here only makes a dead peer be noticed later.
  setsockopt(socket, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  setsockopt(socket, IPPROTO_TCP, TCP_KEEPIDLE, &idle_seconds, sizeof idle_seconds);
  setsockopt(socket, IPPROTO_TCP, TCP_KEEPINTVL, &interval_seconds, sizeof interval_seconds);
  setsockopt(socket, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
  setsockopt(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacknowledged_ms, sizeof unacknowledged_ms);
  setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

// Whether the server closed a connection on which nothing is asked: what can be read there then is its goodbye.
bool Closed(int socket) {
  pollfd look = {.fd = socket, .events = POLLIN, .revents = 0};
  return poll(&look, 1, 0) != 0;
}

absl::StatusOr<std::string> ReadToken(const std::string& path) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::string token(kTokenBytes, '\0');
  if (file) file.read(token.data(), static_cast<std::streamsize>(token.size()));
  if (file.bad() || file.gcount() == 0) {
    const int error = errno;
    return absl::UnauthenticatedError(Cat("token file ", path, ": ",
                                          error == 0 ? "is empty" : std::generic_category().message(error),
                                          "; apiServerTokenFile names the token of a service account"));
  }
  token.resize(static_cast<size_t>(file.gcount()));
  absl::StripAsciiWhitespace(&token);
  for (const char c : token) {
    if (c <= ' ' || c >= 0x7f) return absl::UnauthenticatedError(Cat("token file ", path, ": holds no token"));
  }
  return token;
}

}  // namespace

// What becomes of an answer while it comes in.
struct HttpClient::Reception {
  size_t limit = kErrorBytes;  // of body
  bool cut = false;            // body is only the beginning
  absl::Time deadline = absl::InfiniteFuture();
  bool late = false;
  bool ended_here = false;  // on_data had enough
  std::function<void()> on_open;
  std::function<bool(std::string_view)> on_data;  // null: all goes into body
  int code = 0;
  std::string body;

  bool Take(std::string_view data) {
    late = absl::Now() > deadline;
    if (late) return false;
    if (on_data != nullptr && code == kOk) {
      ended_here = !on_data(data);
      return !ended_here;
    }
    cut = body.size() + data.size() > limit;
    body.append(data.substr(0, limit - body.size()));
    return !cut;
  }
};

HttpClient::HttpClient(ApiAccess access) : access_(std::move(access)) {}
HttpClient::~HttpClient() = default;

void HttpClient::Interrupt() {
  std::shared_ptr<httplib::ClientImpl> client;
  {
    const std::lock_guard lock(mutex_);
    interrupted_ = true;
    client = client_;
  }
  if (client != nullptr) client->stop();
}

absl::StatusOr<std::shared_ptr<httplib::ClientImpl>> HttpClient::Client() {
  const std::lock_guard lock(mutex_);
  if (interrupted_) return absl::CancelledError(Cat(access_.endpoint.Origin(), ": interrupted"));
  // httplib sees this itself without TLS only, where the goodbye has no bytes.
  if (client_ != nullptr && client_->is_socket_open() != 0 && Closed(client_->socket())) client_.reset();
  if (client_ != nullptr) return client_;
  const Endpoint& to = access_.endpoint;
  if (to.tls) {
    auto client = std::make_shared<httplib::SSLClient>(to.host, to.port);
    if (!client->is_valid()) return absl::InternalError(Cat(to.Origin(), ": OpenSSL gives no context"));
    if (!access_.ca_file.empty()) client->set_ca_cert_path(access_.ca_file);
    client->enable_server_certificate_verification(true);
    client_ = std::move(client);
  } else {
    client_ = std::make_shared<httplib::ClientImpl>(to.host, to.port);
  }
  client_->set_keep_alive(true);
  client_->set_follow_location(false);
  client_->set_url_encode(false);
  client_->set_connection_timeout(kConnectSeconds);
  client_->set_socket_options(NoticeDeadPeers);
  return client_;
}

absl::Status HttpClient::Explain(int code, const httplib::ClientImpl& client) const {
  const std::string at = access_.endpoint.Origin();
  switch (static_cast<httplib::Error>(code)) {
    case httplib::Error::Connection:
      return absl::UnavailableError(Cat(at, ": cannot be connected to; is it up, and may this host reach it?"));
    case httplib::Error::ConnectionTimeout:
      return absl::UnavailableError(Cat(at, ": no connection within ", kConnectSeconds, " s"));
    case httplib::Error::Read: return absl::UnavailableError(Cat(at, ": no answer, or one that broke off"));
    case httplib::Error::Write: return absl::UnavailableError(Cat(at, ": the connection broke"));
    case httplib::Error::SSLConnection:
      return absl::UnavailableError(Cat(at, ": no TLS connection; does it speak TLS there?"));
    case httplib::Error::SSLLoadingCerts:
      return absl::FailedPreconditionError(
          Cat(at, ": CA file ", access_.ca_file, " cannot be read; apiServerCAFile names it"));
    case httplib::Error::SSLServerVerification: {
      const auto* tls = dynamic_cast<const httplib::SSLClient*>(&client);
      const long result = tls == nullptr ? X509_V_OK : tls->get_openssl_verify_result();
      return absl::FailedPreconditionError(
          Cat(at, ": its certificate is refused: ",
              result == X509_V_OK ? Cat("it is not for \"", access_.endpoint.host, "\"")
                                  : X509_verify_cert_error_string(result),
              "; checked by ", access_.ca_file.empty() ? "the system's CAs" : Cat("CA file ", access_.ca_file)));
    }
    default: return absl::UnavailableError(Cat(at, ": ", httplib::to_string(static_cast<httplib::Error>(code))));
  }
}

absl::StatusOr<HttpReply> HttpClient::Send(const Request& request, absl::Duration silence, Reception& reception) {
  absl::StatusOr<std::shared_ptr<httplib::ClientImpl>> client = Client();
  if (!client.ok()) return client.status();
  httplib::Request out;
  out.method = request.method;
  out.path = request.target;
  out.body = request.body;
  out.headers = {{"Host", access_.endpoint.Authority()},
                 {"User-Agent", "podfence"},
                 {"Accept", "application/json"},
                 {"Accept-Encoding", "identity"}};
  if (!request.content_type.empty()) out.headers.emplace("Content-Type", request.content_type);
  if (access_.endpoint.tls && !access_.token_file.empty()) {
    const absl::StatusOr<std::string> token = ReadToken(access_.token_file);
    if (!token.ok()) return token.status();
    out.headers.emplace("Authorization", Cat("Bearer ", *token));
  }
  out.response_handler = [&](const httplib::Response& response) {
    reception.code = response.status;
    if (response.status == kOk && reception.on_open != nullptr) reception.on_open();
    return true;
  };
  out.content_receiver = [&](const char* data, size_t size, uint64_t, uint64_t) {
    return reception.Take(std::string_view(data, size));
  };
  (*client)->set_read_timeout(absl::ToChronoMicroseconds(silence));
  (*client)->set_write_timeout(absl::ToChronoMicroseconds(silence));
  httplib::Error error = httplib::Error::Unknown;
  std::string thrown;
  try {
    error = (*client)->send(out).error();
  } catch (const std::exception& exception) {
    thrown = exception.what();
  }
  if (error == httplib::Error::Success) return HttpReply{.code = reception.code, .body = std::move(reception.body)};
  // The connection is of no use any more; a new client also reads the CA file anew.
  bool interrupted = false;
  {
    const std::lock_guard lock(mutex_);
    client_.reset();
    interrupted = interrupted_;
  }
  const std::string at = access_.endpoint.Origin();
  if (interrupted) return absl::CancelledError(Cat(at, ": interrupted"));
  if (reception.ended_here) return HttpReply{.code = reception.code, .body = ""};
  if (reception.late) return absl::DeadlineExceededError(Cat(at, ": the answer takes too long"));
  // The beginning of an error is enough.
  if (reception.cut && reception.code != kOk) {
    return HttpReply{.code = reception.code, .body = std::move(reception.body)};
  }
  if (reception.cut) return absl::ResourceExhaustedError(Cat(at, ": answers more than ", reception.limit, " bytes"));
  if (!thrown.empty()) return absl::UnavailableError(Cat(at, ": ", thrown));
  return Explain(static_cast<int>(error), **client);
}

absl::StatusOr<HttpReply> HttpClient::Fetch(const Request& request, const Limits& limits) {
  Reception reception;
  reception.limit = limits.bytes;
  reception.deadline = absl::Now() + limits.time;
  return Send(request, limits.time, reception);
}

absl::StatusOr<HttpReply> HttpClient::Stream(const std::string& target, absl::Duration silence,
                                             const std::function<void()>& on_open,
                                             const std::function<bool(std::string_view)>& on_data) {
  Reception reception;
  reception.on_open = on_open;
  reception.on_data = on_data;
  return Send(Request{.method = "GET", .target = target, .content_type = "", .body = ""}, silence, reception);
}

absl::Status ApiError(std::string_view what, const HttpReply& reply) {
  const nlohmann::json status = nlohmann::json::parse(reply.body, nullptr, /*allow_exceptions=*/false);
  if (status.is_object() && status.contains("message") && status["message"].is_string()) {
    return ApiError(what, reply.code, status["message"].get_ref<const std::string&>());
  }
  return ApiError(what, reply.code, reply.body);
}

absl::Status ApiError(std::string_view what, int code, std::string_view message) {
  constexpr size_t kShown = 400;
  const std::string text = Cat(what, ": ", code, ": ", absl::Utf8SafeCEscape(ToAbsl(message.substr(0, kShown))));
  switch (code) {
    case 401:
      return absl::UnauthenticatedError(
          Cat(text, "; the token of apiServerTokenFile is missing, expired, or not of this cluster"));
    case 403: return absl::PermissionDeniedError(text);
    case 404: return absl::NotFoundError(text);
    case 409: return absl::AbortedError(text);
    case 410: return absl::OutOfRangeError(text);
    case 400:
    case 422: return absl::InvalidArgumentError(text);
    case 504: return absl::DeadlineExceededError(text);
    case 429: return absl::ResourceExhaustedError(text);
    default: return absl::UnavailableError(text);
  }
}

std::string EscapeUrl(std::string_view text) {
  constexpr char kHex[] = "0123456789ABCDEF";
  std::string escaped;
  for (const char c : text) {
    if (absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '.' || c == '_' || c == '~') {
      escaped += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      escaped += '%';
      escaped += kHex[byte >> 4];
      escaped += kHex[byte & 0xf];
    }
  }
  return escaped;
}

}  // namespace podfence
