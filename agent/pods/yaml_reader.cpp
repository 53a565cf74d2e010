#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <optional>
#include <sstream>
#include <unordered_set>
#include <utility>

#include "absl/strings/escaping.h"
#include "agent/core/text.h"
#include "agent/pods/tree_builder.h"

namespace podfence {
namespace {

Place PlaceOf(const YAML::Mark& mark) { return {mark.line + 1, mark.column + 1}; }

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// [-+]?[0-9]*\.?[0-9]+([eE][-+][0-9]+)?
bool LooksLikeFloat(std::string_view text) {
  size_t at = 0;
  const auto digits = [&] {
    const size_t first = at;
    while (at < text.size() && IsDigit(text[at])) ++at;
    return at - first;
  };
  if (at < text.size() && (text[at] == '-' || text[at] == '+')) ++at;
  size_t last_run = digits();
  if (at < text.size() && text[at] == '.') {
    ++at;
    last_run = digits();
  }
  if (last_run == 0) return false;
  if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    ++at;
    if (at == text.size() || (text[at] != '-' && text[at] != '+')) return false;
    ++at;
    if (digits() == 0) return false;
  }
  return at == text.size();
}

// A YAML 1.1 integer in decimal; none where the text is none.
std::optional<std::string> DecimalInteger(std::string_view text) {
  const bool negative = !text.empty() && text[0] == '-';
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) text.remove_prefix(1);
  if (text.empty() || !IsDigit(text[0])) return std::nullopt;
  int base = 10;
  if (text.size() > 1 && text[0] == '0') {
    const char mark = text[1];
    base = mark == 'x' || mark == 'X' ? 16 : mark == 'b' || mark == 'B' ? 2 : 8;
    text.remove_prefix(base != 8 || mark == 'o' || mark == 'O' ? 2 : 1);
  }
  if (base == 10) {  // any length
    if (!std::all_of(text.begin(), text.end(), IsDigit)) return std::nullopt;
    return Cat(negative ? "-" : "", text);
  }
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return Cat(negative ? "-" : "", value);
}

Node Plain(const std::string& text, const Place& place) {
  static constexpr std::array<std::string_view, 5> kNull{"", "~", "null", "Null", "NULL"};
  static constexpr std::array<std::string_view, 11> kTrue{"y",    "Y",    "yes", "Yes", "YES", "true",
                                                          "True", "TRUE", "on",  "On",  "ON"};
  static constexpr std::array<std::string_view, 11> kFalse{"n",     "N",     "no",  "No",  "NO", "false",
                                                           "False", "FALSE", "off", "Off", "OFF"};
  if (OneOf(text, kNull)) return Scalar(Node::Kind::kNull, "", place);
  if (OneOf(text, kTrue)) return Scalar(Node::Kind::kBool, "true", place);
  if (OneOf(text, kFalse)) return Scalar(Node::Kind::kBool, "false", place);
  if (IsDigit(text[0]) || text[0] == '-' || text[0] == '+' || text[0] == '.') {
    std::string bare = text;
    std::erase(bare, '_');
    if (std::optional<std::string> integer = DecimalInteger(bare)) {
      return Scalar(Node::Kind::kNumber, *std::move(integer), place);
    }
    if (LooksLikeFloat(bare)) return Scalar(Node::Kind::kNumber, std::move(bare), place);
  }
  return Scalar(Node::Kind::kString, text, place);
}

size_t CountValues(const Node& node) {
  size_t count = 1;
  for (const Node& child : node.children) count += CountValues(child);
  return count;
}

int Depth(const Node& node) {
  int depth = 0;
  for (const Node& child : node.children) depth = std::max(depth, Depth(child));
  return depth + (node.kind == Node::Kind::kList || node.kind == Node::Kind::kMap ? 1 : 0);
}

// Folds the members of the key << into the map that has it; what the map says itself stays.
void Merge(Node& map) {
  const auto found = std::find(map.keys.begin(), map.keys.end(), "<<");
  if (found == map.keys.end()) return;
  const auto position = found - map.keys.begin();
  Node merged = std::move(map.children[static_cast<size_t>(position)]);
  map.keys.erase(found);
  map.children.erase(map.children.begin() + position);
  std::vector<Node> sources;
  if (merged.kind == Node::Kind::kList) {
    sources = std::move(merged.children);
  } else {
    sources.push_back(std::move(merged));
  }
  std::unordered_set<std::string> present(map.keys.begin(), map.keys.end());
  for (Node& source : sources) {
    if (source.kind != Node::Kind::kMap) {
      throw Refused{Place{map.line, map.column}, "<< must merge a map or a list of maps"};
    }
    for (size_t i = 0; i < source.keys.size(); ++i) {
      if (!present.insert(source.keys[i]).second) continue;
      map.keys.push_back(std::move(source.keys[i]));
      map.children.push_back(std::move(source.children[i]));
    }
  }
}

