#pragma once

#include <string_view>

#include "absl/status/status.h"

namespace podfence {

// Checks that text is a well-formed XML document of the element `root`, with elements nested at most 128 deep (hwloc's
// import recurses over them). hwloc's own parser reports neither line nor reason. InvalidArgument begins with the
// line: "line 57: </object> closes <info>, opened in line 56". Entities and characters are not looked at.
absl::Status CheckXml(std::string_view text, std::string_view root);

}  // namespace podfence
