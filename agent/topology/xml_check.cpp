#include "agent/topology/xml_check.h"

#include <algorithm>
#include <string>
#include <vector>

#include "agent/core/text.h"

namespace podfence {
namespace {

constexpr size_t kMaxDepth = 128;
constexpr size_t kMaxShownName = 40;
constexpr std::string_view kSpace = " \t\r\n";

struct Open {
  std::string_view name;
  size_t line;
};

class Checker {
 public:
  Checker(std::string_view text, std::string_view root) : text_(text), root_(root) {}

  absl::Status Run() {
    while (position_ < text_.size()) {
      const size_t tag = text_.find('<', position_);
      const std::string_view between = text_.substr(position_, tag - position_);
      if (open_.empty() && between.find_first_not_of(kSpace) != std::string_view::npos) {
        position_ += between.find_first_not_of(kSpace);
        return Wrong(position_, Cat("text outside of <", root_, ">: this is no hwloc XML file"));
      }
      if (tag == std::string_view::npos) break;
      position_ = tag;
      if (absl::Status status = Markup(); !status.ok()) return status;
    }
    if (!open_.empty()) {
      return Wrong(text_.size(), Cat("the file ends inside <", open_.back().name, ">, opened in line ",
                                     open_.back().line, ": it is cut short"));
    }
    if (!seen_root_) return Wrong(0, Cat("has no element <", root_, ">"));
    return absl::OkStatus();
  }

 private:
  absl::Status Wrong(size_t at, std::string_view what) const {
    return absl::InvalidArgumentError(Cat("line ", LineOf(at), ": ", what));
  }
  size_t LineOf(size_t at) const {
    return 1 + static_cast<size_t>(std::count(text_.begin(), text_.begin() + static_cast<ptrdiff_t>(at), '\n'));
  }

  absl::Status Skip(std::string_view end) {
    const size_t found = text_.find(end, position_);
    if (found == std::string_view::npos) return Wrong(position_, Cat("nothing closes this with ", end));
    position_ = found + end.size();
    return absl::OkStatus();
  }

  absl::Status Markup() {
    const std::string_view rest = text_.substr(position_);
    if (rest.starts_with("<!--")) return Skip("-->");
    if (rest.starts_with("<?")) return Skip("?>");
    if (rest.starts_with("<![CDATA[")) return Skip("]]>");
    if (rest.starts_with("<!")) return Skip(">");
    return Tag();
  }

  absl::Status Tag() {
    const size_t start = position_;
    // The end of the tag is the first ">" outside of quotes.
    size_t end = start + 1;
    for (char quote = 0; end < text_.size() && (quote != 0 || text_[end] != '>'); ++end) {
      const char c = text_[end];
      if (c == '<') return Wrong(end, "a \"<\" inside of a tag");
      if (quote == 0 && (c == '"' || c == '\'')) {
        quote = c;
      } else if (c == quote) {
        quote = 0;
      }
    }
    if (end >= text_.size()) return Wrong(start, "the file ends inside this tag: it is cut short");
    std::string_view inside = text_.substr(start + 1, end - start - 1);
    position_ = end + 1;
    // Lines are counted from tag to tag, so that the whole file costs one pass.
    line_ += static_cast<size_t>(std::count(text_.begin() + static_cast<ptrdiff_t>(counted_),
                                            text_.begin() + static_cast<ptrdiff_t>(start), '\n'));
    counted_ = start;

    const bool closes = inside.starts_with('/');
    const bool empty = inside.ends_with('/');
    if (closes) inside.remove_prefix(1);
    if (empty) inside.remove_suffix(1);
    const std::string_view name = inside.substr(0, inside.find_first_of(kSpace));
    if (name.empty() || (closes && empty)) return Wrong(start, "a tag without a name");
    return closes ? Close(name, start) : Start(name, start, empty);
  }

  absl::Status Close(std::string_view name, size_t at) {
    if (open_.empty()) return Wrong(at, Cat("</", name.substr(0, kMaxShownName), "> closes nothing"));
    const Open last = open_.back();
    if (last.name != name) {
      return Wrong(at, Cat("</", name.substr(0, kMaxShownName), "> closes <", last.name.substr(0, kMaxShownName),
                           ">, opened in line ", last.line));
    }
    open_.pop_back();
    return absl::OkStatus();
  }

  absl::Status Start(std::string_view name, size_t at, bool empty) {
    if (open_.empty() && (seen_root_ || name != root_)) {
      const std::string expected = seen_root_ ? std::string("the end of the file") : Cat("<", root_, ">");
      return Wrong(at, Cat("<", name.substr(0, kMaxShownName), "> where ", expected, " is expected"));
    }
    seen_root_ = true;
    if (empty) return absl::OkStatus();
    if (open_.size() == kMaxDepth) return Wrong(at, Cat("elements are nested deeper than ", kMaxDepth));
    open_.push_back({name, line_});
    return absl::OkStatus();
  }

  std::string_view text_;
  std::string_view root_;
  size_t position_ = 0;
  size_t counted_ = 0;
  size_t line_ = 1;
  bool seen_root_ = false;
  std::vector<Open> open_;
};

}  // namespace

absl::Status CheckXml(std::string_view text, std::string_view root) { return Checker(text, root).Run(); }

}  // namespace podfence
