#include "agent/core/histogram.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace podfence {
namespace {

using ::testing::ElementsAre;

TEST(HistogramTest, AValueIsInTheRangeThatEndsAtOrAboveIt) {
  Histogram histogram({1, 2});
  for (double value : {0.5, 1.0, 1.5, 2.5}) histogram.Observe(value);
  EXPECT_THAT(histogram.counts, ElementsAre(2, 1, 1));
  EXPECT_EQ(histogram.sum, 5.5);
  EXPECT_EQ(histogram.Count(), 4u);
  histogram.Add(histogram);
  EXPECT_THAT(histogram.counts, ElementsAre(4, 2, 2));
  EXPECT_EQ(histogram.sum, 11);
}

TEST(HistogramTest, QuantilesAreSpreadOverTheirRange) {
  Histogram histogram({1, 2, 4});
  EXPECT_EQ(histogram.Quantile(0.5), 0) << "no value yet";
  histogram.counts = {0, 50, 40, 10};
  EXPECT_EQ(histogram.Quantile(0), 1);
  EXPECT_EQ(histogram.Quantile(0.25), 1.5);
  EXPECT_EQ(histogram.Quantile(0.5), 2);
  EXPECT_EQ(histogram.Quantile(0.9), 4);
  EXPECT_EQ(histogram.Quantile(0.99), 4) << "the last range has no end";
}

}  // namespace
}  // namespace podfence
