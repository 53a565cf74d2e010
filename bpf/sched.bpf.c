/* Who runs on exclusive CPUs, and where fenced tasks run: accounted at every context switch.
 *
 * Time comes from the scheduler's own books, so that no clock is read: a run's CPU time is the growth of the task's
 * sum_exec_runtime, the wait before it that of its sched_info.run_delay. The tracepoint fires when the switched-out
 * task's books are closed (put_prev_task) and before the switched-in one's wait is booked (sched_info_switch, in
 * context_switch): a run is opened with the old run_delay and closed with the new one. A task that is pulled to another
 * CPU while it waits is counted with its wait in the last queue. */
#include "bpf/tables.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

const volatile __u8 measure_wait = 1;

/* What runs on each CPU. Mappable only so that elements lie on cache lines. */
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct podfence_cpu);
} cpus SEC(".maps");

/* Verdicts on cgroups, remembered: [cpu][way]. Under one generation a verdict depends on the cgroup and the CPU alone.
 */
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct podfence_verdict);
} verdicts SEC(".maps");

/* Times and waits of each slot. */
struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct podfence_counters);
} counters SEC(".maps");

/* What was reported already: each task once for each fence and generation. */
struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, 4096);
  __type(key, struct podfence_seen);
  __type(value, __u8);
} seen SEC(".maps");

/* Judges the tasks of a cgroup on a CPU by the tables. */
static __noinline void judge(struct podfence_verdict *verdict, struct cgroup *cgroup, __u64 now, __u32 cpu) {
  verdict->slot = 0;
  verdict->victim = 0;
  verdict->escaped = 0;
  __u32 slot = find_fence(cgroup, now);
  struct podfence_fence *fence = fence_at(now, slot);
  struct podfence_owner *owner = owner_of(now, cpu);
  if (!fence || !owner) return;
  bool inside = !fence->has_mask || (mask_word(now, slot, cpu / 64) >> (cpu % 64)) & 1;
  if (fence->kind == PODFENCE_EXCLUSIVE || fence->kind == PODFENCE_SHARED) verdict->slot = slot;
  verdict->escaped = !inside && verdict->slot;
  if (!owner->slot || (fence->kind == PODFENCE_EXCLUSIVE && inside && fence->pod == owner->pod)) return;
  verdict->victim = owner->slot;
  if (fence->kind == PODFENCE_NO_FENCE)
    verdict->foreign = PODFENCE_FOREIGN_HOST;
  else if (fence->kind == PODFENCE_PAUSE && fence->pod == owner->pod)
    verdict->foreign = PODFENCE_FOREIGN_PAUSE;
  else
    verdict->foreign = PODFENCE_FOREIGN_CONTAINER;
}

/* Where the verdict on a cgroup has its place, whosever is there. */
static __always_inline struct podfence_verdict *place_of_verdict(__u64 cgroup_id, __u32 cpu) {
  __u32 index = cpu * PODFENCE_CACHE_WAYS + (cgroup_id & (PODFENCE_CACHE_WAYS - 1));
  return bpf_map_lookup_elem(&verdicts, &index);
}

static __always_inline struct podfence_verdict *verdict_on(struct cgroup *cgroup, __u64 now, __u32 cpu) {
  __u64 id = cgroup->kn->id;
  struct podfence_verdict *verdict = place_of_verdict(id, cpu);
  if (!verdict || (verdict->cgroup_id == id && verdict->generation == (__u32)now)) return verdict;
  judge(verdict, cgroup, now, cpu);
  verdict->cgroup_id = id;
  verdict->generation = now;
  verdict->told_pid = 0;
  return verdict;
}

/* Position of the highest bit, 1 to 64; 0 for 0. */
static __always_inline __u32 bit_length(__u64 value) {
  __u32 length = 0;
  if (!value) return 0;
  if (value >> 32) length += 32, value >>= 32;
  if (value >> 16) length += 16, value >>= 16;
  if (value >> 8) length += 8, value >>= 8;
  if (value >> 4) length += 4, value >>= 4;
  if (value >> 2) length += 2, value >>= 2;
  if (value >> 1) length += 1, value >>= 1;
  return length + value;
}

