#pragma once

#include <sys/un.h>

#include <string_view>

#include "absl/status/statusor.h"

namespace podfence {

// The address of a Unix socket at a path. InvalidArgument where the path is too long for one (unix(7): 107 bytes).
absl::StatusOr<sockaddr_un> UnixAddress(std::string_view path);

}  // namespace podfence
