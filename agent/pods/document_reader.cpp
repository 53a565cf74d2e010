#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <optional>
#include <sstream>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/escaping.h"
#include "agent/core/text.h"
#include "agent/pods/document.h"

namespace podfence {
namespace {

// Ends the reading of a document from within a parser's callbacks; never leaves this file.
struct Refused {
  int line;
  int column;
  std::string what;
};

absl::Status At(std::string_view source, int line, int column, std::string_view what) {
  Node place;
  place.line = line;
  place.column = column;
  Problems problems(source);
  problems.Add(place, "", what);
  return problems.ToStatus();
}

absl::Status TooLarge(std::string_view source, size_t size, const DocumentLimits& limits) {
  return absl::InvalidArgumentError(
      Cat(source, ": has ", size, " bytes; at most ", limits.bytes, " are read: split it into several files"));
}

// Puts a tree together from a parser's events, and holds it to the limits.
class TreeBuilder {
 public:
  explicit TreeBuilder(const DocumentLimits& limits) : limits_(limits) {}

  void Open(Node::Kind kind, int line, int column) {
    if (static_cast<int>(open_.size()) >= limits_.depth) {
      throw Refused{line, column, Cat("is nested deeper than ", limits_.depth, " levels")};
    }
    Node node;
    node.kind = kind;
    node.line = line;
    node.column = column;
    open_.push_back({std::move(node), {}, std::nullopt});
  }
  // Closes the innermost list or map.
  void Close() {
    Node node = std::move(open_.back().node);
    open_.pop_back();
    Value(std::move(node));
  }
  bool ExpectsKey() const { return !open_.empty() && open_.back().node.kind == Node::Kind::kMap && !open_.back().key; }
  void Key(std::string key, int line, int column) {
    RefuseNul(key, line, column);
    if (!open_.back().seen.insert(key).second) {
      throw Refused{line, column, Cat("key \"", absl::Utf8SafeCEscape(key.substr(0, 80)), "\" appears twice")};
    }
    open_.back().key = std::move(key);
  }
  void Value(Node node) {
    RefuseNul(node.text, node.line, node.column);
    Count(node, 1);
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
  void Count(const Node& place, size_t more) {
    values_ += more;
    if (values_ > limits_.values) {
      throw Refused{place.line, place.column, Cat("holds more than ", limits_.values, " values, aliases unfolded")};
    }
  }
  // A map that is being closed: its members can still be changed.
  Node& innermost() { return open_.back().node; }
  size_t depth() const { return open_.size(); }
  std::optional<Node> TakeRoot() { return std::exchange(root_, std::nullopt); }

 private:
  // Whatever comes of a document ends in C strings: file names, arguments, the environment.
  static void RefuseNul(const std::string& text, int line, int column) {
    if (text.find('\0') != std::string::npos) throw Refused{line, column, "holds a NUL character"};
  }

  struct Level {
    Node node;
    absl::flat_hash_set<std::string> seen;
    std::optional<std::string> key;
  };
  const DocumentLimits& limits_;
  std::vector<Level> open_;
  std::optional<Node> root_;
  size_t values_ = 0;
};

Node Scalar(Node::Kind kind, std::string text, int line, int column) {
  Node node;
  node.kind = kind;
  node.text = std::move(text);
  node.line = line;
  node.column = column;
  return node;
}

template <size_t n>
bool OneOf(std::string_view text, const std::array<std::string_view, n>& words) {
  return std::find(words.begin(), words.end(), text) != words.end();
}

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

Node Plain(const std::string& text, int line, int column) {
  static constexpr std::array<std::string_view, 5> kNull{"", "~", "null", "Null", "NULL"};
  static constexpr std::array<std::string_view, 11> kTrue{"y",    "Y",    "yes", "Yes", "YES", "true",
                                                          "True", "TRUE", "on",  "On",  "ON"};
  static constexpr std::array<std::string_view, 11> kFalse{"n",     "N",     "no",  "No",  "NO", "false",
                                                           "False", "FALSE", "off", "Off", "OFF"};
  if (OneOf(text, kNull)) return Scalar(Node::Kind::kNull, "", line, column);
  if (OneOf(text, kTrue)) return Scalar(Node::Kind::kBool, "true", line, column);
  if (OneOf(text, kFalse)) return Scalar(Node::Kind::kBool, "false", line, column);
  if (IsDigit(text[0]) || text[0] == '-' || text[0] == '+' || text[0] == '.') {
    std::string bare = text;
    std::erase(bare, '_');
    if (std::optional<std::string> integer = DecimalInteger(bare)) {
      return Scalar(Node::Kind::kNumber, *std::move(integer), line, column);
    }
    if (LooksLikeFloat(bare)) return Scalar(Node::Kind::kNumber, std::move(bare), line, column);
  }
  return Scalar(Node::Kind::kString, text, line, column);
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
  absl::flat_hash_set<std::string> present(map.keys.begin(), map.keys.end());
  for (Node& source : sources) {
    if (source.kind != Node::Kind::kMap) throw Refused{map.line, map.column, "<< must merge a map or a list of maps"};
    for (size_t i = 0; i < source.keys.size(); ++i) {
      if (!present.insert(source.keys[i]).second) continue;
      map.keys.push_back(std::move(source.keys[i]));
      map.children.push_back(std::move(source.children[i]));
    }
  }
}

// Both from 1.
struct Place {
  int line = 1;
  int column = 0;
};

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
    Take(Scalar(Node::Kind::kNull, "", mark.line + 1, mark.column + 1), "", anchor);
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) throw Refused{mark.line + 1, mark.column + 1, "alias to what is not complete yet"};
    Place place{mark.line + 1, mark.column + 1};
    const Node& target = found->second.node;
    // Counted before it is copied: a few lines of aliases to aliases can stand for billions of values.
    if (static_cast<int>(tree_.depth()) + found->second.depth > limits_.depth) {
      throw Refused{place.line, place.column, Cat("is nested deeper than ", limits_.depth, " levels")};
    }
    if (tree_.ExpectsKey()) return Take(target, target.text, 0);
    Node here;
    here.line = place.line;
    here.column = place.column;
    tree_.Count(here, found->second.values - 1);
    Take(target, target.text, 0);
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    const Place place{mark.line + 1, mark.column + 1};
    const bool is_string = tag == "!" || tag == "tag:yaml.org,2002:str";
    if (!is_string && tag != "?" && !tag.empty() && !tag.starts_with("tag:yaml.org,2002:")) {
      throw Refused{place.line, place.column, Cat("unknown tag ", absl::Utf8SafeCEscape(tag.substr(0, 40)))};
    }
    Take(is_string ? Scalar(Node::Kind::kString, value, place.line, place.column)
                   : Plain(value, place.line, place.column),
         value, anchor);
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
    if (tree_.ExpectsKey()) throw Refused{mark.line + 1, mark.column + 1, "a key must be a plain value"};
    tree_.Open(kind, mark.line + 1, mark.column + 1);
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
      throw Refused{node.line, node.column, "a key must be a plain value"};
    }
    tree_.Key(text, node.line, node.column);
  }
  void Remember(const Node& node, YAML::anchor_t anchor) {
    if (anchor == 0) return;
    const size_t values = CountValues(node);
    tree_.Count(node, values);  // the copy that is kept costs as much
    anchors_.insert_or_assign(anchor, Anchored{node, values, Depth(node)});
  }

  const DocumentLimits& limits_;
  TreeBuilder tree_;
  std::vector<YAML::anchor_t> open_anchors_;
  std::map<YAML::anchor_t, Anchored> anchors_;
};

