#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "agent/server/snapshot.h"

namespace podfence {

inline constexpr char kDefaultServer[] = "http://127.0.0.1:9551";

// The body of GET server + path from a running agent; at most 64 MiB, within 5 s a step. server is a URL without a
// path. InvalidArgument: not such a URL; Unavailable: no agent answers there, with what to look for; otherwise what the
// agent answered instead of 200: NotFound for 404, FailedPrecondition for 503 (it is starting), Internal for the rest.
absl::StatusOr<std::string> FetchFromAgent(const std::string& server, const std::string& path);

// The agent's state as its API gives it, and read back.
absl::StatusOr<nlohmann::json> FetchState(const std::string& server);
absl::StatusOr<Snapshot> FetchSnapshot(const std::string& server);

}  // namespace podfence
