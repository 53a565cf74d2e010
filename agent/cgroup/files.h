#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace podfence {

// The whole text of a small file (of /proc, /sys, or of our own). NotFound: there is none; ResourceExhausted: it is
// larger than a megabyte.
absl::StatusOr<std::string> ReadSmallFile(const std::string& path);
// Writes value into an existing file in one write(2), as files of /sys demand.
absl::Status WriteExistingFile(const std::string& path, std::string_view value);
// Makes or replaces a file whole: readers see the old text or the new one, also when this process dies in between. For
// records that only need to outlive the process, not the machine: nothing is synced.
absl::Status ReplaceFile(const std::string& path, std::string_view text);
// Makes a directory and those above it.
absl::Status MakeDirectories(const std::string& path);

}  // namespace podfence
