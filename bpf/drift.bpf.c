/* Affinity that is not its fence's: found when somebody asks for it, when the kernel applies it, and by a sweep over
 * all tasks. Each program is loaded by itself, since a kernel may take one and not another. */
#include "bpf/tables.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

const volatile __u32 agent_tgid = 0; /* what the agent itself applies is the decision, not drift */

/* The slot of the fence that holds a task to a set of CPUs; 0 where none does. */
static __always_inline __u32 holding_fence(struct task_struct *task, __u64 of_generation) {
  if (task->flags & PF_KTHREAD) return 0;
  __u32 slot = find_fence(BPF_CORE_READ(task, cgroups, dfl_cgrp), of_generation);
  struct podfence_fence *fence = slot ? fence_at(of_generation, slot) : NULL;
  return fence && fence->has_mask ? slot : 0;
}

static __always_inline void describe_drift(struct podfence_event *event, struct task_struct *task, __u64 of_generation,
                                           __u32 slot, __u32 kind) {
  describe(event, task);
  event->generation = of_generation;
  event->cgroup_id = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
  event->kind = kind;
  event->slot = slot;
}

static __always_inline void report(struct task_struct *task, __u64 of_generation, __u32 slot, __u32 kind) {
  struct podfence_event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
  if (!event) {
    count_lost_event();
    return;
  }
  describe_drift(event, task, of_generation, slot, kind);
  event->by_tgid = bpf_get_current_pid_tgid() >> 32;
  if (bpf_get_current_comm(event->by_comm, sizeof(event->by_comm))) count_failed_helper();
  bpf_ringbuf_submit(event, 0);
}

/* sched_setaffinity(2), before the kernel cuts the request to the cpuset: from outside the fence only, since programs
 * ask for all CPUs for themselves all the time and get what they may have, and pin their own threads as they like. */
SEC("fentry/__sched_setaffinity")
int BPF_PROG(affinity_request, struct task_struct *task, const void *request) {
  __u64 now = current_generation();
  __u32 slot = holding_fence(task, now);
  if (!slot || bpf_get_current_pid_tgid() >> 32 == agent_tgid) return 0;
  struct task_struct *by = bpf_get_current_task_btf();
  if (find_fence(BPF_CORE_READ(by, cgroups, dfl_cgrp), now) == slot) return 0;
  enum against_fence verdict = compare_with_fence(requested_mask(request), now, slot);
  if (verdict == BEYOND_FENCE) report(task, now, slot, PODFENCE_EVENT_AFFINITY);
  if (verdict == NARROWER_THAN_FENCE) report(task, now, slot, PODFENCE_EVENT_NARROWED);
  return 0;
}

/* Where cpusets (and whoever writes them) change the affinity of tasks. */
SEC("fentry/set_cpus_allowed_ptr")
int BPF_PROG(affinity_change, struct task_struct *task, const struct cpumask *mask) {
  __u64 now = current_generation();
  __u32 slot = holding_fence(task, now);
  if (!slot || bpf_get_current_pid_tgid() >> 32 == agent_tgid) return 0;
  if (compare_with_fence(mask, now, slot) == BEYOND_FENCE) report(task, now, slot, PODFENCE_EVENT_AFFINITY);
  return 0;
}

SEC("iter/task")
int affinity_sweep(struct bpf_iter__task *context) {
  struct task_struct *task = context->task;
  if (!task) return 0;
  __u64 now = current_generation();
  __u32 slot = holding_fence(task, now);
  if (!slot || compare_with_fence(&task->cpus_mask, now, slot) != BEYOND_FENCE) return 0;
  struct podfence_event event;
  describe_drift(&event, task, now, slot, PODFENCE_EVENT_AFFINITY);
  /* Where the buffer is full the kernel comes back to this task with an empty one. */
  bpf_seq_write(context->meta->seq, &event, sizeof(event));
  return 0;
}
