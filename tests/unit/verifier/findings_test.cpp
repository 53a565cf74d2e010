#include "agent/verifier/findings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "agent/verifier/bandwidth_probe.h"
#include "agent/verifier/libbpf.h"

namespace podfence {
namespace {

using testing::AllOf;
using testing::HasSubstr;

podfence_event MakeEvent(podfence_event_kind kind) {
  podfence_event event = {};
  event.kind = kind;
  event.slot = 1;
  event.cpu = 4;
  event.tid = 77;
  event.duration_ns = 3'200'000;
  std::strncpy(event.comm, "stress", sizeof(event.comm));
  return event;
}

const std::map<uint32_t, ExpectedFence> kFences = {
    {1, {.cgroup = "a", .kind = FenceKind::kExclusive, .cpus = {4, 5}, .pod = "uid-1", .container = "db"}},
    {2, {.cgroup = "b", .kind = FenceKind::kShared, .cpus = {6}, .pod = "uid-2", .container = "proxy"}}};

TEST(FindingsTest, NamesIntruderAndOwner) {
  podfence_event event = MakeEvent(PODFENCE_EVENT_INTRUSION);
  event.foreign = PODFENCE_FOREIGN_CONTAINER;
  event.intruder_slot = 2;
  const KernelFinding finding = ToFinding(event, kFences);
  EXPECT_EQ(finding.kind, KernelFindingKind::kIntrusion);
  EXPECT_EQ(finding.foreign, ForeignClass::kContainer);
  EXPECT_EQ(finding.container, "db");
  EXPECT_EQ(finding.message,
            "stress (pid 77), container proxy of pod uid-2, ran 3 ms on CPU 4, exclusive to container db of pod uid-1");
}

TEST(FindingsTest, NamesHostProcessesByTheirCgroup) {
  podfence_event event = MakeEvent(PODFENCE_EVENT_INTRUSION);
  event.foreign = PODFENCE_FOREIGN_HOST;
  event.cgroup_id = 123;
  EXPECT_THAT(ToFinding(event, kFences).message, HasSubstr("stress (pid 77), a host process (cgroup id 123), ran"));
}

TEST(FindingsTest, NamesEscapesAndTheSetTheyLeft) {
  const KernelFinding finding = ToFinding(MakeEvent(PODFENCE_EVENT_ESCAPE), kFences);
  EXPECT_EQ(finding.kind, KernelFindingKind::kEscape);
  EXPECT_THAT(finding.message, HasSubstr("outside its CPUs 4-5"));
}

TEST(FindingsTest, NamesWhoChangedAnAffinity) {
  podfence_event event = MakeEvent(PODFENCE_EVENT_AFFINITY);
  EXPECT_EQ(ToFinding(event, kFences).by_pid, 0);
  event.by_tgid = 5;
  std::strncpy(event.by_comm, "taskset", sizeof(event.by_comm));
  const KernelFinding finding = ToFinding(event, kFences);
  EXPECT_EQ(finding.kind, KernelFindingKind::kDrift);
  EXPECT_EQ(finding.by_pid, 5);
  EXPECT_THAT(finding.message, AllOf(HasSubstr("taskset (pid 5)"), HasSubstr("stress (pid 77)"), HasSubstr("4-5")));
}

TEST(ReasonInLogTest, TakesTheVerifiersLastWords) {
  EXPECT_EQ(ReasonInLog("libbpf: prog 'x': BPF program load failed: Permission denied\n"
                        "libbpf: prog 'x': -- BEGIN PROG LOAD LOG --\n"
                        "0: R1=ctx()\n1: (79) r0 = *(u64 *)(r9 +0)\nR9 !read_ok\n"
                        "processed 2 insns (limit 1000000)\n"
                        "-- END PROG LOAD LOG --\n"
                        "libbpf: failed to load object 'x'\n"),
            "0: R1=ctx(); 1: (79) r0 = *(u64 *)(r9 +0); R9 !read_ok");
}

TEST(ReasonInLogTest, TakesTheLastLineWhereTheVerifierWasNotAsked) {
  EXPECT_EQ(ReasonInLog("libbpf: kernel BTF is missing at '/sys/kernel/btf/vmlinux', was CONFIG_DEBUG_INFO_BTF "
                        "enabled?\nlibbpf: failed to find valid kernel BTF\nlibbpf: failed to load object 'x'\n"),
            "failed to find valid kernel BTF");
  EXPECT_EQ(ReasonInLog(""), "");
}

TEST(WaitHistogramTest, BucketsAreBoundedByPowersOfTwo) {
  EXPECT_EQ(WaitHistogram::UpperBoundNs(0), 1024U);
  EXPECT_EQ(WaitHistogram::UpperBoundNs(10), 1048576U);
  EXPECT_EQ(WaitHistogram::UpperBoundNs(kWaitBuckets - 1), std::nullopt);
}

TEST(AgreesTest, TheKernelsAccountLiesBetweenTwoReadings) {
  const Bandwidth before{.cgroup = "c",
                         .quota_us = 50000,
                         .period_us = 100000,
                         .periods = 10,
                         .throttled_periods = 4,
                         .throttled_ns = 1000000};
  Bandwidth after = before;
  after.periods = 11;
  podfence_bandwidth kernel = {.cgroup_id = 1,
                               .quota_ns = 50000000,
                               .period_ns = 100000000,
                               .throttled_ns = 1000999,
                               .periods = 11,
                               .throttled_periods = 4};
  EXPECT_TRUE(Agrees(before, kernel, after));
  kernel.periods = 12;
  EXPECT_FALSE(Agrees(before, kernel, after));
  kernel.periods = 10;
  kernel.throttled_ns = 2000000;
  EXPECT_FALSE(Agrees(before, kernel, after));
  kernel.throttled_ns = 1000000;
  kernel.quota_ns = ~uint64_t{0};
  EXPECT_FALSE(Agrees(before, kernel, after)) << "a limit in cpu.max that the scheduler does not know";
}

}  // namespace
}  // namespace podfence
