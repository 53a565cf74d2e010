#include "agent/cgroup/descriptor_limit.h"

#include <gtest/gtest.h>

namespace podfence {
namespace {

TEST(DescriptorLimitTest, TheSoftOneIsRaisedAndRemembered) {
  rlimit limit = {};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  limit.rlim_cur = 100;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  RaiseDescriptorLimit();
  rlimit now = {};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &now), 0);
  EXPECT_EQ(now.rlim_cur, limit.rlim_max);
  EXPECT_EQ(DescriptorLimitBefore().rlim_cur, 100U);
}

}  // namespace
}  // namespace podfence
