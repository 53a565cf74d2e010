#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "agent/config/config.h"
#include "agent/core/text.h"
#include "agent/pods/names.h"

namespace podfence {

absl::StatusOr<std::string> NodeName(const Config& config) {
  std::string_view from = "nodeName";
  std::string name = config.node_name;
  if (const char* given = std::getenv("NODE_NAME"); name.empty() && given != nullptr) {
    from = "NODE_NAME of the environment";
    name = given;
  }
  if (name.empty()) {
    from = "the host's name";
    std::array<char, 256> host{};
    if (gethostname(host.data(), host.size() - 1) != 0) {
      return absl::ErrnoToStatus(errno, "read the host's name; set nodeName");
    }
    name = absl::AsciiStrToLower(absl::StripAsciiWhitespace(host.data()));
  }
  if (DnsSubdomainFaults(name) > 0) {
    return absl::InvalidArgumentError(Cat(from, " \"", absl::Utf8SafeCEscape(name), "\" is no name of a node: must be ",
                                          kDnsSubdomainRule, "; set nodeName to the node's name in Kubernetes"));
  }
  return name;
}

}  // namespace podfence
