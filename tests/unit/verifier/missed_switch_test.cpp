// What is booked where the kernel did not show a switch to the program: the books of a CPU name another task than the
// one that runs. The program that settles books as sched_switch does, and can be run by itself.
#include <bpf/bpf.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

#include <memory>
#include <vector>

#include "agent/verifier/libbpf.h"
#include "agent/verifier/maps.h"
#include "bpf/podfence_bpf.h"
#include "bpf/sched.skel.h"

namespace podfence {
namespace {

void DestroyPrograms(podfence_sched* object) { podfence_sched__destroy(object); }

// The programs with tables of their own, attached to nothing. One fence: all there is, this test with it.
class MissedSwitchTest : public testing::Test {
 protected:
  static constexpr uint32_t kSlot = 1;
  static constexpr uint64_t kGeneration = 2;  // half 0
  static constexpr uint64_t kRootCgroup = 1;  // kernfs numbers its root so
  static constexpr uint64_t kMs = 1000000;

  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "loading BPF programs needs root";
    const auto cpus = static_cast<uint32_t>(libbpf_num_possible_cpus());
    const LibbpfLog log;
    object_.reset(podfence_sched__open());
    ASSERT_NE(object_, nullptr);
    object_->rodata->cpu_count = cpus;
    object_->rodata->fence_capacity = 2;
    object_->rodata->mask_words = 1;
    const auto& maps = object_->maps;
    bpf_map__set_max_entries(maps.owners, 2 * cpus);
    bpf_map__set_max_entries(maps.fences, 4);
    bpf_map__set_max_entries(maps.masks, 4);
    bpf_map__set_max_entries(maps.cgroups, 4);
    bpf_map__set_max_entries(maps.cpus, cpus);
    bpf_map__set_max_entries(maps.verdicts, cpus * PODFENCE_CACHE_WAYS);
    bpf_map__set_max_entries(maps.counters, 2);
    if (const int error = podfence_sched__load(object_.get()); error != 0) {
      GTEST_SKIP() << log.Error("load BPF programs sched", error);
    }
    ASSERT_EQ(sched_getaffinity(0, sizeof(allowed_), &allowed_), 0);
    cpu_ = static_cast<uint32_t>(sched_getcpu());
    cpu_set_t here;
    CPU_ZERO(&here);
    CPU_SET(cpu_, &here);
    ASSERT_EQ(sched_setaffinity(0, sizeof(here), &here), 0);
    const podfence_fence fence = {.kind = PODFENCE_SHARED, .pod = 1, .has_mask = 0, .padding = 0};
    const podfence_cgroup_key root = {.cgroup_id = kRootCgroup, .half = kGeneration & 1};
    Put(maps.fences, uint32_t{kSlot}, fence);
    Put(maps.cgroups, root, uint32_t{kSlot});
    Put(maps.generation, uint32_t{0}, uint64_t{kGeneration});
  }
  void TearDown() override {
    if (object_ != nullptr && CPU_COUNT(&allowed_) != 0) sched_setaffinity(0, sizeof(allowed_), &allowed_);
  }