// Counts lines and columns as the JSON parser takes characters.
struct JsonPosition {
  Place last;         // of the character taken last
  Place before_last;  // and of the one before it: a number ends there, since it takes one more to see its end
};
class CountingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;
  CountingIterator(const char* at, JsonPosition* position) : at_(at), position_(position) {}
  reference operator*() const { return *at_; }
  CountingIterator& operator++() {
    position_->before_last = position_->last;
    if (*at_ == '\n') {
      ++position_->last.line;
      position_->last.column = 0;
    } else {
      ++position_->last.column;
    }
    ++at_;
    return *this;
  }
  friend bool operator==(const CountingIterator& a, const CountingIterator& b) { return a.at_ == b.at_; }
  friend bool operator!=(const CountingIterator& a, const CountingIterator& b) { return a.at_ != b.at_; }

 private:
  const char* at_;
  JsonPosition* position_;
};

// A value's place is where its last character stands; a list's or map's, where it opens.
class JsonEvents final : public nlohmann::json_sax<nlohmann::json> {
 public:
  JsonEvents(const DocumentLimits& limits, const JsonPosition& position) : tree_(limits), position_(position) {}

  bool null() override { return Take(Node::Kind::kNull, ""); }
  bool boolean(bool value) override { return Take(Node::Kind::kBool, value ? "true" : "false"); }
  bool number_integer(number_integer_t value) override { return Number(std::to_string(value)); }
  bool number_unsigned(number_unsigned_t value) override { return Number(std::to_string(value)); }
  bool number_float(number_float_t /*value*/, const string_t& text) override { return Number(text); }
  bool string(string_t& value) override { return Take(Node::Kind::kString, std::move(value)); }
  bool binary(binary_t& /*value*/) override { return false; }  // JSON text holds none
  bool start_object(size_t /*elements*/) override { return Open(Node::Kind::kMap); }
  bool key(string_t& value) override {
    tree_.Key(std::move(value), position_.last.line, position_.last.column);
    return true;
  }
  bool end_object() override { return Close(); }
  bool start_array(size_t /*elements*/) override { return Open(Node::Kind::kList); }
  bool end_array() override { return Close(); }
  bool parse_error(size_t /*position*/, const std::string& last_token,
                   const nlohmann::detail::exception& error) override {
    // The parser's text begins with its own error number and ends with what it met and what it expected.
    std::string_view what = error.what();
    if (const size_t colon = what.find(": "); colon != std::string_view::npos) what.remove_prefix(colon + 2);
    throw Refused{position_.last.line, position_.last.column,
                  Cat("is not JSON near \"", absl::Utf8SafeCEscape(last_token.substr(0, 40)),
                      "\": ", absl::Utf8SafeCEscape(ToAbsl(what.substr(0, 160))))};
  }

