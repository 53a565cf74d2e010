#pragma once

#include <gtest/gtest.h>
#include <sys/types.h>

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "agent/server/snapshot.h"

namespace podfence {

// What /sys/fs/cgroup says, read by the test itself and not through the agent.
std::string ReadCgroupFile(const std::string& cgroup, const std::string& file);
// Writes without an expectation: what the test does to the node behind the agent's back.
bool WriteCgroupFile(const std::string& cgroup, const std::string& file, const std::string& value);
// Periods in which the cgroup was throttled (cpu.stat nr_throttled).
uint64_t ThrottledPeriods(const std::string& cgroup);

// The real agent as a process of its own, on the example pods, with directories that are gone afterwards. Pods that a
// test leaves behind are ended by the harness.
class AgentTest : public ::testing::Test {
 protected:
  static constexpr char kServer[] = "http://127.0.0.1:9551";

  void SetUp() override;
  void TearDown() override;

  // Starts the agent and waits until it answers.
  void StartAgent(const std::string& scope);
  // Runs another agent on the same directories to its end: exit code, and what it said.
  std::pair<int, std::string> RunSecondAgent(const std::string& scope);
  // Ends the agent with the signal and waits for it; the exit code, or minus the signal that ended it.
  int EndAgent(int signal);
  void AddManifest(const std::string& name, const std::string& text);
  void AddExamplePods();
  void RemoveManifest(const std::string& name);

  Snapshot Now();
  // Polls until the snapshot satisfies the condition; false after the patience.
  bool Await(const std::function<bool(const Snapshot&)>& condition, absl::Duration patience = absl::Seconds(30));
  bool AwaitRunning(size_t pods);
  std::vector<Snapshot> Measure(int windows, absl::Duration window);
  // The value of one series of /metrics, named as the exposition writes it; none where it is not there.
  std::optional<double> Metric(const std::string& series);
  // The cgroup of a container, below /sys/fs/cgroup; empty where there is none.
  std::string CgroupOf(const std::string& pod_name, const std::string& container);
  const ContainerView* Find(const Snapshot& snapshot, const std::string& pod_name, const std::string& container);
  std::set<pid_t> Processes(const std::string& cgroup);
  std::string AgentLog();

  std::string work_;

 private:
  std::vector<std::string> Arguments(const std::string& scope);
  pid_t agent_ = -1;
};

}  // namespace podfence