// True for well-formed UTF-8 (RFC 3629); at is where it ceases to be.
bool IsUtf8(std::string_view text, size_t& at) {
  for (at = 0; at < text.size();) {
    const auto byte = [&](size_t i) { return static_cast<unsigned char>(i < text.size() ? text[i] : 0); };
    const unsigned char first = byte(at);
    const size_t length = first < 0x80   ? 1
                          : first < 0xC2 ? 0
                          : first < 0xE0 ? 2
                          : first < 0xF0 ? 3
                          : first < 0xF5 ? 4
                                         : 0;
    if (length == 0) return false;
    for (size_t i = 1; i < length; ++i) {
      if ((byte(at + i) & 0xC0) != 0x80) return false;
    }
    const unsigned char second = byte(at + 1);
    if ((first == 0xE0 && second < 0xA0) || (first == 0xED && second > 0x9F) || (first == 0xF0 && second < 0x90) ||
        (first == 0xF4 && second > 0x8F)) {
      return false;
    }
    at += length;
  }
  return true;
}

class YamlEvents final : public YAML::EventHandler {
 public:
  explicit YamlEvents(const DocumentLimits& limits) : limits_(limits), tree_(limits) {}

  void OnDocumentStart(const YAML::Mark& /*mark*/) override { anchors_.clear(); }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    Take(Scalar(Node::Kind::kNull, "", PlaceOf(mark)), "", anchor);
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const Place place = PlaceOf(mark);
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) throw Refused{place, "alias to what is not complete yet"};
    const Anchored& target = found->second;
    // Counted before it is copied: a few lines of aliases to aliases can stand for billions of values.
    tree_.CheckDepth(place, target.depth);
    tree_.Count(place, target.values);
    Take(target.node, target.node.text, 0);
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    const Place place = PlaceOf(mark);
    const bool is_string = tag == "!" || tag == "tag:yaml.org,2002:str";
    if (!is_string && tag != "?" && !tag.empty() && !tag.starts_with("tag:yaml.org,2002:")) {
      throw Refused{place, Cat("unknown tag ", absl::Utf8SafeCEscape(tag.substr(0, 40)))};
    }
    Take(is_string ? Scalar(Node::Kind::kString, value, place) : Plain(value, place), value, anchor);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& /*tag*/, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value /*style*/) override {
    Open(Node::Kind::kList, mark, anchor);
  }
  void OnSequenceEnd() override { Close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& /*tag*/, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value /*style*/) override {
    Open(Node::Kind::kMap, mark, anchor);
  }
  void OnMapEnd() override {
    Merge(tree_.innermost());
    Close();
  }

  std::optional<Node> TakeRoot() { return tree_.TakeRoot(); }

 private:
  struct Anchored {
    Node node;
    size_t values;
    int depth;
  };

  void Open(Node::Kind kind, const YAML::Mark& mark, YAML::anchor_t anchor) {
    if (tree_.ExpectsKey()) throw Refused{PlaceOf(mark), "a key must be a plain value"};
    tree_.Open(kind, PlaceOf(mark));
    open_anchors_.push_back(anchor);
  }
  void Close() {
    const YAML::anchor_t anchor = open_anchors_.back();
    open_anchors_.pop_back();
    Remember(tree_.innermost(), anchor);
    tree_.Close();
  }
  void Take(Node node, const std::string& text, YAML::anchor_t anchor) {
    Remember(node, anchor);
    if (!tree_.ExpectsKey()) return tree_.Value(std::move(node));
    if (node.kind == Node::Kind::kList || node.kind == Node::Kind::kMap) {
      throw Refused{Place{node.line, node.column}, "a key must be a plain value"};
    }
    tree_.Key(text, Place{node.line, node.column});
  }
  void Remember(const Node& node, YAML::anchor_t anchor) {
    if (anchor == 0) return;
    const size_t values = CountValues(node);
    tree_.Count(Place{node.line, node.column}, values);  // the copy that is kept costs as much
    anchors_.insert_or_assign(anchor, Anchored{node, values, Depth(node)});
  }

  const DocumentLimits& limits_;
  TreeBuilder tree_;
  std::vector<YAML::anchor_t> open_anchors_;
  std::map<YAML::anchor_t, Anchored> anchors_;
};

}  // namespace

absl::StatusOr<std::vector<Node>> ReadYaml(std::string_view text, std::string_view source,
                                           const DocumentLimits& limits) {
  if (text.size() > limits.bytes) return TooLargeStatus(source, text.size(), limits);
  if (size_t at = 0; !IsUtf8(text, at)) {
    const std::string_view before = text.substr(0, at);
    const auto line = std::count(before.begin(), before.end(), '\n') + 1;
    const size_t line_start = before.rfind('\n') == std::string_view::npos ? 0 : before.rfind('\n') + 1;
    return RefusedStatus(source, Place{static_cast<int>(line), static_cast<int>(at - line_start) + 1}, "is not UTF-8");
  }
  std::vector<Node> documents;
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    YamlEvents events(limits);
    while (parser.HandleNextDocument(events)) {
      std::optional<Node> root = events.TakeRoot();
      if (root && root->kind != Node::Kind::kNull) documents.push_back(*std::move(root));
    }
  } catch (const Refused& refused) {
    return RefusedStatus(source, refused.place, refused.what);
  } catch (const YAML::Exception& error) {
    return RefusedStatus(source, PlaceOf(error.mark), Cat("is not YAML: ", error.msg.substr(0, 160)));
  }
  return documents;
}

}  // namespace podfence
