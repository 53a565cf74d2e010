#pragma once

#include <gtest/gtest.h>
#include <sys/types.h>

#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "agent/core/cpu_set.h"
#include "agent/server/snapshot.h"

namespace podfence {

// A real node: a container runtime (node_runtime.h), the kubelet by itself with static pods, and Podfence where a test
// starts it; gone afterwards.
class NodeTest : public ::testing::Test {
 protected:
  static constexpr char kAgent[] = "http://127.0.0.1:9551";
  static constexpr char kKubelet[] = "http://127.0.0.1:10255";
  static constexpr char kSleeps[] = "while :; do sleep 1; done";

  void SetUp() override { BeginNode(); }
  void TearDown() override { EndNode(); }

  // What every node has before anything starts, and its end with all that was started.
  static void BeginNode();
  static void EndNode();

  // `more`: further lines of its configuration.
  static void StartRuntime(const std::string& more = "");
  // `more`: further keys of its configuration; `flags`: further ones of its command line.
  static void StartKubelet(const std::string& more = "", const std::vector<std::string>& flags = {});
  // `more`: further keys of its configuration.
  static void StartAgent(const std::string& more = "", const std::string& mode = "manage");
  // A node that Podfence manages, from its first pod on; `more`: further keys of the agent's configuration.
  static void StartManaged(const std::string& more = "");
  // A second agent beside the first, as "podfence-next".
  static void StartNextAgent(const std::string& more = "");
  static std::string StateDirectory();  // the agent's
  // The checkpoint of an agent that does not run.
  static void LoseCheckpoint();
  // Ends a program that a Start… made, by its name, and waits for it.
  static void End(const std::string& program, int signal);
  static void Signal(const std::string& program, int signal);
  // A line of /proc/PID/status of a program that runs.
  static std::string ProcessStatus(const std::string& program, const std::string& key);
  // `podfence WORDS` with the configuration of the last StartAgent; its output, standard error included.
  static int RunPodfence(const std::string& words, std::string& output);
  // A shell command; whether it succeeded. What it says stands in the log "run".
  static bool Run(const std::string& command);

  // The manifest of an example pod of the project as it is written, but with the guest's only image and its network.
  static std::string ExamplePod(const std::string& name);
  // A pod, but all of it sleeps: what is not about CPU time is quick then.
  static std::string Idle(const std::string& manifest);
  static void AddExamplePod(const std::string& name);
  // The manifest of a pod of one container, "app", that runs a line of shell; resources: what stands in its braces.
  static std::string PodOf(const std::string& name, std::string_view resources, std::string_view script = kSleeps,
                           int grace_seconds = 1);
  // The same with so many CPUs of its own.
  static std::string Exclusive(const std::string& name, int cpus, std::string_view script = kSleeps,
                               int grace_seconds = 1);
  // A static pod's manifest.
  static void AddPod(const std::string& name, const std::string& manifest);
  static void RemovePod(const std::string& name);
  // What the kubelet says of a pod of that name; null where it knows none. A static pod's has the node's behind it.
  static nlohmann::json PodStatus(const std::string& name);
  // The same; an error where the kubelet says nothing.
  static absl::StatusOr<nlohmann::json> AskKubelet(const std::string& name);
  static bool AwaitRunning(const std::string& name, absl::Duration patience = absl::Seconds(90));
  static bool AwaitGone(const std::string& name, absl::Duration patience = absl::Seconds(60));
  static bool Await(const std::function<bool()>& condition, absl::Duration patience);

  // The cgroup of a container below /sys/fs/cgroup; empty where there is none.
  static std::string CgroupOf(const std::string& pod, const std::string& container);
  // What a command says that is run in the container of a cgroup, without the last line break.
  static std::string ExecIn(const std::string& cgroup, const std::string& command);
  // Every control file that fences, of every cgroup below the kubelet's: its path to its text.
  static std::map<std::string, std::string> Fences();
  static bool WriteCgroup(const std::string& cgroup, const std::string& file, const std::string& value);
  static std::string ReadCgroup(const std::string& cgroup, const std::string& file);
  static uint64_t CpuStat(const std::string& cgroup, const std::string& key);
  // CPUs that the cgroup got in each of several windows; the median.
  static double MedianCpus(const std::string& cgroup, int windows, absl::Duration window);
  // The same of several cgroups in the same windows.
  static std::vector<double> MedianCpus(const std::vector<std::string>& cgroups, int windows, absl::Duration window);
  // throttled_usec of the cgroup and of every one above it. Of the pod's it may begin above 0: the runtime starts the
  // sandbox under the kubelet's quota before any plugin hears of it.
  static uint64_t ThrottledUsec(std::string cgroup);
  // That the exclusive container of this cgroup was never throttled: itself, and, as the agent counts since the pod was
  // decided, at every ancestor; nor at any since it had `before` of ThrottledUsec.
  static void ExpectNeverThrottled(const std::string& cgroup, uint64_t before);

  static Snapshot AgentNow();
  static std::map<std::string, double> Scrape();
  static std::string Log(const std::string& program, size_t most = 30000);  // its last bytes
  // Until a line of a program's log has both.
  static bool AwaitLog(const std::string& program, const std::string& text, const std::string& more,
                       absl::Duration patience = absl::Seconds(90));

 private:
  static void Start(const std::string& program, const std::vector<std::string>& arguments, const std::string& as = "");
  static inline std::map<std::string, pid_t> programs_;
};

}  // namespace podfence
