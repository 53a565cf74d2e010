#pragma once

#include <gtest/gtest.h>
#include <sys/types.h>

#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "agent/core/cpu_set.h"
#include "agent/server/snapshot.h"

namespace podfence {

// A real node: containerd, the kubelet by itself with static pods, and Podfence where a test starts it; gone
// afterwards.
class NodeTest : public ::testing::Test {
 protected:
  static constexpr char kAgent[] = "http://127.0.0.1:9551";
  static constexpr char kKubelet[] = "http://127.0.0.1:10255";

  void SetUp() override;
  void TearDown() override;

  // `more`: further lines of its configuration.
  void StartContainerd(const std::string& more = "");
  // `more`: further keys of its configuration.
  void StartKubelet(const std::string& more = "");
  // `more`: further keys of its configuration.
  void StartAgent(const std::string& more = "", const std::string& mode = "manage");
  // A second agent beside the first, as "podfence-next".
  void StartNextAgent(const std::string& more = "");
  // The checkpoint of an agent that does not run.
  static void LoseCheckpoint();
  // Ends a program that a Start… made, by its name, and waits for it.
  void End(const std::string& program, int signal);
  void Signal(const std::string& program, int signal);
  // A line of /proc/PID/status of a program that runs.
  std::string ProcessStatus(const std::string& program, const std::string& key);
  // `podfence WORDS` with the configuration of the last StartAgent; its output, standard error included.
  int RunPodfence(const std::string& words, std::string& output);

  // An example pod of the project as it is written, but with the guest's only image.
  void AddExamplePod(const std::string& name);
  // A static pod's manifest.
  void AddPod(const std::string& name, const std::string& manifest);
  void RemovePod(const std::string& name);
  // What the kubelet says of a pod; null where it knows none. The mirror name has the node's behind it.
  nlohmann::json PodStatus(const std::string& name);
  bool AwaitRunning(const std::string& name, absl::Duration patience = absl::Seconds(90));
  bool AwaitGone(const std::string& name, absl::Duration patience = absl::Seconds(60));
  static bool Await(const std::function<bool()>& condition, absl::Duration patience);

  // The cgroup of a container below /sys/fs/cgroup; empty where there is none.
  std::string CgroupOf(const std::string& pod, const std::string& container);
  // What a command says that is run in the container of a cgroup, without the last line break.
  static std::string ExecIn(const std::string& cgroup, const std::string& command);
  // Every control file that fences, of every cgroup below the kubelet's: its path to its text.
  static std::map<std::string, std::string> Fences();
  static bool WriteCgroup(const std::string& cgroup, const std::string& file, const std::string& value);
  static std::string ReadCgroup(const std::string& cgroup, const std::string& file);
  static uint64_t CpuStat(const std::string& cgroup, const std::string& key);
  // CPUs that the cgroup got in each of several windows; the median.
  static double MedianCpus(const std::string& cgroup, int windows, absl::Duration window);
  // throttled_usec of the cgroup and of every one above it.
  static uint64_t ThrottledUsec(std::string cgroup);

  Snapshot AgentNow();
  std::map<std::string, double> Scrape();
  std::string Log(const std::string& program);
  // `podfence verify` with the agent's configuration: exit code, and what it said.
  static std::pair<int, std::string> Verify();

 private:
  void Start(const std::string& program, const std::vector<std::string>& arguments, const std::string& as = "");
  std::map<std::string, pid_t> programs_;
};

}  // namespace podfence
