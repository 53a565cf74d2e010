#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace podfence {

// A YAML or JSON document as a tree that knows where in its file everything stands. What untrusted text can do is
// bounded: size, depth, and the number of values, those that aliases stand for included.
struct Node {
  enum class Kind { kNull, kBool, kNumber, kString, kList, kMap };
  Kind kind = Kind::kNull;
  std::string text;               // of scalars; a number's is decimal, as exact as it was written
  std::vector<std::string> keys;  // of a map, each once, in the order written
  std::vector<Node> children;     // of a list, or of a map by the position of their keys
  int line = 0;                   // from 1; 0: not from a file
  int column = 0;                 // from 1

  // The value of a map's key; null where it is not there.
  const Node* Find(std::string_view key) const;
};
std::string_view KindName(Node::Kind kind);  // "a map", "a number", …

struct DocumentLimits {
  size_t bytes = size_t{2} << 20;
  int depth = 64;
  size_t values = 200'000;
};

// Reads every document of a YAML text; empty documents are left out. Plain scalars become null, true, numbers or
// strings as YAML 1.1 and Kubernetes' own reader have it (0o17, 0x1F, yes); the key << merges. InvalidArgument names
// source, line and column.
absl::StatusOr<std::vector<Node>> ReadYaml(std::string_view text, std::string_view source,
                                           const DocumentLimits& limits = {});
// Reads one JSON value (RFC 8259). Integers of any size are kept digit for digit.
absl::StatusOr<Node> ReadJson(std::string_view text, std::string_view source, const DocumentLimits& limits = {});
// The same tree from a JSON value in memory, without places.
absl::StatusOr<Node> ToNode(const nlohmann::json& json, const DocumentLimits& limits = {});

// A node together with how it is reached, so that complaints can name it: spec.containers[0].resources.limits.cpu.
// A view on the tree and on its parent, made on the stack while walking down.
class Field {
 public:
  explicit Field(const Node& root) : node_(root) {}

  const Node& node() const { return node_; }
  bool is_null() const { return node_.kind == Node::Kind::kNull; }
  std::string Path() const;

  // Calls visit(key, Field) for each member of a map, visit(index, Field) for each item of a list. The caller has
  // checked the kind.
  template <typename Visitor>
  void EachMember(Visitor&& visit) const {
    for (size_t i = 0; i < node_.children.size(); ++i) visit(node_.keys[i], Field(node_.children[i], *this, i));
  }
  template <typename Visitor>
  void EachItem(Visitor&& visit) const {
    for (size_t i = 0; i < node_.children.size(); ++i) visit(i, Field(node_.children[i], *this, i));
  }

 private:
  Field(const Node& node, const Field& parent, size_t position) : node_(node), parent_(&parent), position_(position) {}
  const Node& node_;
  const Field* parent_ = nullptr;
  size_t position_ = 0;
};

// What is wrong with a document: collected, so that an operator sees everything at once (the first kMaxProblems).
class Problems {
 public:
  static constexpr size_t kMaxProblems = 20;

  explicit Problems(std::string_view source) : source_(source) {}
  void Add(const Field& field, std::string_view what);
  // "source:line:column: path: what"; path may be empty.
  void Add(const Node& node, std::string_view path, std::string_view what);
  bool empty() const { return count_ == 0; }
  // InvalidArgument, a line a problem; Ok where there is none.
  absl::Status ToStatus() const;

 private:
  std::string source_;
  std::string lines_;
  size_t count_ = 0;
};

// Readers of one value each: on another kind they add a problem and give the fallback. null counts as absent, as it
// does for the API.
std::string ReadString(const Field& field, Problems& problems);
bool ReadBool(const Field& field, Problems& problems, bool fallback);
int64_t ReadInt(const Field& field, Problems& problems, int64_t fallback);
std::map<std::string, std::string> ReadStringMap(const Field& field, Problems& problems);
// True where the node is of the kind; false without a problem where it is null.
bool Is(const Field& field, Node::Kind kind, Problems& problems);

}  // namespace podfence
