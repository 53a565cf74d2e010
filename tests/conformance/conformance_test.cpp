#include <gtest/gtest.h>

#include <sstream>
#include <string>

#include "agent/commands/replay_input.h"
#include "agent/commands/replay_report.h"
#include "agent/commands/replay_run.h"

namespace podfence {
namespace {

ReplayResult ReplayFile(const std::string& name) {
  Replay replay;
  const absl::Status status = ForEachVector(std::string(PODFENCE_VECTORS) + "/" + name,
                                            [&](const RecordedVector& recorded) { replay.Run(recorded); });
  EXPECT_TRUE(status.ok()) << status;
  return replay.result();
}

std::string Report(const ReplayResult& result) {
  std::ostringstream report;
  PrintReplay(result, /*timing=*/false, report);
  return report.str();
}

TEST(Conformance, EveryScenarioIsDecidedAsTheKubeletDoes) {
  const ReplayResult result = ReplayFile("scenarios.jsonl.gz");
  EXPECT_EQ(result.mismatches, 0u) << Report(result);
  EXPECT_EQ(result.scenarios, 3782u);
}

TEST(Conformance, OnCoresOfUnequalThreadsTheInvariantsHold) {
  const ReplayResult result = ReplayFile("asymmetric.jsonl.gz");
  EXPECT_EQ(result.mismatches, 0u) << Report(result);
  EXPECT_EQ(result.scenarios, 234u);
}

TEST(Conformance, EveryMergeComesOutAsTheKubeletsWalk) {
  const ReplayResult result = ReplayFile("merges.jsonl.gz");
  EXPECT_EQ(result.mismatches, 0u) << Report(result);
  EXPECT_EQ(result.merges, 2018u);
}

}  // namespace
}  // namespace podfence
