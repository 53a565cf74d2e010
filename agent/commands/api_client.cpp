#include "agent/commands/api_client.h"

#include <httplib.h>

#include "absl/strings/ascii.h"
#include "agent/core/text.h"
#include "agent/server/snapshot_json.h"

namespace podfence {
namespace {

constexpr char kStatePath[] = "/api/v1/state";

constexpr size_t kMaxBody = size_t{64} << 20;
constexpr time_t kTimeoutSeconds = 5;

absl::Status CheckUrl(std::string_view server) {
  const size_t scheme = server.find("://");
  const bool known = server.starts_with("http://") || server.starts_with("https://");
  if (known && server.find_first_of("/?# ", scheme + 3) == std::string_view::npos && server.size() > scheme + 3) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      Cat("server \"", server, "\" is not a URL such as ", kDefaultServer, " (scheme, host and port only)"));
}

absl::Status AnsweredWith(int code, std::string_view body) {
  std::string said(absl::StripAsciiWhitespace(ToAbsl(body.substr(0, 500))));
  const std::string text = Cat("the agent answered ", code, said.empty() ? "" : ": ", said);
  if (code == 404) return absl::NotFoundError(text);
  if (code == 503) return absl::FailedPreconditionError(text);
  return absl::InternalError(text);
}

absl::StatusOr<std::string> Get(const std::string& server, const std::string& path) {
  httplib::Client client(server);
  if (!client.is_valid()) return absl::InvalidArgumentError("not a usable URL");
  client.set_connection_timeout(kTimeoutSeconds);
  client.set_read_timeout(kTimeoutSeconds);
  std::string body;
  bool too_large = false;
  const httplib::Result result = client.Get(path, [&](const char* data, size_t size) {
    too_large = body.size() + size > kMaxBody;
    if (!too_large) body.append(data, size);
    return !too_large;
  });
  if (too_large) return absl::InternalError(Cat("the answer is larger than ", kMaxBody >> 20, " MiB"));
  if (!result) {
    return absl::UnavailableError(Cat("no answer (", httplib::to_string(result.error()),
                                      "): is podfence agent running there, and is this its listen address?"));
  }
  if (result->status != 200) return AnsweredWith(result->status, body);
  return body;
}

}  // namespace

absl::StatusOr<std::string> FetchFromAgent(const std::string& server, const std::string& path) {
  if (absl::Status status = CheckUrl(server); !status.ok()) return status;
  absl::StatusOr<std::string> body = Get(server, path);
  if (body.ok()) return body;
  return absl::Status(body.status().code(), Cat("GET ", server, path, ": ", ToStd(body.status().message())));
}

absl::StatusOr<nlohmann::json> FetchState(const std::string& server) {
  const absl::StatusOr<std::string> body = FetchFromAgent(server, kStatePath);
  if (!body.ok()) return body.status();
  nlohmann::json state = nlohmann::json::parse(*body, nullptr, false);
  if (state.is_discarded()) {
    return absl::InvalidArgumentError(Cat("GET ", server, kStatePath, ": the answer is not JSON"));
  }
  return state;
}

absl::StatusOr<Snapshot> FetchSnapshot(const std::string& server) {
  const absl::StatusOr<nlohmann::json> state = FetchState(server);
  if (!state.ok()) return state.status();
  return SnapshotFromJson(*state);
}

}  // namespace podfence