static __always_inline void count_wait(struct podfence_counters *own, __u64 wait_ns) {
  __u32 bucket = bit_length(wait_ns >> 10);
  if (bucket >= PODFENCE_WAIT_BUCKETS) bucket = PODFENCE_WAIT_BUCKETS - 1;
  own->waits[bucket] += 1;
  own->wait_ns += wait_ns;
}

/* Tells of a finding, unless it was told before; false where it could not be told now. */
static __noinline bool tell(struct podfence_cpu *run, struct task_struct *task, __u32 kind, __u64 duration_ns) {
  struct podfence_seen key = {.generation = current_generation(),
                              .pid = run->pid,
                              .slot = kind == PODFENCE_EVENT_ESCAPE ? run->slot : run->victim,
                              .kind = kind,
                              .foreign = run->victim ? run->foreign : 0};
  if (bpf_map_lookup_elem(&seen, &key)) return true;
  __u32 now_ms = task->se.exec_start / 1000000; /* the CPU's clock when the run was booked */
  if (now_ms - run->window_ms >= PODFENCE_EVENT_WINDOW_MS) {
    run->window_ms = now_ms;
    run->window_events = 0;
  }
  if (run->window_events >= PODFENCE_EVENTS_A_WINDOW) {
    run->suppressed_events += 1;
    return false;
  }
  struct podfence_event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
  if (!event) {
    run->lost_events += 1;
    return false;
  }
  describe(event, task);
  event->generation = key.generation;
  event->cgroup_id = run->cgroup_id;
  event->duration_ns = duration_ns;
  event->kind = kind;
  event->slot = key.slot;
  event->foreign = run->foreign;
  event->intruder_slot = run->slot;
  event->cpu = bpf_get_smp_processor_id();
  bpf_ringbuf_submit(event, 0);
  run->window_events += 1;
  __u8 yes = 1;
  /* Not remembered, it is told again: no loss. */
  bpf_map_update_elem(&seen, &key, &yes, BPF_ANY);
  return true;
}

/* Tells of all that is amiss with a run, and remembers it with the verdict: that is cheaper to ask at the next run than
 * what was seen. Kernel threads have none. */
static __noinline void report(struct podfence_cpu *run, struct task_struct *task, __u64 duration_ns) {
  bool told = true;
  if (run->escaped && !tell(run, task, PODFENCE_EVENT_ESCAPE, duration_ns)) told = false;
  if (run->victim && !tell(run, task, PODFENCE_EVENT_INTRUSION, duration_ns)) told = false;
  if (!told || !run->cgroup_id) return;
  struct podfence_verdict *verdict = place_of_verdict(run->cgroup_id, bpf_get_smp_processor_id());
  if (verdict && verdict->cgroup_id == run->cgroup_id) verdict->told_pid = run->pid;
}

/* Opens the books for the task that begins to run on this CPU. */
static __always_inline void open_run(struct podfence_cpu *run, struct task_struct *task, __u32 cpu, bool arrived) {
  run->slot = 0;
  run->victim = 0;
  run->pid = task->pid;
  run->judged = PODFENCE_IDLE;
  if (task->pid == 0) return;
  __u64 now = current_generation();
  run->judged = (__u32)now;

  if (task->flags & PF_KTHREAD) {
    struct podfence_owner *owner = owner_of(now, cpu);
    if (!owner || !owner->slot) return;
    run->victim = owner->slot;
    run->foreign = task->nr_cpus_allowed == 1 ? PODFENCE_FOREIGN_BOUND_KTHREAD : PODFENCE_FOREIGN_MOVABLE_KTHREAD;
    run->cgroup_id = 0;
    run->escaped = 0;
    run->told = 0;
  } else {
    struct podfence_verdict *verdict = verdict_on(task->cgroups->dfl_cgrp, now, cpu);
    if (!verdict || (!verdict->slot && !verdict->victim)) return;
    run->slot = verdict->slot;
    run->victim = verdict->victim;
    run->foreign = verdict->foreign;
    run->escaped = verdict->escaped;
    run->cgroup_id = verdict->cgroup_id;
    run->told = verdict->told_pid == (__u32)task->pid;
  }
  run->start_exec_ns = task->se.sum_exec_runtime;
  if (measure_wait) run->start_delay_ns = task->sched_info.run_delay;
  run->arrived = arrived;
}

