#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "agent/core/endpoint.h"

namespace podfence {

// How to talk to a server as this node's agent.
struct ApiAccess {
  Endpoint endpoint;
  // A bearer token, read anew for every request since the kubelet renews it (a service account token lives an hour).
  // Empty: none is sent. A missing file is an error of the request, so that it heals when the file appears.
  std::string token_file;
  // Of the CAs that the server's certificate is checked by; empty: the system's.
  std::string ca_file;
};

// The API server: url, else KUBERNETES_SERVICE_HOST and _PORT of the environment, as every container of Kubernetes has
// them (client-go rest.InClusterConfig). NotFound: neither is there. InvalidArgument: a bad URL.
absl::StatusOr<ApiAccess> FindApiServer(const std::string& url, const std::string& token_file,
                                        const std::string& ca_file);

}  // namespace podfence
