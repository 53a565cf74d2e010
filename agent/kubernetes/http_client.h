#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "agent/kubernetes/api_access.h"

namespace httplib {
class ClientImpl;
}

namespace podfence {

struct HttpReply {
  int code = 0;
  std::string body;
};

// Talks to one server over one connection that is kept; of one thread, but for Interrupt. The token, if any, is read
// for each request and goes out over TLS only; the CA file is read for each new connection after a failure. Redirects
// are not followed: they could carry the token elsewhere.
class HttpClient {
 public:
  explicit HttpClient(ApiAccess access);
  ~HttpClient();
  const ApiAccess& access() const { return access_; }

  struct Request {
    std::string method = "GET";
    std::string target;        // path and query, escaped
    std::string content_type;  // of the body
    std::string body;
  };
  struct Limits {
    size_t bytes = size_t{64} << 20;          // of the answer; more is ResourceExhausted
    absl::Duration time = absl::Seconds(30);  // for all of it
  };
  // The answer, whatever its code. Errors are those of the way there: Unavailable, DeadlineExceeded, Unauthenticated
  // (the token cannot be read), Cancelled (Interrupt); they name the server, what failed, and the remedy.
  absl::StatusOr<HttpReply> Fetch(const Request& request, const Limits& limits);

  // Gives an endless answer piece by piece as it comes. on_open is called once the server has agreed (200); on_data
  // may end it by false, which is no error. silence: the longest time without a byte. Of an answer with another code,
  // the beginning is returned. That the server ended the answer orderly is code 200.
  absl::StatusOr<HttpReply> Stream(const std::string& target, absl::Duration silence,
                                   const std::function<void()>& on_open,
                                   const std::function<bool(std::string_view)>& on_data);

  // On any thread: what is under way fails, and everything after it.
  void Interrupt();

 private:
  struct Reception;
  absl::StatusOr<HttpReply> Send(const Request& request, absl::Duration silence, Reception& reception);
  absl::StatusOr<std::shared_ptr<httplib::ClientImpl>> Client();
  absl::Status Explain(int error, const httplib::ClientImpl& client) const;

  const ApiAccess access_;
  std::mutex mutex_;
  bool interrupted_ = false;
  std::shared_ptr<httplib::ClientImpl> client_;
};

// "CODE: MESSAGE", from the v1.Status that API servers answer with; NotFound, PermissionDenied, Aborted (409), … by the
// code. what: what was tried, "list the pods of node n1 at https://…".
absl::Status ApiError(std::string_view what, const HttpReply& reply);
absl::Status ApiError(std::string_view what, int code, std::string_view message);

// For a path segment or a query's value.
std::string EscapeUrl(std::string_view text);

}  // namespace podfence
