#include "agent/commands/table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

namespace podfence {
namespace {

using ::testing::ElementsAre;

constexpr Terminal kNarrow = {40, false};

TEST(Wrap, BreaksWhereAReaderWould) {
  EXPECT_THAT(Wrap("", 5), ElementsAre(""));
  EXPECT_THAT(Wrap("12345", 5), ElementsAre("12345"));
  EXPECT_THAT(Wrap("12345 789", 5), ElementsAre("12345", "789"));
  EXPECT_THAT(Wrap("one two three", 8), ElementsAre("one two", "three"));
  EXPECT_THAT(Wrap("0-3,8-11,16", 8), ElementsAre("0-3,", "8-11,16"));
  EXPECT_THAT(Wrap("default/database", 10), ElementsAre("default/", "database"));
  EXPECT_THAT(Wrap("metrics-exporter", 10), ElementsAre("metrics-", "exporter"));
  EXPECT_THAT(Wrap("1000-1023", 6), ElementsAre("1000-1", "023"));  // a range, not a name
  EXPECT_THAT(Wrap("abcdefghij", 4), ElementsAre("abcd", "efgh", "ij"));
  EXPECT_THAT(Wrap("äöüäöü", 4), ElementsAre("äöüä", "öü"));
  EXPECT_THAT(Wrap("  backup-agent", 10), ElementsAre("  backup-", "  agent"));
  EXPECT_THAT(Wrap("    ab", 4), ElementsAre("ab"));  // no room for the indentation
  EXPECT_THAT(Wrap("ab", 0), ElementsAre("a", "b"));
}

TEST(DisplayWidth, CountsCodePoints) { EXPECT_EQ(DisplayWidth("1·ß…"), 4u); }

TEST(Table, AlignsWithoutTrailingBlanks) {
  Table table({{"Name"}, {"Count", Table::Align::kRight}, {"Note"}});
  EXPECT_EQ(table.Render(kNarrow), "");
  table.AddRow({"a", "1", ""});
  table.AddRow({"longer", "1000000", "x"});
  table.AddRow({"b"});
  EXPECT_EQ(table.Render(kNarrow),
            "Name      Count  Note\n"
            "a             1\n"
            "longer  1000000  x\n"
            "b\n");
}

TEST(Table, WrapsTheWidestColumnsIntoTheWidth) {
  Table table({{"Pod"}, {"CPUs"}, {"Why", Table::Align::kRight}});
  table.AddRow({"default/database", "0-3,8-11,16-19,24-27", "no room at all"});
  const std::string text = table.Render(kNarrow);
  EXPECT_EQ(text,
            "Pod       CPUs                Why\n"
            "default/  0-3,8-11,    no room at\n"
            "database  16-19,24-27         all\n");
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    EXPECT_LE(DisplayWidth(text.substr(begin, end - begin)), 40u);
    begin = end + 1;
  }
}

TEST(Table, GroupsSpanAllColumns) {
  Table table({{"A"}, {"B"}});
  table.AddGroup("a title wider than both columns");
  table.AddRow({"1", "2"});
  EXPECT_EQ(table.Render(kNarrow), "A  B\na title wider than both columns\n1  2\n");
}

TEST(Table, NothingSteersTheTerminal) {
  Table table({{"A"}, {"B"}});
  table.AddGroup("g\x07");
  table.AddRow({"\033[2J", "a\nb\tc\xc2\x9bß"});
  EXPECT_EQ(table.Render(kNarrow), "A     B\ng?\n?[2J  a b c?ß\n");
}

TEST(Table, PaintsOnlyOnAColourTerminal) {
  Table table({{"A"}, {"B"}});
  table.AddRow({{"x", Colour::kRed}, {"y"}});
  EXPECT_EQ(table.Render({80, true}), "\033[1mA\033[0m  \033[1mB\033[0m\n\033[31mx\033[0m  y\n");
  EXPECT_EQ(table.Render({80, false}), "A  B\nx  y\n");
}

TEST(DetectTerminal, APipeHasColumnsAndNoColour) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  unsetenv("COLUMNS");
  EXPECT_EQ(DetectTerminal(ends[1]).width, 80u);
  EXPECT_FALSE(DetectTerminal(ends[1]).colour);
  setenv("COLUMNS", "133", 1);
  EXPECT_EQ(DetectTerminal(ends[1]).width, 133u);
  setenv("COLUMNS", "3", 1);
  EXPECT_EQ(DetectTerminal(ends[1]).width, 40u);
  setenv("COLUMNS", "wide", 1);
  EXPECT_EQ(DetectTerminal(ends[1]).width, 80u);
  unsetenv("COLUMNS");
  close(ends[0]);
  close(ends[1]);
}

TEST(FormatBytes, UsesBinaryUnits) {
  EXPECT_EQ(FormatBytes(0), "0 B");
  EXPECT_EQ(FormatBytes(1023), "1023 B");
  EXPECT_EQ(FormatBytes(1536), "1.5 KiB");
  EXPECT_EQ(FormatBytes(uint64_t{24} << 30), "24 GiB");
  EXPECT_EQ(FormatBytes(68682809344), "64.0 GiB");
  EXPECT_EQ(FormatBytes(~uint64_t{0}), "16 EiB");
}

}  // namespace
}  // namespace podfence
