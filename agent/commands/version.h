#pragma once

#include <string_view>

namespace podfence {

// The version of this build: CMake's project version.
std::string_view PodfenceVersion();

}  // namespace podfence
