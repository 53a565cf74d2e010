#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"

namespace podfence {

// Cuts a stream into its lines, whatever the pieces it comes in. A line beyond the limit is passed over to its end.
class LineSplitter {
 public:
  explicit LineSplitter(size_t limit) : limit_(limit) {}

  struct Visitor {
    absl::FunctionRef<bool(std::string_view line)> line;  // false: no more
    absl::FunctionRef<void()> too_long;                   // once for each such line
  };
  // False: the visitor had enough. Empty lines are passed over.
  bool Feed(std::string_view data, const Visitor& visit);
  // What came since the last line's end: the stream broke off within a line.
  bool within_line() const { return skipping_ || !partial_.empty(); }

 private:
  const size_t limit_;
  std::string partial_;
  bool skipping_ = false;
};

}  // namespace podfence
