// Programs run by themselves, without the events that they are for, where the kernel runs their type so: raw
// tracepoints (BPF_PROG_TEST_RUN on a CPU). It does not for tp_btf and iterators, and calls functions of its own for
// fentry.
#include <bpf/bpf.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

#include <memory>
#include <vector>

#include "agent/verifier/libbpf.h"
#include "agent/verifier/maps.h"
#include "bpf/interrupts.skel.h"
#include "bpf/podfence_bpf.h"

namespace podfence {
namespace {

void DestroyInterrupts(podfence_interrupts* object) { podfence_interrupts__destroy(object); }

constexpr uint32_t kSlot = 1;

// The interrupt programs with tables of their own, loaded and attached to nothing.
class RunTest : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "loading BPF programs needs root";
    cpus_ = static_cast<uint32_t>(libbpf_num_possible_cpus());
    cpu_ = static_cast<uint32_t>(sched_getcpu());
    const LibbpfLog log;
    object_.reset(podfence_interrupts__open());
    ASSERT_NE(object_, nullptr);
    object_->rodata->cpu_count = cpus_;
    object_->rodata->fence_capacity = 2;
    const auto& maps = object_->maps;
    bpf_map__set_max_entries(maps.owners, 2 * cpus_);
    bpf_map__set_max_entries(maps.interrupts, cpus_);
    bpf_map__set_max_entries(maps.interrupt_times, 2);
    if (const int error = podfence_interrupts__load(object_.get()); error != 0) {
      GTEST_SKIP() << log.Error("load BPF programs interrupts", error);
    }
  }

  void Own(uint32_t slot) {
    const podfence_owner owner = {.slot = slot, .pod = slot};
    ASSERT_EQ(bpf_map_update_elem(bpf_map__fd(object_->maps.owners), &cpu_, &owner, BPF_ANY), 0);
  }
  void Run(const bpf_program* program) {
    LIBBPF_OPTS(bpf_test_run_opts, options, .flags = BPF_F_TEST_RUN_ON_CPU, .cpu = cpu_);
    ASSERT_EQ(bpf_prog_test_run_opts(bpf_program__fd(program), &options), 0) << bpf_program__name(program);
    EXPECT_EQ(options.retval, 0U);
  }
  podfence_cpu_interrupts Cpu() {
    podfence_cpu_interrupts value = {};
    EXPECT_EQ(bpf_map_lookup_elem(bpf_map__fd(object_->maps.interrupts), &cpu_, &value), 0);
    return value;
  }
  podfence_interrupt_time Slot() {
    auto values = ReadPerCpu<podfence_interrupt_time>(object_->maps.interrupt_times, kSlot);
    EXPECT_TRUE(values.ok()) << values.status();
    podfence_interrupt_time sum = {};
    for (const podfence_interrupt_time& each : values.value_or(std::vector<podfence_interrupt_time>{})) {
      sum.hard_ns += each.hard_ns;
      sum.soft_ns += each.soft_ns;
    }
    return sum;
  }

  uint32_t cpus_ = 1;
  uint32_t cpu_ = 0;
  std::unique_ptr<podfence_interrupts, FreeWith<DestroyInterrupts>> object_;
};

TEST_F(RunTest, AHardInterruptIsTheOwners) {
  Own(kSlot);
  Run(object_->progs.hard_begin);
  EXPECT_GT(Cpu().hard_start_ns, 0U);
  EXPECT_EQ(Cpu().time.hard_ns, 0U) << "it is not over";
  Run(object_->progs.hard_end);
  EXPECT_EQ(Cpu().hard_start_ns, 0U);
  EXPECT_GT(Cpu().time.hard_ns, 0U);
  EXPECT_EQ(Slot().hard_ns, Cpu().time.hard_ns);
  EXPECT_EQ(Slot().soft_ns, 0U);
}

TEST_F(RunTest, AnEndWithoutABeginningCountsNothing) {
  Own(kSlot);
  Run(object_->progs.hard_end);
  Run(object_->progs.soft_end);
  EXPECT_EQ(Cpu().time.hard_ns + Cpu().time.soft_ns, 0U);
  EXPECT_EQ(Slot().hard_ns + Slot().soft_ns, 0U);
}

TEST_F(RunTest, NothingIsWrittenWhereNobodyOwnsTheCpu) {
  Own(0);
  for (const bpf_program* program : {object_->progs.hard_begin, object_->progs.soft_begin, object_->progs.hard_end}) {
    Run(program);
  }
  EXPECT_EQ(Cpu().hard_start_ns + Cpu().soft_start_ns + Cpu().time.hard_ns, 0U);
}

TEST_F(RunTest, AHardInterruptWithinASoftOneIsNoneOfItsTime) {
  Own(kSlot);
  Run(object_->progs.soft_begin);
  const uint64_t began_ns = Cpu().soft_start_ns;
  Run(object_->progs.hard_begin);
  usleep(20000);
  Run(object_->progs.hard_end);
  Run(object_->progs.soft_end);
  const podfence_interrupt_time time = Cpu().time;
  EXPECT_GE(time.hard_ns, 20000000U);
  EXPECT_GT(time.soft_ns, 0U);
  timespec now = {};
  clock_gettime(CLOCK_MONOTONIC, &now);
  const uint64_t all_ns =
      static_cast<uint64_t>(now.tv_sec) * 1000000000 + static_cast<uint64_t>(now.tv_nsec) - began_ns;
  EXPECT_LE(time.hard_ns + time.soft_ns, all_ns) << "no time is in both";
  EXPECT_EQ(Slot().soft_ns, time.soft_ns);
}

}  // namespace
}  // namespace podfence
