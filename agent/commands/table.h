#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace podfence {

enum class Colour { kPlain, kBold, kDim, kRed, kGreen, kYellow, kBlue, kMagenta, kCyan };

// What the output goes to.
struct Terminal {
  size_t width = 80;
  bool colour = false;
};

// The terminal behind a file descriptor: its width by TIOCGWINSZ, else COLUMNS, else 80, never below 40; colour only on
// a terminal that is not "dumb", and not with a non-empty NO_COLOR (https://no-color.org).
Terminal DetectTerminal(int fd);

// text in colour, where the terminal has any.
std::string Paint(std::string_view text, Colour colour, const Terminal& terminal);

// "1.50": value with so many digits behind the point.
std::string Fixed(double value, int digits);
// "1 CPU", "2 CPUs".
std::string Count(uint64_t count, const char* one, const char* many);

// How many columns a UTF-8 text takes: one a code point. Names of Kubernetes are ASCII.
size_t DisplayWidth(std::string_view text);
// text in lines of at most `width` columns: broken at spaces, else behind commas and slashes, else behind the hyphens
// of names, else anywhere. Blanks at its beginning indent every line.
std::vector<std::string> Wrap(std::string_view text, size_t width);

// Columns under a heading, made for a terminal's width. Where they do not fit, the widest columns are narrowed, in
// turn, and their cells wrapped. Control characters in cells become "?". Empty where there are no rows.
class Table {
 public:
  enum class Align { kLeft, kRight };
  struct Column {
    std::string title;
    Align align = Align::kLeft;
  };
  struct Cell {
    Cell(std::string text, Colour colour = Colour::kPlain) : text(std::move(text)), colour(colour) {}  // NOLINT
    Cell(const char* text) : text(text) {}                                                             // NOLINT
    std::string text;
    Colour colour = Colour::kPlain;
  };

  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
  // Cells that are missing at the end of a row are empty.
  void AddRow(std::vector<Cell> row);
  // A line of its own across all columns, for the rows that follow.
  void AddGroup(Cell title);
  bool empty() const { return rows_.empty(); }
  // Lines ending in a newline, without blanks at their ends.
  std::string Render(const Terminal& terminal) const;

 private:
  bool IsGroup(const std::vector<Cell>& row) const { return row.size() != columns_.size(); }
  std::vector<size_t> Widths(size_t width) const;
  std::vector<Column> columns_;
  std::vector<std::vector<Cell>> rows_;  // a group's title is a row of one cell
};

// A section under its heading; nothing where the section is empty.
void AddSection(std::string& text, std::string_view heading, const std::string& section, const Terminal& terminal);

// "24.0 GiB", "512 MiB", "17 B": three figures or so, binary units.
std::string FormatBytes(uint64_t bytes);

}  // namespace podfence
