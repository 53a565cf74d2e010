#include "agent/commands/table.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <numeric>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "agent/core/text.h"

namespace podfence {
namespace {

constexpr size_t kMinWidth = 40;
constexpr size_t kDefaultWidth = 80;
constexpr size_t kGap = 2;
constexpr size_t kMinColumn = 8;  // narrower than this a column is not worth reading

bool BeginsCodePoint(char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }

// The byte at which column `width` begins.
size_t ByteOfColumn(std::string_view text, size_t width) {
  size_t columns = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (BeginsCodePoint(text[i]) && columns++ == width) return i;
  }
  return text.size();
}

// Where a line of at most `width` columns best ends, in bytes; more than none.
size_t BreakAt(std::string_view text, size_t width) {
  const size_t limit = ByteOfColumn(text, width);
  if (limit == text.size()) return limit;
  // A blank just behind the limit ends the line there too.
  const size_t space = text.substr(0, limit + 1).rfind(' ');
  if (space != std::string_view::npos && space > 0) return space;
  const size_t mark = text.substr(0, limit).find_last_of(",/");
  if (mark != std::string_view::npos) return mark + 1;
  for (size_t i = limit; i-- > 1;) {
    if (text[i] == '-' && absl::ascii_isalpha(static_cast<unsigned char>(text[i + 1]))) return i + 1;
  }
  return limit;
}

const char* Code(Colour colour) {
  static constexpr std::array<const char*, 9> kCodes = {"", "1", "2", "31", "32", "33", "34", "35", "36"};
  return kCodes[static_cast<size_t>(colour)];
}

// Texts come from manifests, cgroup names, processes: nothing in them may steer the terminal.
std::string Printable(std::string text) {
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte == '\n' || byte == '\t') {
      text[i] = ' ';
    } else if (byte < 0x20 || byte == 0x7f) {
      text[i] = '?';
    } else if (byte == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0) {
      text.replace(i, 2, "?");  // U+0080 to U+009F
    }
  }
  return text;
}

}  // namespace

std::string Fixed(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

std::string Count(uint64_t count, const char* one, const char* many) {
  return Cat(count, " ", count == 1 ? one : many);
}

Terminal DetectTerminal(int fd) {
  Terminal terminal;
  const bool is_terminal = isatty(fd) == 1;
  winsize size = {};
  size_t columns = 0;
  if (is_terminal && ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
    columns = size.ws_col;
  } else {
    const char* variable = std::getenv("COLUMNS");
    if (variable == nullptr || !absl::SimpleAtoi(variable, &columns)) columns = kDefaultWidth;
  }
  terminal.width = std::max(columns, kMinWidth);
  const char* no_color = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  terminal.colour =
      is_terminal && (no_color == nullptr || *no_color == 0) && term != nullptr && std::string_view(term) != "dumb";
  return terminal;
}

std::string Paint(std::string_view text, Colour colour, const Terminal& terminal) {
  if (!terminal.colour || colour == Colour::kPlain || text.empty()) return std::string(text);
  return Cat("\033[", Code(colour), "m", text, "\033[0m");
}

size_t DisplayWidth(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), BeginsCodePoint));
}

std::vector<std::string> Wrap(std::string_view text, size_t width) {
  std::vector<std::string> lines;
  width = std::max<size_t>(width, 1);
  const size_t blanks = std::min(text.find_first_not_of(' '), text.size());
  const std::string indent(blanks < width ? blanks : 0, ' ');
  text.remove_prefix(blanks);
  width -= indent.size();
  while (DisplayWidth(text) > width) {
    const size_t end = BreakAt(text, width);
    lines.push_back(Cat(indent, text.substr(0, end)));
    text.remove_prefix(end);
    while (text.starts_with(' ')) text.remove_prefix(1);
  }
  lines.push_back(Cat(indent, text));
  return lines;
}

