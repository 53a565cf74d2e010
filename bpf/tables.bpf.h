/* The tables of what is expected, and the questions that programs ask them. User space creates them once, with
 * the sizes of this machine; every program of the agent shares them. */
#ifndef PODFENCE_TABLES_BPF_H
#define PODFENCE_TABLES_BPF_H

#include "bpf/compat.bpf.h"
#include "bpf/podfence_bpf.h"

const volatile __u32 cpu_count = 1;      /* possible CPUs */
const volatile __u32 fence_capacity = 1; /* slots in each half, slot 0 included */
const volatile __u32 mask_words = 1;     /* words of 64 CPUs in a mask */

/* The generation of expectations in force. */
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u64);
} generation SEC(".maps");

/* Owner of each CPU: [half][cpu]. */
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct podfence_owner);
} owners SEC(".maps");

/* The fences: [half][slot]. */
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct podfence_fence);
} fences SEC(".maps");

/* Where the tasks of a fence may run: [half][slot][word]. */
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u64);
} masks SEC(".maps");

/* Which slot a cgroup has. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1);
  __type(key, struct podfence_cgroup_key);
  __type(value, __u32);
} cgroups SEC(".maps");

/* Findings on their way to user space. */
struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 65536);
} events SEC(".maps");

/* Outside sched_switch, which counts its own. */
struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct podfence_losses);
} losses SEC(".maps");

static __always_inline void count_lost_event(void) {
  __u32 zero = 0;
  struct podfence_losses *lost = bpf_map_lookup_elem(&losses, &zero);
  if (lost) __sync_fetch_and_add(&lost->events, 1);
}

static __always_inline void count_failed_helper(void) {
  __u32 zero = 0;
  struct podfence_losses *lost = bpf_map_lookup_elem(&losses, &zero);
  if (lost) __sync_fetch_and_add(&lost->helpers, 1);
}

static __always_inline __u64 current_generation(void) {
  __u32 zero = 0;
  __u64 *value = bpf_map_lookup_elem(&generation, &zero);
  return value ? *(volatile __u64 *)value : 0;
}

static __always_inline __u32 half_of(__u64 of_generation) { return of_generation & 1; }

static __always_inline struct podfence_owner *owner_of(__u64 of_generation, __u32 cpu) {
  __u32 index = half_of(of_generation) * cpu_count + cpu;
  return bpf_map_lookup_elem(&owners, &index);
}

static __always_inline struct podfence_fence *fence_at(__u64 of_generation, __u32 slot) {
  __u32 index = half_of(of_generation) * fence_capacity + slot;
  return bpf_map_lookup_elem(&fences, &index);
}

static __always_inline __u64 mask_word(__u64 of_generation, __u32 slot, __u32 word) {
  __u32 index = (half_of(of_generation) * fence_capacity + slot) * mask_words + word;
  __u64 *bits = bpf_map_lookup_elem(&masks, &index);
  return bits ? *bits : 0;
}

/* The slot of the nearest fence at or above a cgroup; 0 where there is none. */
__attribute__((unused)) static __noinline __u32 find_fence(struct cgroup *cgroup, __u64 of_generation) {
  struct podfence_cgroup_key key = {.half = half_of(of_generation)};
  for (int level = 0; level < PODFENCE_MAX_DEPTH && cgroup; ++level) {
    key.cgroup_id = BPF_CORE_READ(cgroup, kn, id);
    __u32 *slot = bpf_map_lookup_elem(&cgroups, &key);
    if (slot) return *slot;
    cgroup = parent_cgroup(cgroup);
  }
  return 0;
}

/* Starts a finding about a task. */
__attribute__((unused)) static __noinline void describe(struct podfence_event *event, struct task_struct *task) {
  __builtin_memset(event, 0, sizeof(*event));
  event->tid = task->pid;
  event->tgid = task->tgid;
  if (bpf_probe_read_kernel_str(event->comm, sizeof(event->comm), task->comm) < 0) count_failed_helper();
}

/* How a mask differs from the set of a fence. */
enum against_fence { WITHIN_FENCE = 0, BEYOND_FENCE = 1, NARROWER_THAN_FENCE = 2 };

static __always_inline enum against_fence compare_with_fence(const struct cpumask *mask, __u64 of_generation,
                                                             __u32 slot) {
  const unsigned long *bits = (const void *)mask;
  enum against_fence verdict = WITHIN_FENCE;
  for (__u32 word = 0; word < 128 && word < mask_words; ++word) {
    unsigned long have = 0;
    if (bpf_probe_read_kernel(&have, sizeof(have), bits + word)) {
      count_failed_helper();
      return verdict;
    }
    if (word == cpu_count / 64) have &= (1ULL << (cpu_count % 64)) - 1; /* bits of CPUs that cannot exist */
    __u64 wanted = mask_word(of_generation, slot, word);
    if (have & ~wanted) return BEYOND_FENCE;
    if (wanted & ~have) verdict = NARROWER_THAN_FENCE;
  }
  return verdict;
}

#endif
