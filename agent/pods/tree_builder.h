#pragma once

// How the readers of YAML and JSON put a document's tree together; for pods/ alone.

#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "agent/pods/document.h"

namespace podfence {

// In a text, both from 1; 0: not from a text.
struct Place {
  int line = 0;
  int column = 0;
};

// Ends the reading of a document from within a parser's callbacks; never leaves the readers.
struct Refused {
  Place place;
  std::string what;
};

// "source:line:column: what", and the answer to a text beyond limits.bytes.
absl::Status RefusedStatus(std::string_view source, const Place& place, std::string_view what);
absl::Status TooLargeStatus(std::string_view source, size_t size, const DocumentLimits& limits);

Node Scalar(Node::Kind kind, std::string text, const Place& place);

// Takes a parser's events and holds the tree to the limits; throws Refused.
class TreeBuilder {
 public:
  explicit TreeBuilder(const DocumentLimits& limits) : limits_(limits) {}

  // A list or map begins, and ends.
  void Open(Node::Kind kind, const Place& place);
  void Close();
  // The innermost map waits for a key.
  bool ExpectsKey() const;
  void Key(std::string key, const Place& place);
  void Value(Node node);

  // Counts values that are not built one by one.
  void Count(const Place& place, size_t more);
  // What is about to be closed: it can still be changed.
  Node& innermost() { return open_.back().node; }
  // Refuses what would be nested too deep, standing where the next value stands.
  void CheckDepth(const Place& place, int levels) const;
  std::optional<Node> TakeRoot() { return std::exchange(root_, std::nullopt); }

 private:
  struct Level {
    Node node;
    std::unordered_set<std::string> seen;
    std::optional<std::string> key;
  };
  const DocumentLimits limits_;
  std::vector<Level> open_;
  std::optional<Node> root_;
  size_t values_ = 0;
};

}  // namespace podfence