void Table::AddRow(std::vector<Cell> row) {
  row.resize(columns_.size(), Cell(""));
  for (Cell& cell : row) cell.text = Printable(std::move(cell.text));
  rows_.push_back(std::move(row));
}

void Table::AddGroup(Cell title) {
  title.text = Printable(std::move(title.text));
  rows_.push_back({std::move(title)});
}

std::vector<size_t> Table::Widths(size_t width) const {
  std::vector<size_t> widths;
  for (size_t i = 0; i < columns_.size(); ++i) {
    size_t widest = DisplayWidth(columns_[i].title);
    for (const std::vector<Cell>& row : rows_) {
      if (!IsGroup(row)) widest = std::max(widest, DisplayWidth(row[i].text));
    }
    widths.push_back(widest);
  }
  const size_t gaps = kGap * (columns_.size() - 1);
  size_t total = std::accumulate(widths.begin(), widths.end(), gaps);
  while (total > width) {
    const auto widest = std::max_element(widths.begin(), widths.end());
    if (*widest <= kMinColumn) break;  // too many columns for any layout: the lines overflow
    --*widest;
    --total;
  }
  // Wrapped lines rarely fill a narrowed column.
  for (size_t i = 0; i < columns_.size(); ++i) {
    size_t used = 0;
    const auto use = [&](std::string_view text) {
      for (const std::string& line : Wrap(text, widths[i])) used = std::max(used, DisplayWidth(line));
    };
    use(columns_[i].title);
    for (const std::vector<Cell>& row : rows_) {
      if (!IsGroup(row)) use(row[i].text);
    }
    widths[i] = used;
  }
  return widths;
}

std::string Table::Render(const Terminal& terminal) const {
  if (rows_.empty()) return "";
  const std::vector<size_t> widths = Widths(terminal.width);
  std::string result;
  const auto add = [&](const std::vector<Cell>& row) {
    std::vector<std::vector<std::string>> cells;
    size_t height = 0;
    for (size_t i = 0; i < row.size(); ++i) {
      cells.push_back(Wrap(row[i].text, widths[i]));
      height = std::max(height, cells.back().size());
    }
    for (size_t line = 0; line < height; ++line) {
      size_t pending = 0;  // blanks, written only before something visible
      for (size_t i = 0; i < row.size(); ++i) {
        const std::string text = line < cells[i].size() ? cells[i][line] : "";
        const size_t pad = widths[i] - std::min(widths[i], DisplayWidth(text));
        const bool right = columns_[i].align == Align::kRight;
        if (right) pending += pad;
        if (!text.empty()) {
          result.append(pending, ' ');
          result += Paint(text, row[i].colour, terminal);
          pending = 0;
        }
        pending += (right ? 0 : pad) + kGap;
      }
      result += '\n';
    }
  };
  std::vector<Cell> heading;
  for (const Column& column : columns_) heading.emplace_back(column.title, Colour::kBold);
  add(heading);
  for (const std::vector<Cell>& row : rows_) {
    if (!IsGroup(row)) {
      add(row);
      continue;
    }
    for (const std::string& line : Wrap(row[0].text, terminal.width)) {
      absl::StrAppend(&result, Paint(line, row[0].colour, terminal), "\n");
    }
  }
  return result;
}

void AddSection(std::string& text, std::string_view heading, const std::string& section, const Terminal& terminal) {
  if (section.empty()) return;
  absl::StrAppend(&text, "\n", Paint(heading, Colour::kBold, terminal), "\n", section);
}

std::string FormatBytes(uint64_t bytes) {
  static constexpr std::array<const char*, 7> kUnits = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  size_t unit = 0;
  auto value = static_cast<double>(bytes);
  for (; value >= 1024 && unit + 1 < kUnits.size(); ++unit) value /= 1024;
  char text[32];
  const bool whole = value == static_cast<double>(static_cast<uint64_t>(value));
  std::snprintf(text, sizeof(text), whole || value >= 100 ? "%.0f %s" : "%.1f %s", value, kUnits[unit]);
  return text;
}

}  // namespace podfence
