#include "agent/run_queue.h"

#include <gtest/gtest.h>

namespace podfence {
namespace {

TEST(RunQueueTest, NothingIsLostWhereRangesAreFolded) {
  WaitHistogram wait;
  for (size_t i = 0; i < kWaitBuckets; ++i) wait.counts[i] = i + 1;
  wait.total_ns = 2500000000;
  const RunQueueView view = RunQueueOf(wait);
  EXPECT_EQ(view.waits.Count(), wait.Count());
  EXPECT_EQ(view.waits.sum, 2.5);
  EXPECT_EQ(view.waits.bounds.size(), 11u);
  EXPECT_EQ(view.waits.bounds.front(), 1.024e-6);
  EXPECT_EQ(view.waits.bounds.back(), 1024e-9 * (1 << 20));
  EXPECT_EQ(view.waits.counts.front(), 1u) << "below 1024 ns";
  EXPECT_EQ(view.waits.counts[1], 2u + 3u) << "below 2048 and below 4096 ns";
  EXPECT_EQ(view.waits.counts.back(), kWaitBuckets) << "longer than the last bound";
}

TEST(RunQueueTest, QuantilesAreThoseOfTheFineRanges) {
  WaitHistogram wait;
  wait.counts[1] = 900;   // 1.024 to 2.048 us
  wait.counts[11] = 100;  // 1.05 to 2.1 ms
  const RunQueueView view = RunQueueOf(wait);
  EXPECT_NEAR(view.p50_seconds, 1.024e-6 * (1 + 500.0 / 900), 1e-12);
  EXPECT_NEAR(view.p90_seconds, 2.048e-6, 1e-12);
  EXPECT_NEAR(view.p99_seconds, 1.048576e-3 * 1.9, 1e-9);
  EXPECT_NEAR(view.p999_seconds, 1.048576e-3 * 1.99, 1e-9);
}

TEST(RunQueueTotalsTest, SumsNeverFallWhenContainersComeAndGo) {
  WaitHistogram wait;
  RunQueueTotals totals;
  for (std::string_view assignment : kRunQueueAssignments) {
    EXPECT_EQ(totals.sums().at(std::string(assignment)).Count(), 0u) << assignment;
  }
  const auto add = [&](uint64_t count) {
    wait.counts[3] = count;
    wait.total_ns = count * 1000000000;
    totals.Add("u", "main", "exclusive", RunQueueOf(wait).waits);
    return totals.sums().at("exclusive").Count();
  };
  EXPECT_EQ(add(5), 5u);
  EXPECT_EQ(add(7), 7u);
  EXPECT_EQ(add(2), 9u) << "a new cgroup begins at 0";
  totals.Forget([](const std::string& uid) { return uid == "u"; });
  EXPECT_EQ(add(1), 10u);
  EXPECT_EQ(totals.sums().at("exclusive").sum, 10);
  EXPECT_EQ(totals.sums().at("pod_shared").Count(), 0u);
}

}  // namespace
}  // namespace podfence
