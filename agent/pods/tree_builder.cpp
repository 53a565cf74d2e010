#include "agent/pods/tree_builder.h"

#include "absl/strings/escaping.h"
#include "agent/core/text.h"

namespace podfence {
namespace {

// Whatever comes of a document ends in C strings: file names, arguments, the environment.
void RefuseNul(const std::string& text, const Place& place) {
  if (text.find('\0') != std::string::npos) throw Refused{place, "holds a NUL character"};
}

}  // namespace

absl::Status RefusedStatus(std::string_view source, const Place& place, std::string_view what) {
  Node node;
  node.line = place.line;
  node.column = place.column;
  Problems problems(source);
  problems.Add(node, "", what);
  return problems.ToStatus();
}

absl::Status TooLargeStatus(std::string_view source, size_t size, const DocumentLimits& limits) {
  return absl::InvalidArgumentError(
      Cat(source, ": has ", size, " bytes; at most ", limits.bytes, " are read: split it into several files"));
}

Node Scalar(Node::Kind kind, std::string text, const Place& place) {
  Node node;
  node.kind = kind;
  node.text = std::move(text);
  node.line = place.line;
  node.column = place.column;
  return node;
}

void TreeBuilder::CheckDepth(const Place& place, int levels) const {
  if (static_cast<int>(open_.size()) + levels > limits_.depth) {
    throw Refused{place, Cat("is nested deeper than ", limits_.depth, " levels")};
  }
}

void TreeBuilder::Open(Node::Kind kind, const Place& place) {
  CheckDepth(place, 1);
  open_.push_back({Scalar(kind, "", place), {}, std::nullopt});
}

void TreeBuilder::Close() {
  Node node = std::move(open_.back().node);
  open_.pop_back();
  Value(std::move(node));
}

bool TreeBuilder::ExpectsKey() const {
  return !open_.empty() && open_.back().node.kind == Node::Kind::kMap && !open_.back().key;
}

void TreeBuilder::Key(std::string key, const Place& place) {
  RefuseNul(key, place);
  if (!open_.back().seen.insert(key).second) {
    throw Refused{place, Cat("key \"", absl::Utf8SafeCEscape(key.substr(0, 80)), "\" appears twice")};
  }
  open_.back().key = std::move(key);
}

void TreeBuilder::Value(Node node) {
  const Place place{node.line, node.column};
  RefuseNul(node.text, place);
  Count(place, 1);
  if (open_.empty()) {
    root_ = std::move(node);
    return;
  }
  Level& level = open_.back();
  if (level.node.kind == Node::Kind::kMap) {
    level.node.keys.push_back(std::move(*level.key));
    level.key.reset();
  }
  level.node.children.push_back(std::move(node));
}

void TreeBuilder::Count(const Place& place, size_t more) {
  values_ += more;
  if (values_ > limits_.values) {
    throw Refused{place, Cat("holds more than ", limits_.values, " values, aliases unfolded")};
  }
}

}  // namespace podfence
