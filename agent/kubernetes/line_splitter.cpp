#include "agent/kubernetes/line_splitter.h"

namespace podfence {
namespace {

constexpr size_t kKept = size_t{64} << 10;

}  // namespace

bool LineSplitter::Feed(std::string_view data, const Visitor& visit) {
  while (!data.empty()) {
    const size_t end = data.find('\n');
    const std::string_view piece = data.substr(0, end);
    if (!skipping_ && partial_.size() + piece.size() > limit_) {
      skipping_ = true;
      partial_ = std::string();
      visit.too_long();
    }
    if (!skipping_ && (end == std::string_view::npos || !partial_.empty())) partial_.append(piece);
    if (end == std::string_view::npos) return true;
    data.remove_prefix(end + 1);
    if (skipping_) {
      skipping_ = false;
      continue;
    }
    const std::string_view line = partial_.empty() ? piece : std::string_view(partial_);
    const bool more = line.empty() || visit.line(line);
    // Nothing large is kept for the small lines to come.
    if (partial_.capacity() > kKept) partial_ = std::string();
    partial_.clear();
    if (!more) return false;
  }
  return true;
}

}  // namespace podfence
