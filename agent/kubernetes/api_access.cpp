#include "agent/kubernetes/api_access.h"

#include <cstdlib>
#include <string_view>

#include "agent/core/text.h"

namespace podfence {

absl::StatusOr<ApiAccess> FindApiServer(const std::string& url, const std::string& token_file,
                                        const std::string& ca_file) {
  std::string_view from = "apiServer";
  std::string address = url;
  if (address.empty()) {
    const char* host = std::getenv("KUBERNETES_SERVICE_HOST");
    const char* port = std::getenv("KUBERNETES_SERVICE_PORT");
    if (host == nullptr || port == nullptr || *host == '\0' || *port == '\0') {
      return absl::NotFoundError(
          "no API server is known: set apiServer, or KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT");
    }
    from = "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT";
    const bool ipv6 = std::string_view(host).find(':') != std::string_view::npos;
    address = Cat("https://", ipv6 ? "[" : "", host, ipv6 ? "]:" : ":", port);
  }
  absl::StatusOr<Endpoint> endpoint = ParseEndpoint(address);
  if (!endpoint.ok()) return absl::InvalidArgumentError(Cat(from, ": ", ToStd(endpoint.status().message())));
  return ApiAccess{.endpoint = *std::move(endpoint), .token_file = token_file, .ca_file = ca_file};
}

}  // namespace podfence