  template <typename Key, typename Value>
  void Put(const bpf_map* map, const Key& key, const Value& value) {
    ASSERT_EQ(bpf_map_update_elem(bpf_map__fd(map), &key, &value, BPF_ANY), 0) << bpf_map__name(map);
  }
  podfence_cpu Books() {
    podfence_cpu books = {};
    EXPECT_EQ(bpf_map_lookup_elem(bpf_map__fd(object_->maps.cpus), &cpu_, &books), 0);
    return books;
  }
  uint64_t CpuNs() {
    auto values = ReadPerCpu<podfence_counters>(object_->maps.counters, kSlot);
    EXPECT_TRUE(values.ok()) << values.status();
    uint64_t sum = 0;
    for (const podfence_counters& each : values.value_or(std::vector<podfence_counters>{})) sum += each.cpu_ns;
    return sum;
  }
  void Settle() {
    LIBBPF_OPTS(bpf_test_run_opts, options, .flags = BPF_F_TEST_RUN_ON_CPU, .cpu = cpu_);
    ASSERT_EQ(bpf_prog_test_run_opts(bpf_program__fd(object_->progs.settle), &options), 0);
  }
  // What is booked by settling after a run of 10 ms of CPU time, at which the books say `books`. Again for 2 s where
  // that is not as wanted: only the scheduler knows how long a run was, and its tick may come while the program runs.
  uint64_t Booked(const podfence_cpu& books, bool something) {
    const uint64_t end_ns = RanNs() + 2000 * kMs;
    uint64_t booked_ns = 0;
    do {
      const uint64_t before_ns = CpuNs();
      for (const uint64_t until_ns = RanNs() + 10 * kMs; RanNs() < until_ns;) continue;
      Put(object_->maps.cpus, cpu_, books);
      Settle();
      booked_ns = CpuNs() - before_ns;
    } while ((booked_ns > 0) != something && RanNs() < end_ns);
    return booked_ns;
  }
  static uint64_t RanNs() {
    timespec time = {};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<uint64_t>(time.tv_sec) * 1000 * kMs + static_cast<uint64_t>(time.tv_nsec);
  }
  static podfence_cpu OfAnother(uint64_t judged) {
    podfence_cpu books = {};
    books.pid = static_cast<uint32_t>(getpid()) + 1;
    books.judged = static_cast<uint32_t>(judged);
    return books;
  }

  uint32_t cpu_ = 0;
  cpu_set_t allowed_ = {};
  std::unique_ptr<podfence_sched, FreeWith<DestroyPrograms>> object_;
};

TEST_F(MissedSwitchTest, TheRunIsBookedFromWhenTheTaskWasPicked) {
  const uint64_t booked_ns = Booked(OfAnother(kGeneration), true);
  EXPECT_GT(booked_ns, 0U);
  EXPECT_LE(booked_ns, RanNs());
  EXPECT_EQ(Books().miscounted_runs, 1U) << "the run of the other one may have been longer than is known";
  EXPECT_EQ(Books().pid, static_cast<uint32_t>(getpid()));
  EXPECT_EQ(Books().slot, kSlot);
}

TEST_F(MissedSwitchTest, NothingIsBookedOfWhatAnotherGenerationMayHaveJudged) {
  EXPECT_EQ(Booked(OfAnother(kGeneration - 1), false), 0U);
  EXPECT_EQ(Books().miscounted_runs, 1U);
  EXPECT_EQ(Books().slot, kSlot) << "but from now on";
}

TEST_F(MissedSwitchTest, NothingIsBookedOfWhatBeganFromIdle) {
  EXPECT_EQ(Booked(OfAnother(PODFENCE_IDLE), false), 0U) << "an idle CPU sleeps through changes of what is expected";
  EXPECT_EQ(Books().miscounted_runs, 1U);
}

TEST_F(MissedSwitchTest, WhatTheOtherOneRanIsNobodys) {
  podfence_cpu books = OfAnother(kGeneration - 1);
  books.slot = kSlot;
  EXPECT_EQ(Booked(books, false), 0U);
  EXPECT_EQ(Books().miscounted_runs, 1U);
}

TEST_F(MissedSwitchTest, NothingWasMissedWhereNothingIsExpectedYet) {
  EXPECT_EQ(Booked({}, false), 0U);
  EXPECT_EQ(Books().miscounted_runs, 0U);
  EXPECT_EQ(Books().slot, kSlot);
}

TEST_F(MissedSwitchTest, ARunThatWasSeenIsBookedFromItsBeginning) {
  Settle();
  const podfence_cpu began = Books();
  ASSERT_EQ(began.slot, kSlot);
  EXPECT_GT(Booked(began, true), 0U);
  EXPECT_EQ(Books().miscounted_runs, 0U);
}

}  // namespace
}  // namespace podfence
