#include "agent/topology/isolation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "agent/core/text.h"

namespace podfence {
namespace {

using ::testing::HasSubstr;

Machine Small() {
  Machine machine;
  machine.name = "small";
  machine.nodes = {{0, 1024, {10}, {{2048, 3}}, {{0, 1, {0, 1}}}}};
  machine.offline = CpuSet{5, 7};
  return machine;
}

TEST(Isolation, BringsTheMachineBackWhole) {
  const Isolated result = LoadIsolated([] { return Small(); }, absl::Seconds(20));
  ASSERT_TRUE(result.machine.ok()) << result.machine.status();
  EXPECT_EQ(result.machine->nodes, Small().nodes);
  EXPECT_EQ(result.machine->offline, Small().offline);
  EXPECT_EQ(result.machine->name, "small");
  EXPECT_EQ(result.said, "");
}

TEST(Isolation, KeepsAnErrorAndWhatWasSaid) {
  const Isolated result = LoadIsolated(
      [] {
        fprintf(stderr, "an aside");
        return absl::StatusOr<Machine>(absl::NotFoundError("no such \xff thing"));
      },
      absl::Seconds(20));
  EXPECT_EQ(result.machine.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(result.machine.status().message()), HasSubstr("no such"));
  EXPECT_EQ(result.said, "an aside");
}

TEST(Isolation, BoundsWhatIsSaid) {
  const Isolated result = LoadIsolated(
      [] {
        for (int i = 0; i < 100000; ++i) fputs("noise ", stderr);
        return Small();
      },
      absl::Seconds(20));
  EXPECT_TRUE(result.machine.ok()) << result.machine.status();
  EXPECT_EQ(result.said.size(), 16384u);
}

TEST(Isolation, SurvivesACrash) {
  const Isolated result = LoadIsolated(
      []() -> absl::StatusOr<Machine> {
        signal(SIGABRT, SIG_DFL);
        abort();
      },
      absl::Seconds(20));
  EXPECT_EQ(result.machine.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ToStd(result.machine.status().message()), "hwloc crashed on it (Aborted)");
}

TEST(Isolation, EndsAtItsDeadline) {
  const Isolated result = LoadIsolated(
      [] {
        pause();
        return Small();
      },
      absl::Milliseconds(50));
  EXPECT_EQ(result.machine.status().code(), absl::StatusCode::kDeadlineExceeded);
}

TEST(Isolation, LeavesTheEnvironmentAlone) {
  setenv("HWLOC_SYNTHETIC", "pu:4", 1);
  const Isolated result = LoadIsolated(
      [] {
        Machine machine = Small();
        machine.name = getenv("HWLOC_SYNTHETIC") == nullptr ? "clean" : "dirty";
        return machine;
      },
      absl::Seconds(20));
  EXPECT_STREQ(getenv("HWLOC_SYNTHETIC"), "pu:4");
  unsetenv("HWLOC_SYNTHETIC");
  ASSERT_TRUE(result.machine.ok()) << result.machine.status();
  EXPECT_EQ(result.machine->name, "clean");
}

}  // namespace
}  // namespace podfence
