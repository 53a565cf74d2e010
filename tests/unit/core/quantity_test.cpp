#include "agent/core/quantity.h"

#include <fstream>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace podfence {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
constexpr int64_t kMin = std::numeric_limits<int64_t>::min();

Quantity Q(std::string_view text) {
  const absl::StatusOr<Quantity> quantity = Quantity::Parse(text);
  EXPECT_TRUE(quantity.ok()) << quantity.status();
  return quantity.value_or(Quantity());
}

std::string FormatName(Quantity::Format format) {
  switch (format) {
    case Quantity::Format::kDecimalSI: return "DecimalSI";
    case Quantity::Format::kBinarySI: return "BinarySI";
    case Quantity::Format::kDecimalExponent: return "DecimalExponent";
  }
  return "";
}

// tests/data/quantities.tsv holds what the reference makes of each text.
TEST(Quantity, AgreesWithTheReference) {
  std::ifstream file(PODFENCE_SOURCE_DIR "/tests/data/quantities.tsv");
  ASSERT_TRUE(file) << "tests/data/quantities.tsv cannot be read";
  int checked = 0;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with('#')) continue;
    const std::vector<std::string> column = absl::StrSplit(line, '\t');
    SCOPED_TRACE(line);
    const absl::StatusOr<Quantity> quantity = Quantity::Parse(column[0]);
    ++checked;
    if (column[1] == "error") {
      EXPECT_FALSE(quantity.ok());
      continue;
    }
    ASSERT_EQ(column.size(), 5u);
    ASSERT_TRUE(quantity.ok()) << quantity.status();
    if (column[1] != "-") {
      EXPECT_EQ(std::to_string(quantity->Value()), column[1]);
    }
    if (column[2] != "-") {
      EXPECT_EQ(std::to_string(quantity->MilliValue()), column[2]);
    }
    if (column[3] != "-") {
      EXPECT_EQ(quantity->ToString(), column[3]);
    }
    EXPECT_EQ(FormatName(quantity->format()), column[4]);
  }
  EXPECT_GT(checked, 400);
}

TEST(Quantity, CanonicalFormParsesBackToTheSameAmount) {
  std::ifstream file(PODFENCE_SOURCE_DIR "/tests/data/quantities.tsv");
  for (std::string line; std::getline(file, line);) {
    const absl::StatusOr<Quantity> quantity = Quantity::Parse(line.substr(0, line.find('\t')));
    if (!quantity.ok()) continue;
    SCOPED_TRACE(line);
    const Quantity again = Q(quantity->ToString());
    EXPECT_EQ(again, *quantity);
    EXPECT_EQ(again.ToString(), quantity->ToString());
  }
}

TEST(Quantity, SaturatesBeyondInt64) {
  EXPECT_EQ(Q("10E").Value(), kMax);
  EXPECT_EQ(Q("-10E").Value(), kMin);
  EXPECT_EQ(Q("10P").MilliValue(), kMax);
  EXPECT_EQ(Q("-10P").MilliValue(), kMin);
  EXPECT_EQ(Q("1e2147483647").Value(), kMax);
  EXPECT_EQ(Q("-1e999999999999").Value(), kMin);
  EXPECT_EQ(Q("1e-999999999999").Value(), 1);
  EXPECT_EQ(Q("1e-999999999999").ToString(), "1e-9");
  EXPECT_EQ(Q(std::string(100000, '9')).Value(), kMax);
  EXPECT_EQ(Q("0." + std::string(100000, '0') + "1").ToString(), "1n");
  EXPECT_EQ(Q("0." + std::string(100000, '0') + "1Gi").ToString(), "1n");
  EXPECT_EQ(Q("0e2147483647").Value(), 0);
  EXPECT_EQ(Q("100Ei").Value(), kMax);
  EXPECT_EQ(Q("1000E").ToString(), "1000E");
}

TEST(Quantity, SumsSaturateAndKeepTheLeftFormat) {
  Quantity sum = Q("1Gi");
  sum += Q("1G");
  EXPECT_EQ(sum.ToString(), "2073741824");
  EXPECT_EQ(sum.format(), Quantity::Format::kBinarySI);
  sum -= Q("1G");
  EXPECT_EQ(sum.ToString(), "1Gi");

  Quantity zero;
  zero += Q("512Mi");
  EXPECT_EQ(zero.ToString(), "512Mi");
  zero -= Q("512Mi");
  EXPECT_TRUE(zero.IsZero());
  EXPECT_EQ(zero.format(), Quantity::Format::kBinarySI);
  zero -= Q("3e3");
  EXPECT_EQ(zero.ToString(), "-3e3");

  Quantity huge = Q("1e2000000");
  huge += Q("1e2000000");
  EXPECT_EQ(huge, Q("1e2000000"));
  Quantity low = Q("-1e2000000");
  low -= Q("1e2000000");
  EXPECT_EQ(low, Q("-1e2000000"));
}

TEST(Quantity, RoundsUpToMilli) {
  Quantity fine = Q("1.0001");
  fine.RoundUpToMilli();
  EXPECT_EQ(fine.ToString(), "1001m");
  Quantity negative = Q("-1.0001");
  negative.RoundUpToMilli();
  EXPECT_EQ(negative.ToString(), "-1001m");
  Quantity exact = Q("16Gi");
  exact.RoundUpToMilli();
  EXPECT_EQ(exact.ToString(), "16Gi");
  Quantity tiny = Q("1n");
  tiny.RoundUpToMilli();
  EXPECT_EQ(tiny, Q("1m"));
  Quantity huge = Q("1e2000000");
  huge.RoundUpToMilli();
  EXPECT_EQ(huge.Value(), kMax);
}

TEST(Quantity, ComparesByAmountAlone) {
  EXPECT_EQ(Q("1Ki"), Q("1024"));
  EXPECT_EQ(Q("1"), Q("1000m"));
  EXPECT_LT(Q("1n"), Q("1u"));
  EXPECT_LT(Q("-1"), Q("0"));
  EXPECT_GT(Q("8Ei"), Q("9E"));
}

TEST(Quantity, WholeAmounts) {
  EXPECT_TRUE(Q("2").IsIntegral());
  EXPECT_TRUE(Q("2000m").IsIntegral());
  EXPECT_FALSE(Q("1500m").IsIntegral());
  EXPECT_FALSE(Q("1n").IsIntegral());
  EXPECT_TRUE(Q("0").IsIntegral());
  EXPECT_EQ(Quantity::FromInt(3).ToString(), "3");
  EXPECT_EQ(Quantity::FromInt(kMin).Value(), kMin);
  EXPECT_EQ(Quantity::FromMilli(1500), Q("1.5"));
}

TEST(Quantity, ErrorsNameTheTextAndTheFault) {
  EXPECT_THAT(std::string(Quantity::Parse("5Kib").status().message()), HasSubstr("quantity \"5Kib\": unknown suffix"));
  EXPECT_THAT(std::string(Quantity::Parse("").status().message()), HasSubstr("is empty"));
  EXPECT_THAT(std::string(Quantity::Parse("Ei").status().message()), HasSubstr("no digits"));
  const std::string hostile = std::string("1\0\n\x1b[31m", 8) + std::string(1 << 20, 'x');
  const std::string message(Quantity::Parse(hostile).status().message());
  EXPECT_LT(message.size(), 400u);
  EXPECT_EQ(message.find('\x1b'), std::string::npos);
  EXPECT_EQ(message.find('\n'), std::string::npos);
}

}  // namespace
}  // namespace podfence
