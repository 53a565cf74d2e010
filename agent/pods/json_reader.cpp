#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_replace.h"
#include "agent/core/text.h"
#include "agent/pods/tree_builder.h"

namespace podfence {
namespace {

// Counts lines and columns as the JSON parser takes characters.
struct JsonPosition {
  Place last{1, 0};   // of the character taken last
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
    tree_.Key(std::move(value), position_.last);
    return true;
  }
  bool end_object() override { return Close(); }
  bool start_array(size_t /*elements*/) override { return Open(Node::Kind::kList); }
  bool end_array() override { return Close(); }
  bool parse_error(size_t /*position*/, const std::string& /*last_token*/,
                   const nlohmann::detail::exception& error) override {
    // The parser's text begins with its own error number and its own idea of the place.
    std::string_view what = error.what();
    for (std::string_view lead : {"] ", ": "}) {
      if (const size_t end = what.find(lead); end != std::string_view::npos) what.remove_prefix(end + lead.size());
    }
    const std::string printable =
        absl::StrReplaceAll(absl::Utf8SafeCEscape(ToAbsl(what.substr(0, 160))), {{"\\'", "'"}, {"\\\"", "\""}});
    throw Refused{position_.last, Cat("is not JSON: ", printable)};
  }

  std::optional<Node> TakeRoot() { return tree_.TakeRoot(); }

 private:
  bool Take(Node::Kind kind, std::string text) {
    tree_.Value(Scalar(kind, std::move(text), position_.last));
    return true;
  }
  bool Number(std::string text) {
    const Place& place = position_.before_last;
    tree_.Value(Scalar(Node::Kind::kNumber, std::move(text), place));
    return true;
  }
  bool Open(Node::Kind kind) {
    tree_.Open(kind, position_.last);
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
      tree.Open(Node::Kind::kMap, Place());
      for (const auto& [key, value] : json.items()) {
        tree.Key(key, Place());
        Walk(value, tree);
      }
      return tree.Close();
    case nlohmann::json::value_t::array:
      tree.Open(Node::Kind::kList, Place());
      for (const nlohmann::json& item : json) Walk(item, tree);
      return tree.Close();
    case nlohmann::json::value_t::string:
      return tree.Value(Scalar(Node::Kind::kString, json.get<std::string>(), Place()));
    case nlohmann::json::value_t::boolean:
      return tree.Value(Scalar(Node::Kind::kBool, json.get<bool>() ? "true" : "false", Place()));
    case nlohmann::json::value_t::number_integer:
    case nlohmann::json::value_t::number_unsigned:
    case nlohmann::json::value_t::number_float: return tree.Value(Scalar(Node::Kind::kNumber, json.dump(), Place()));
    case nlohmann::json::value_t::null:
    case nlohmann::json::value_t::binary:
    case nlohmann::json::value_t::discarded: return tree.Value(Scalar(Node::Kind::kNull, "", Place()));
  }
}

}  // namespace

absl::StatusOr<Node> ReadJson(std::string_view text, std::string_view source, const DocumentLimits& limits) {
  if (text.size() > limits.bytes) return TooLargeStatus(source, text.size(), limits);
  JsonPosition position;
  JsonEvents events(limits, position);
  try {
    if (!nlohmann::json::sax_parse(CountingIterator(text.data(), &position),
                                   CountingIterator(text.data() + text.size(), &position), &events)) {
      return RefusedStatus(source, position.last, "is not JSON");
    }
  } catch (const Refused& refused) {
    return RefusedStatus(source, refused.place, refused.what);
  }
  std::optional<Node> root = events.TakeRoot();
  if (!root) return RefusedStatus(source, position.last, "is empty");
  return *std::move(root);
}

absl::StatusOr<Node> ToNode(const nlohmann::json& json, const DocumentLimits& limits) {
  TreeBuilder tree(limits);
  try {
    Walk(json, tree);
  } catch (const Refused& refused) {
    return RefusedStatus("", refused.place, refused.what);
  }
  return *tree.TakeRoot();
}

}  // namespace podfence
