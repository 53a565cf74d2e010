#include <gmock/gmock.h>

#include "agent/runtime/pod_progress.h"

namespace podfence {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

Container Named(const std::string& name, bool sidecar = false) {
  Container container;
  container.name = name;
  if (sidecar) container.restart_policy = RestartPolicy::kAlways;
  return container;
}

// init (one-shot), mesh (sidecar), setup (one-shot), two apps.
Pod FullPod() {
  Pod pod;
  pod.init_containers = {Named("init"), Named("mesh", true), Named("setup")};
  pod.containers = {Named("a"), Named("b")};
  return pod;
}
ContainerProgress Waiting() { return {}; }
ContainerProgress Running() { return {ContainerPhase::kRunning, true, false, false, false}; }
ContainerProgress Ended(bool failed = false) { return {ContainerPhase::kTerminated, true, failed, false, false}; }
ContainerProgress BackingOff(bool due) { return {ContainerPhase::kBackOff, true, false, due, false}; }

PodStep Step(const std::vector<ContainerProgress>& containers, bool stop = false) {
  return NextStep(FullPod(), containers, stop);
}

TEST(ProgressTest, InitContainersInOrderSidecarsBeforeApps) {
  EXPECT_THAT(Step({Waiting(), Waiting(), Waiting(), Waiting(), Waiting()}).start, ElementsAre(0));
  EXPECT_THAT(Step({Running(), Waiting(), Waiting(), Waiting(), Waiting()}).start, IsEmpty());
  EXPECT_THAT(Step({Ended(), Waiting(), Waiting(), Waiting(), Waiting()}).start, ElementsAre(1));
  EXPECT_THAT(Step({Ended(), Running(), Waiting(), Waiting(), Waiting()}).start, ElementsAre(2));
  EXPECT_THAT(Step({Ended(), Running(), Running(), Waiting(), Waiting()}).start, IsEmpty());
  EXPECT_THAT(Step({Ended(), Running(), Ended(), Waiting(), Waiting()}).start, ElementsAre(3, 4));
}

TEST(ProgressTest, ACrashedSidecarHoldsNobodyUp) {
  EXPECT_THAT(Step({Ended(), BackingOff(false), Waiting(), Waiting(), Waiting()}).start, ElementsAre(2));
  EXPECT_THAT(Step({Ended(), BackingOff(true), Running(), Waiting(), Waiting()}).start, ElementsAre(1));
}

TEST(ProgressTest, BackOffIsStartedWhenDue) {
  EXPECT_THAT(Step({BackingOff(false), Waiting(), Waiting(), Waiting(), Waiting()}).start, IsEmpty());
  EXPECT_THAT(Step({BackingOff(true), Waiting(), Waiting(), Waiting(), Waiting()}).start, ElementsAre(0));
  EXPECT_THAT(Step({Ended(), Running(), Ended(), BackingOff(true), Running()}).start, ElementsAre(3));
}

TEST(ProgressTest, AppsDoneEndsSidecarsThenThePod) {
  const PodStep sidecars = Step({Ended(), Running(), Ended(), Ended(), Ended()});
  EXPECT_TRUE(sidecars.ending);
  EXPECT_THAT(sidecars.stop, ElementsAre(1));
  EXPECT_FALSE(sidecars.terminal);
  EXPECT_EQ(Step({Ended(), Ended(true), Ended(), Ended(), Ended()}).terminal, PodResult::kSucceeded)
      << "how a sidecar ends does not matter";
  EXPECT_EQ(Step({Ended(), Ended(), Ended(), Ended(true), Ended()}).terminal, PodResult::kFailed);
}

TEST(ProgressTest, AFailedInitContainerFailsThePod) {
  const PodStep step = Step({Ended(), Running(), Ended(true), Waiting(), Waiting()});
  EXPECT_THAT(step.stop, ElementsAre(1));
  EXPECT_THAT(step.start, IsEmpty());
  EXPECT_EQ(Step({Ended(), Ended(), Ended(true), Waiting(), Waiting()}).terminal, PodResult::kFailed);
}

TEST(ProgressTest, StoppingEndsAppsFirstThenSidecarsBackwards) {
  Pod pod;
  pod.init_containers = {Named("one", true), Named("two", true)};
  pod.containers = {Named("a"), Named("b")};
  std::vector<ContainerProgress> all = {Running(), Running(), Running(), Running()};
  EXPECT_THAT(NextStep(pod, all, true).stop, ElementsAre(2, 3));
  all[2].asked_to_end = all[3].asked_to_end = true;
  EXPECT_THAT(NextStep(pod, all, true).stop, IsEmpty());
  all[2] = all[3] = Ended();
  EXPECT_THAT(NextStep(pod, all, true).stop, ElementsAre(1));
  all[1] = Ended();
  EXPECT_THAT(NextStep(pod, all, true).stop, ElementsAre(0));
  EXPECT_FALSE(NextStep(pod, all, true).stopped);
  all[0] = Ended();
  EXPECT_TRUE(NextStep(pod, all, true).stopped);
  EXPECT_FALSE(NextStep(pod, all, true).terminal) << "a stop that was asked for is no end of its own";
}

TEST(ProgressTest, RestartPolicies) {
  const ExitStatus ok{true, 0, 0, ""};
  const ExitStatus failed{true, 1, 0, ""};
  const ExitStatus unknown{false, 0, 0, ""};
  const auto after = [](RestartPolicy policy, bool init, const ExitStatus& exit) {
    Pod pod;
    pod.restart_policy = policy;
    return PhaseAfterExit(pod, Named("c"), init, exit);
  };
  constexpr auto kAgain = ContainerPhase::kBackOff;
  constexpr auto kOver = ContainerPhase::kTerminated;
  EXPECT_EQ(after(RestartPolicy::kAlways, false, ok), kAgain);
  EXPECT_EQ(after(RestartPolicy::kOnFailure, false, ok), kOver);
  EXPECT_EQ(after(RestartPolicy::kOnFailure, false, failed), kAgain);
  EXPECT_EQ(after(RestartPolicy::kOnFailure, false, unknown), kAgain);
  EXPECT_EQ(after(RestartPolicy::kNever, false, failed), kOver);
  EXPECT_EQ(after(RestartPolicy::kNever, false, unknown), kOver);
  EXPECT_EQ(after(RestartPolicy::kAlways, true, ok), kOver);
  EXPECT_EQ(after(RestartPolicy::kAlways, true, failed), kAgain);
  EXPECT_EQ(after(RestartPolicy::kNever, true, failed), kOver);
  EXPECT_EQ(after(RestartPolicy::kNever, true, unknown), kAgain);
  Pod pod;
  pod.restart_policy = RestartPolicy::kNever;
  EXPECT_EQ(PhaseAfterExit(pod, Named("s", true), true, ok), kAgain);
}

TEST(BackOffTest, FirstAtOnceThenDoublingThenForgotten) {
  RestartBackOff back_off(absl::Seconds(10), absl::Minutes(5), absl::Minutes(10));
  absl::Time now = absl::UnixEpoch();
  std::vector<int64_t> waits;
  for (int run = 0; run < 8; ++run) {
    const absl::Duration wait = back_off.WaitAfter(now);
    waits.push_back(absl::ToInt64Seconds(wait));
    back_off.Restarted(now, now + wait);
    now += wait + absl::Seconds(1);
  }
  EXPECT_THAT(waits, ElementsAre(0, 10, 20, 40, 80, 160, 300, 300));
  now += absl::Minutes(11);
  EXPECT_EQ(back_off.WaitAfter(now), absl::ZeroDuration());
  back_off.Restarted(now, now);
  EXPECT_EQ(back_off.WaitAfter(now + absl::Seconds(1)), absl::Seconds(10));
}

}  // namespace
}  // namespace podfence
