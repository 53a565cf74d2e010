#include "agent/core/unix_address.h"

#include <sys/socket.h>

#include "agent/core/text.h"

namespace podfence {

absl::StatusOr<sockaddr_un> UnixAddress(std::string_view path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return absl::InvalidArgumentError(
        Cat("the socket's path ", path, " is longer than ", sizeof address.sun_path - 1, " bytes"));
  }
  path.copy(address.sun_path, path.size());
  return address;
}

}  // namespace podfence
