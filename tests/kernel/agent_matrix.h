#pragma once

#include <sys/types.h>

#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "tests/kernel/agent_fixture.h"

namespace podfence {

// One deed that somebody else does to a fenced node, and what must come of it.
struct Injection {
  std::string deed;     // for the table
  std::string finding;  // kind
  // Does it, and says when it was done; none where the kernel refused.
  std::function<std::optional<absl::Time>()> act;
  std::function<bool(const FindingView&)> names;  // this finding, told rightly
  std::function<bool()> undone = nullptr;         // as the kernel has it; null: nothing is to be repaired
  std::function<void()> restore = nullptr;        // what the test itself takes back afterwards
  bool refusable = false;                         // the kernel may refuse it, which is as good
  std::vector<std::string> probes = {};           // one of them must run here; none: not found by a probe
  // No look at the agent before: each look reads the kernel's counters, and would find what the sweep is to find.
  absl::Duration unwatched = absl::ZeroDuration();
};

// A process in a cgroup of its own choice, stopped until told to do its work; ended with this object.
class Outsider {
 public:
  Outsider(const std::string& cgroup, const std::function<void()>& work);
  Outsider(const Outsider&) = delete;
  Outsider& operator=(const Outsider&) = delete;
  ~Outsider() { End(); }
  void Go() const;
  void End();
  pid_t pid() const { return pid_; }
  // Works for ever.
  static void Spin();

 private:
  pid_t pid_ = -1;
};

// An agent on an idle node with one pod: an exclusive container, main, and a sidecar, helper, in the pod's shared pool.
class MatrixTest : public AgentTest {
 protected:
  static constexpr char kPod[] = "fenced";
  static constexpr char kRoot[] = "/sys/fs/cgroup/";
  // A deed that a hook tells of; far below the interval of the sweeps that do without.
  static constexpr absl::Duration kPatience = absl::Seconds(10);

  void SetUp() override;
  void TearDown() override;
  // With further lines of configuration.
  void Start(const std::string& sweep_interval, const std::vector<std::string>& settings = {});
  // Does the deed so many times and holds what follows against the row: one line of the table.
  void Inject(const Injection& injection, int times);
  // A write to a control file: named with what was expected, what was written and, where that is known, by whom.
  // written: what the finding says was seen; empty: the value.
  Injection Write(const std::string& cgroup, const std::string& file, const std::string& value);
  bool ProbeRuns(const std::string& name) const { return probes_.contains(name); }
  // Whether the finding says that this process did it, where the probe that tells runs.
  bool ByUs(const FindingView& finding, const std::string& probe) const;
  // At the end: every finding that came up is over. Skips where a probe was missing for some of the deeds.
  void Finish();

  std::string main_;    // cgroup of the exclusive container
  std::string helper_;  // of the one in the pod's shared pool
  std::string pod_;     // of both
  CpuSet own_;          // main's CPUs
  CpuSet pool_;         // helper's
  int home_ = 0;        // the NUMA node of both
  int other_ = 0;       // and another one
  CpuSet all_;          // CPUs of the machine
  bool partitioned_ = false;

 private:
  std::set<std::string> probes_;  // that run
  std::string missing_;           // deeds that no probe of this kernel finds
};

}  // namespace podfence
