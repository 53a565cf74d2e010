// How soon a write to a fence is found, and undone, on an otherwise idle node: medians of many writes. Runs in the lab
// guest; scripts/bench runs it there.

#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <memory>

#include "absl/time/clock.h"
#include "agent/core/text.h"
#include "agent/enforcer/affinity.h"
#include "tests/kernel/agent_matrix.h"

namespace podfence {
namespace {

constexpr int kTimes = 50;

TEST_F(MatrixTest, WritesAreFoundAndUndone) {
  Start("600s");  // no sweep helps
  // Widened from outside: the kernel grants what the cpuset has, so that nothing is to be undone. First, so that the
  // looks that the writes ask for see that it is over.
  const std::set<pid_t> pids = Processes(main_);
  ASSERT_EQ(pids.size(), 1U);
  const pid_t pid = *pids.begin();
  Inject({.deed = "main: affinity widened from outside",
          .finding = "drift",
          .act = [&]() -> std::optional<absl::Time> {
            const absl::Time now = absl::Now();
            if (!SetAffinity(pid, all_).ok()) return std::nullopt;
            return now;
          },
          .names = [&](const FindingView& finding) { return finding.kind == "drift" && finding.container == "main"; },
          .probes = {"affinity_request"}},
         kTimes);

  Inject(Write(main_, "cpuset.cpus", std::to_string(own_.First())), kTimes);
  Inject(Write(helper_, "cpuset.cpus", (pool_ | own_).ToString()), kTimes);
  Inject(Write(main_, "cpu.max", "50000 100000"), kTimes);
  Inject(Write(pod_, "cpu.max", "50000 100000"), kTimes);
  Finish();
}

TEST_F(MatrixTest, WhatOnlySweepsFind) {
  Start("1s");
  const std::string stray = Cat(pod_, "/stray");
  std::unique_ptr<Outsider> process;
  Inject({.deed = "a process in a cgroup that nobody decided on",
          .finding = "drift",
          .act = [&]() -> std::optional<absl::Time> {
            std::filesystem::create_directory(Cat(kRoot, stray));
            process = std::make_unique<Outsider>("init.scope", Outsider::Spin);
            absl::SleepFor(absl::Milliseconds(300));  // the new cgroup itself was looked at, and nobody was in it
            const absl::Time now = absl::Now();
            if (!WriteCgroupFile(stray, "cgroup.procs", std::to_string(process->pid()))) return std::nullopt;
            return now;
          },
          .names =
              [&](const FindingView& finding) { return finding.kind == "drift" && finding.cgroup.ends_with("/stray"); },
          .restore =
              [&] {
                process.reset();
                // A process that has ended leaves its cgroup a moment later.
                while (rmdir(Cat(kRoot, stray).c_str()) != 0 && errno == EBUSY) absl::SleepFor(absl::Milliseconds(10));
              }},
         10);
  Finish();
}

}  // namespace
}  // namespace podfence
