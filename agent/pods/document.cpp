#include "agent/pods/document.h"

#include <charconv>

#include "absl/strings/escaping.h"
#include "agent/core/text.h"

namespace podfence {

const Node* Node::Find(std::string_view key) const {
  for (size_t i = 0; i < keys.size(); ++i) {
    if (keys[i] == key) return &children[i];
  }
  return nullptr;
}

std::string_view KindName(Node::Kind kind) {
  switch (kind) {
    case Node::Kind::kNull: return "null";
    case Node::Kind::kBool: return "true or false";
    case Node::Kind::kNumber: return "a number";
    case Node::Kind::kString: return "a string";
    case Node::Kind::kList: return "a list";
    case Node::Kind::kMap: return "a map";
  }
  return "";
}

std::string Field::Path() const {
  if (parent_ == nullptr) return "";
  const Node& above = parent_->node_;
  std::string path = parent_->Path();
  if (above.kind == Node::Kind::kList) return Cat(path, "[", position_, "]");
  constexpr size_t kShown = 80;
  const std::string& key = above.keys[position_];
  return Cat(path, path.empty() ? "" : ".", absl::Utf8SafeCEscape(key.substr(0, kShown)),
             key.size() > kShown ? "…" : "");
}

void Problems::Add(const Field& field, std::string_view what) { Add(field.node(), field.Path(), what); }

void Problems::Add(const Node& node, std::string_view path, std::string_view what) {
  if (++count_ > kMaxProblems) return;
  if (count_ > 1) lines_ += '\n';
  if (!source_.empty()) absl::StrAppend(&lines_, source_, ":");
  if (node.line > 0) absl::StrAppend(&lines_, node.line, ":", node.column, ":");
  if (!lines_.empty() && lines_.back() == ':') lines_ += ' ';
  if (!path.empty()) absl::StrAppend(&lines_, ToAbsl(path), ": ");
  absl::StrAppend(&lines_, ToAbsl(what));
}

absl::Status Problems::ToStatus() const {
  if (count_ == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      count_ > kMaxProblems ? Cat(lines_, "\nand ", count_ - kMaxProblems, " more problems") : lines_);
}

bool Is(const Field& field, Node::Kind kind, Problems& problems) {
  if (field.node().kind == kind) return true;
  if (!field.is_null()) {
    problems.Add(field, Cat("is ", KindName(field.node().kind), ", must be ", KindName(kind),
                            kind == Node::Kind::kString ? " (quote it)" : ""));
  }
  return false;
}

std::string ReadString(const Field& field, Problems& problems) {
  return Is(field, Node::Kind::kString, problems) ? field.node().text : "";
}

bool ReadBool(const Field& field, Problems& problems, bool fallback) {
  return Is(field, Node::Kind::kBool, problems) ? field.node().text == "true" : fallback;
}

int64_t ReadInt(const Field& field, Problems& problems, int64_t fallback) {
  if (!Is(field, Node::Kind::kNumber, problems)) return fallback;
  const std::string& text = field.node().text;
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc() && end == text.data() + text.size()) return value;
  problems.Add(field, Cat("\"", text.substr(0, 40), "\" is not a whole number of 64 bits"));
  return fallback;
}

std::map<std::string, std::string> ReadStringMap(const Field& field, Problems& problems) {
  std::map<std::string, std::string> map;
  if (!Is(field, Node::Kind::kMap, problems)) return map;
  field.EachMember([&](const std::string& key, const Field& value) { map[key] = ReadString(value, problems); });
  return map;
}

}  // namespace podfence