  std::optional<Node> TakeRoot() { return tree_.TakeRoot(); }

 private:
  bool Take(Node::Kind kind, std::string text) {
    tree_.Value(Scalar(kind, std::move(text), position_.last.line, position_.last.column));
    return true;
  }
  bool Number(std::string text) {
    const Place& place = position_.before_last;
    tree_.Value(Scalar(Node::Kind::kNumber, std::move(text), place.line, place.column));
    return true;
  }
  bool Open(Node::Kind kind) {
    tree_.Open(kind, position_.last.line, position_.last.column);
    return true;
  }
  bool Close() {
    tree_.Close();
    return true;
  }
  TreeBuilder tree_;
  const JsonPosition& position_;
};

void Walk(const nlohmann::json& json, TreeBuilder& tree) {
  switch (json.type()) {
    case nlohmann::json::value_t::object:
      tree.Open(Node::Kind::kMap, 0, 0);
      for (const auto& [key, value] : json.items()) {
        tree.Key(key, 0, 0);
        Walk(value, tree);
      }
      return tree.Close();
    case nlohmann::json::value_t::array:
      tree.Open(Node::Kind::kList, 0, 0);
      for (const nlohmann::json& item : json) Walk(item, tree);
      return tree.Close();
    case nlohmann::json::value_t::string: return tree.Value(Scalar(Node::Kind::kString, json.get<std::string>(), 0, 0));
    case nlohmann::json::value_t::boolean:
      return tree.Value(Scalar(Node::Kind::kBool, json.get<bool>() ? "true" : "false", 0, 0));
    case nlohmann::json::value_t::number_integer:
    case nlohmann::json::value_t::number_unsigned:
    case nlohmann::json::value_t::number_float: return tree.Value(Scalar(Node::Kind::kNumber, json.dump(), 0, 0));
    case nlohmann::json::value_t::null:
    case nlohmann::json::value_t::binary:
    case nlohmann::json::value_t::discarded: return tree.Value(Scalar(Node::Kind::kNull, "", 0, 0));
  }
}

}  // namespace

absl::StatusOr<std::vector<Node>> ReadYaml(std::string_view text, std::string_view source,
                                           const DocumentLimits& limits) {
  if (text.size() > limits.bytes) return TooLarge(source, text.size(), limits);
  if (size_t at = 0; !IsUtf8(text, at)) {
    const std::string_view before = text.substr(0, at);
    const auto line = std::count(before.begin(), before.end(), '\n') + 1;
    const size_t line_start = before.rfind('\n') == std::string_view::npos ? 0 : before.rfind('\n') + 1;
    return At(source, static_cast<int>(line), static_cast<int>(at - line_start) + 1, "is not UTF-8");
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
    return At(source, refused.line, refused.column, refused.what);
  } catch (const YAML::Exception& error) {
    return At(source, error.mark.line + 1, error.mark.column + 1, Cat("is not YAML: ", error.msg.substr(0, 160)));
  }
  return documents;
}

absl::StatusOr<Node> ReadJson(std::string_view text, std::string_view source, const DocumentLimits& limits) {
  if (text.size() > limits.bytes) return TooLarge(source, text.size(), limits);
  JsonPosition position;
  JsonEvents events(limits, position);
  try {
    if (!nlohmann::json::sax_parse(CountingIterator(text.data(), &position),
                                   CountingIterator(text.data() + text.size(), &position), &events)) {
      return At(source, position.last.line, position.last.column, "is not JSON");
    }
  } catch (const Refused& refused) {
    return At(source, refused.line, refused.column, refused.what);
  }
  std::optional<Node> root = events.TakeRoot();
  if (!root) return At(source, position.last.line, position.last.column, "is empty");
  return *std::move(root);
}

absl::StatusOr<Node> ToNode(const nlohmann::json& json, const DocumentLimits& limits) {
  TreeBuilder tree(limits);
  try {
    Walk(json, tree);
  } catch (const Refused& refused) {
    return At("", 0, 0, refused.what);
  }
  return *tree.TakeRoot();
}

}  // namespace podfence