static __always_inline bool is_fair(struct task_struct *task) {
  return task->policy == SCHED_NORMAL || task->policy == SCHED_BATCH || task->policy == SCHED_IDLE;
}

/* Another task ends its run here than the one that began: the kernel skipped the program at a switch between. What
 * the one that began ran is nobody's. The other's run began, by the fair scheduler's own book, when it was picked
 * (set_next_entity), and that is after the run before was judged: where both are judged by the same generation, all of
 * it is booked. */
static __noinline void reopen_run(struct podfence_cpu *run, struct task_struct *task) {
  __u32 judged = run->judged;
  if (!judged) return; /* nothing was expected yet */
  /* A CPU that is not online has no tracepoints (include/linux/tracepoint.h): of one that is switched off the last run
   * seen is that of its stopper thread, and the next, when it is back, begins from idle. */
  bool switched_off = run->victim && run->foreign == PODFENCE_FOREIGN_BOUND_KTHREAD && task->pid == 0;
  bool lost = (run->slot || run->victim) && !switched_off;
  open_run(run, task, bpf_get_smp_processor_id(), false);
  bool late = run->slot || run->victim;
  if (late && run->judged == judged && is_fair(task)) run->start_exec_ns = task->se.prev_sum_exec_runtime;
  if (lost || late) run->miscounted_runs += 1;
}

/* Books the run that ends on this CPU. One that settle cuts before the scheduler booked anything is not told of yet. */
static __always_inline void close_run(struct podfence_cpu *run, struct task_struct *task) {
  if (run->pid != (__u32)task->pid) reopen_run(run, task);
  if (!run->slot && !run->victim) return;
  bool bound = run->victim && run->foreign == PODFENCE_FOREIGN_BOUND_KTHREAD;
  __u64 ran_ns = task->se.sum_exec_runtime - run->start_exec_ns;
  if (run->slot) {
    struct podfence_counters *own = bpf_map_lookup_elem(&counters, &run->slot);
    if (!own) return;
    own->cpu_ns += ran_ns;
    if (measure_wait && run->arrived) count_wait(own, task->sched_info.run_delay - run->start_delay_ns);
    if (run->escaped) own->escape_ns += ran_ns;
  }
  if (run->victim) {
    struct podfence_counters *owner = bpf_map_lookup_elem(&counters, &run->victim);
    __u32 class = run->foreign;
    if (!owner || class >= PODFENCE_FOREIGN_CLASSES) return;
    owner->foreign_ns[class] += ran_ns;
    owner->foreign_runs[class] += run->arrived;
  }
  if (ran_ns && !run->told && !bound && (run->escaped || run->victim)) report(run, task, ran_ns);
}

SEC("tp_btf/sched_switch")
int BPF_PROG(sched_switch, bool preempt, struct task_struct *prev, struct task_struct *next) {
  __u32 cpu = bpf_get_smp_processor_id();
  struct podfence_cpu *run = bpf_map_lookup_elem(&cpus, &cpu);
  if (!run) return 0;
  close_run(run, prev);
  open_run(run, next, cpu, true);
  return 0;
}

/* Run by user space on one CPU (BPF_F_TEST_RUN_ON_CPU), in an interrupt there: books the run in progress and judges
 * what goes on by the present generation. When it returns, no program on that CPU uses an older one. */
SEC("raw_tp")
int settle(void *context) {
  __u32 cpu = bpf_get_smp_processor_id();
  struct podfence_cpu *run = bpf_map_lookup_elem(&cpus, &cpu);
  if (!run) return 0;
  struct task_struct *task = bpf_get_current_task_btf();
  close_run(run, task);
  open_run(run, task, cpu, false);
  return 0;
}
