// The other way round: a node on which nobody breaks anything has no finding, however much goes on.

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "absl/time/clock.h"
#include "agent/core/text.h"
#include "tests/kernel/agent_matrix.h"

namespace podfence {
namespace {

constexpr int kDefaultSeconds = 30;
// Pods that are there at one moment; each lives that many seconds.
constexpr int kLiving = 4;

// How long in all: PODFENCE_CHURN_SECONDS; ten minutes are for a run by hand.
absl::Duration ChurnTime() {
  const char* text = std::getenv("PODFENCE_CHURN_SECONDS");
  return absl::Seconds(text == nullptr ? kDefaultSeconds : std::max(1, std::atoi(text)));
}

// A pod whose containers do nothing but start processes, in turn with a budget of its own, exclusive by itself, and
// shared: each makes the allocator change other cpusets.
std::string Manifest(int number) {
  static constexpr std::string_view kStorm =
      "      command: [/bin/sh, -c, \"while :; do /bin/true & /bin/true & /bin/true & wait; done\"]\n";
  static constexpr std::string_view kBudget =
      "{requests: {cpu: \"3\", memory: 256Mi}, limits: {cpu: \"3\", memory: 256Mi}}";
  static constexpr std::string_view kOwn = "{requests: {cpu: \"2\", memory: 64Mi}, limits: {cpu: \"2\", memory: 64Mi}}";
  static constexpr std::string_view kShared = "{requests: {cpu: 500m, memory: 64Mi}}";
  const int kind = number % 3;
  std::string text = Cat("apiVersion: v1\nkind: Pod\nmetadata: {name: churn-", number,
                         "}\nspec:\n  terminationGracePeriodSeconds: 1\n");
  if (kind == 0) text += Cat("  resources: ", kBudget, "\n");
  text += Cat("  containers:\n    - name: main\n      image: main:v1\n", kStorm,
              "      resources: ", kind == 2 ? kShared : kOwn, "\n");
  if (kind == 0) text += Cat("    - name: beside\n      image: beside:v1\n", kStorm);
  return text;
}

// The host's own storm, outside all fences.
void StartProcesses() {
  while (true) {
    const pid_t pid = fork();
    if (pid == 0) _exit(0);
    if (pid > 0) waitpid(pid, nullptr, 0);
  }
}

TEST_F(MatrixTest, ChurnMakesNoFinding) {
  Start("1s");
  Outsider host("init.scope", StartProcesses);
  host.Go();
  const absl::Time end = absl::Now() + ChurnTime();
  int number = 0;
  for (; absl::Now() < end; ++number) {
    AddManifest(Cat("churn-", number, ".yaml"), Manifest(number));
    if (number >= kLiving) RemoveManifest(Cat("churn-", number - kLiving, ".yaml"));
    absl::SleepFor(absl::Seconds(1));
  }
  for (int last = std::max(0, number - kLiving); last < number; ++last) RemoveManifest(Cat("churn-", last, ".yaml"));
  host.End();
  EXPECT_TRUE(Await([](const Snapshot& snapshot) { return snapshot.pods.size() == 1; })) << "the pods have ended";
  Finish();

  const Snapshot now = Now();
  std::printf("%d pods came and went; %lu decided, %lu committed\n", number,
              static_cast<unsigned long>(now.decisions[0]), static_cast<unsigned long>(now.commits));
  // On a machine this busy the agent may see some only when they are gone again.
  EXPECT_GT(now.decisions[0], uint64_t{2 * kLiving});
  EXPECT_EQ(now.decisions[1], 0U);
  for (const char* kind : {"intrusion", "escape", "throttling", "drift", "unfenced", "memory", "partition"}) {
    const auto total = now.finding_totals.find(kind);
    EXPECT_EQ(total == now.finding_totals.end() ? 0 : total->second, 0U) << kind;
  }
  for (const FindingView& finding : now.findings) {
    std::printf("%s: %s\n", finding.kind.c_str(), finding.message.c_str());
  }
  EXPECT_EQ(now.lost_events, 0U);
  EXPECT_EQ(now.invariant_violations, 0U);
  EXPECT_EQ(now.commit_errors, 0U);
  EXPECT_EQ(now.drift_repairs, 0U);
}

}  // namespace
}  // namespace podfence
