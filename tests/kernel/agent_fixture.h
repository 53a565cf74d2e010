#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/types.h>

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "agent/core/cpu_set.h"
#include "agent/server/snapshot.h"

namespace podfence {

// What /sys/fs/cgroup says, read by the test itself and not through the agent.
std::string ReadCgroupFile(const std::string& cgroup, const std::string& file);
// Writes without an expectation: what the test does to the node behind the agent's back.
bool WriteCgroupFile(const std::string& cgroup, const std::string& file, const std::string& value);
// One number of cpu.stat; none where the file or the line is not there.
std::optional<uint64_t> CpuStatOf(const std::string& cgroup, const std::string& key);
// A set that the kernel wrote (cpuset.cpus.effective, Cpus_allowed_list); a failure of the test, and empty, where that
// is none.
CpuSet ParseCpus(const std::string& list);

// The real agent as a process of its own, on the example pods, with directories and cgroups that are gone afterwards.
class AgentTest : public ::testing::Test {
 protected:
  static constexpr char kServer[] = "http://127.0.0.1:9551";
  static constexpr char kDatabase[] = "tightly-coupled-database";
  static constexpr char kMl[] = "ml-workload";
  // What nobody announces is seen at the next sweep: 2 s, and its timer may come 0.2 s late. The rest of the default
  // interval is for a machine that has little time for the guest.
  static constexpr absl::Duration kSweepPatience = absl::Seconds(10);

  void SetUp() override;
  void TearDown() override;

  // Before the agent is started: how often it looks for what nobody writes.
  void SetSweepInterval(const std::string& interval);
  // One more line of its configuration.
  void AddSetting(const std::string& line);
  // Starts the agent and waits until it answers.
  void StartAgent(const std::string& scope);
  // Runs another agent on the same directories to its end: exit code, and what it said.
  std::pair<int, std::string> RunSecondAgent(const std::string& scope);
  // Runs `podfence verify` on the agent's directories to its end: exit code, and what it said.
  std::pair<int, std::string> Verify(const std::vector<std::string>& flags);
  // Ends the agent with the signal and waits for it; the exit code, or minus the signal that ended it.
  int EndAgent(int signal);
  pid_t AgentPid() const { return agent_; }
  // Stops the agent, so that it sees nothing of what happens meanwhile, and lets it go on.
  void PauseAgent() { kill(agent_, SIGSTOP); }
  void ResumeAgent() { kill(agent_, SIGCONT); }
  void AddManifest(const std::string& name, const std::string& text);
  // The containers' loops fill the CPUs of the machine that runs the guest: kOneEach, where that proves nothing.
  enum class Loops { kAsManyAsCpus, kOneEach };
  void AddExamplePods(Loops loops = Loops::kAsManyAsCpus);
  void RemoveManifest(const std::string& name);

  Snapshot Now();
  // Polls until the snapshot satisfies the condition; false after the patience.
  bool Await(const std::function<bool(const Snapshot&)>& condition, absl::Duration patience = absl::Seconds(30));
  // Waits until every container of both example pods runs with all its processes.
  bool AwaitExamplePods();
  std::vector<Snapshot> Measure(int windows, absl::Duration window);
  // One scrape of /metrics: the value of every series, named as the exposition writes it.
  std::map<std::string, double> Scrape();
  // The cgroup of a container, below /sys/fs/cgroup; empty where there is none.
  static std::string CgroupOf(const Snapshot& snapshot, const std::string& pod_name, const std::string& container);
  const ContainerView* Find(const Snapshot& snapshot, const std::string& pod_name, const std::string& container);
  std::set<pid_t> Processes(const std::string& cgroup);
  // Polls a file of a cgroup, not the agent, until it says so.
  bool AwaitCgroupFile(const std::string& cgroup, const std::string& file,
                       const std::function<bool(const std::string&)>& condition,
                       absl::Duration patience = kSweepPatience);
  // Every cgroup of the agent's that has processes, by its path below the agent's own: those processes, its CPUs and
  // its NUMA nodes as the kernel has them. Asks no agent.
  std::map<std::string, std::string> Containers();
  std::string AgentLog();

  std::string work_;

 private:
  std::vector<std::string> Arguments(const std::string& scope);
  std::pair<int, std::string> RunToEnd(const std::vector<std::string>& arguments);
  void RemovePods();
  pid_t agent_ = -1;
  size_t processes_ = 0;   // of the example pods
  std::string host_cpus_;  // of init.scope, before the agent
};

}  // namespace podfence
