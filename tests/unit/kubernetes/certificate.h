#pragma once

#include <string>

namespace podfence {

// A new self-signed certificate, which so is its own CA, in two files of the test's temporary directory.
struct Certificate {
  std::string file;
  std::string key_file;
};
// name: "IP:127.0.0.1", "DNS:example".
Certificate MakeCertificate(const std::string& name);

}  // namespace podfence
