/* What the kernel programs and the agent's verifier say to each other: C for both. Fixed widths, explicit padding,
 * units in the names; agent/verifier/layout.cpp compares every member with the programs' BTF at start.
 *
 * A slot is the number of a fence in the tables; 0 is none. The tables exist twice: programs use the half that the
 * generation's lowest bit names, user space fills the other one and then raises the generation. */
#ifndef PODFENCE_BPF_H
#define PODFENCE_BPF_H

#ifndef __bpf__
#include <linux/types.h>

#include <cstddef>
#endif

enum podfence_fence_kind {
  PODFENCE_NO_FENCE = 0,
  PODFENCE_EXCLUSIVE = 1,
  PODFENCE_SHARED = 2,
  PODFENCE_PAUSE = 3,
  PODFENCE_PODS = 4,
};

#define PODFENCE_IDLE 0xffffffffU /* of podfence_cpu::judged */

enum podfence_foreign_class {
  PODFENCE_FOREIGN_CONTAINER = 0,
  PODFENCE_FOREIGN_HOST = 1,
  PODFENCE_FOREIGN_PAUSE = 2,
  PODFENCE_FOREIGN_MOVABLE_KTHREAD = 3,
  PODFENCE_FOREIGN_BOUND_KTHREAD = 4,
  PODFENCE_FOREIGN_CLASSES = 5,
};

enum podfence_event_kind {
  PODFENCE_EVENT_INTRUSION = 1,
  PODFENCE_EVENT_ESCAPE = 2,
  PODFENCE_EVENT_AFFINITY = 3,
  PODFENCE_EVENT_NARROWED = 4, /* affinity that leaves out CPUs of the fence */
  PODFENCE_EVENT_MOVED = 5,    /* a task left the cgroup of its fence */
};

enum {
  PODFENCE_CACHE_WAYS = 1024, /* verdicts remembered for each CPU; a power of two */
  PODFENCE_MAX_DEPTH = 32,    /* levels of cgroups searched for a fence */
  PODFENCE_WAIT_BUCKETS = 22,
  PODFENCE_COMM_BYTES = 16,
  PODFENCE_FILE_BYTES = 32,        /* a control file's name; longer ones fence nothing */
  PODFENCE_EVENT_WINDOW_MS = 1000, /* in this time a CPU tells of */
  PODFENCE_EVENTS_A_WINDOW = 16,   /* at most so many findings */
};

/* Who owns a CPU. */
struct podfence_owner {
  __u32 slot;
  __u32 pod; /* number of the owner's pod, never 0 where slot is not */
};

struct podfence_fence {
  __u32 kind; /* enum podfence_fence_kind */
  __u32 pod;
  __u32 has_mask; /* its row of the mask table holds; else its tasks may run anywhere */
  __u32 padding;
};

/* Key of the fence a cgroup has, in one half of the tables. */
struct podfence_cgroup_key {
  __u64 cgroup_id;
  __u64 half;
};

/* How a cgroup's tasks are judged on one CPU, as it was found under one generation. Half a cache line. */
struct podfence_verdict {
  __u64 cgroup_id;
  __u32 generation; /* its low half: a verdict would have to survive 2^32 switches to be mistaken */
  __u32 slot;       /* the fence whose time it is; 0: none that is counted */
  __u32 victim;     /* slot of the CPU's owner, where the cgroup is foreign to it; else 0 */
  __u32 told_pid;   /* the task of which all that there is to find here was told last; 0: of none */
  __u8 foreign;     /* enum podfence_foreign_class, where victim is set */
  __u8 escaped;     /* outside its fence's set */
  __u16 padding;
  __u32 padding2;
};

/* What runs on one CPU, written only by programs on that CPU with interrupts off. A cache line. */
struct podfence_cpu {
  __u64 start_exec_ns;  /* the task's sum_exec_runtime when its run began */
  __u64 start_delay_ns; /* and its run_delay, without this arrival's wait */
  __u64 cgroup_id;
  __u32 slot; /* of its verdict, and so on */
  __u32 victim;
  __u32 pid; /* what runs, whoever counts it */
  __u8 foreign;
  __u8 escaped;
  __u8 arrived;        /* its wait is not counted yet */
  __u8 told;           /* of this task all that there is to find here */
  __u32 window_ms;     /* when the present window of findings began; the CPU's clock, its low half */
  __u32 window_events; /* told in it */
  __u32 lost_events;
  __u32 suppressed_events;
  __u32 miscounted_runs;
  __u32 judged; /* the generation, its low half, by which the running task was judged; PODFENCE_IDLE: none runs; 0:
                 * nothing is expected yet */
};

/* Of one slot on one CPU. */
struct podfence_counters {
  __u64 cpu_ns;
  __u64 escape_ns;
  __u64 foreign_ns[PODFENCE_FOREIGN_CLASSES];
  __u64 foreign_runs[PODFENCE_FOREIGN_CLASSES];
  __u64 wait_ns;
  __u64 waits[PODFENCE_WAIT_BUCKETS]; /* bucket i: below 1024 << i nanoseconds; the last: the rest */
};

/* Time of interrupts: of one slot on one CPU, or of one CPU. */
struct podfence_interrupt_time {
  __u64 hard_ns;
  __u64 soft_ns; /* without the hard interrupts within */
};

/* The interrupts of one CPU, written only by programs on that CPU. A cache line. */
struct podfence_cpu_interrupts {
  struct podfence_interrupt_time time; /* while the CPU was exclusive */
  __u64 hard_start_ns;                 /* 0: none is in progress that is counted */
  __u64 soft_start_ns;
  __u64 hard_before_ns; /* time.hard_ns when the softirq in progress began */
  __u64 padding[3];
};

/* What a task was reported for already. */
struct podfence_seen {
  __u64 generation;
  __u32 pid;
  __u32 slot;
  __u32 kind;
  __u32 foreign;
};

/* A finding; also the record of the affinity sweep. */
struct podfence_event {
  __u64 generation;
  __u64 cgroup_id; /* the task's own; moved: the one it came to */
  __u64 duration_ns;
  __u32 kind;    /* enum podfence_event_kind */
  __u32 slot;    /* the fence that was broken */
  __u32 foreign; /* intrusion: enum podfence_foreign_class */
  __u32 intruder_slot;
  __u32 cpu;
  __u32 tid;
  __u32 tgid;
  __u32 by_tgid; /* affinity, moved: who did it; 0 in a sweep */
  char comm[PODFENCE_COMM_BYTES];
  char by_comm[PODFENCE_COMM_BYTES];
};

/* What a CPU's programs outside sched_switch could not tell; the loss is counted where it happens. */
struct podfence_losses {
  __u64 events;  /* the ring buffer was full */
  __u64 helpers; /* a map was full, or memory could not be read */
};

/* A control file of a cgroup. */
struct podfence_file {
  __u64 cgroup_id;
  char name[PODFENCE_FILE_BYTES]; /* ends with zeros */
};

/* Who wrote it last. */
struct podfence_writer {
  __u64 at_ns; /* CLOCK_MONOTONIC */
  __u64 cgroup_id;
  __u32 tgid;
  __u32 padding;
  char comm[PODFENCE_COMM_BYTES];
};

/* A task that is, or was when somebody looked, in the cgroup of a fence. */
struct podfence_member {
  __u64 fence_id; /* of the fence's cgroup */
  __u64 start_ns; /* of the task: a number is used again */
};

/* CFS bandwidth of one cgroup, from its task_group. */
struct podfence_bandwidth {
  __u64 cgroup_id;
  __u64 quota_ns; /* all ones: no limit */
  __u64 period_ns;
  __u64 throttled_ns;
  __u32 periods;
  __u32 throttled_periods;
};

#ifdef __cplusplus
static_assert(sizeof(struct podfence_owner) == 8);
static_assert(sizeof(struct podfence_fence) == 16);
static_assert(sizeof(struct podfence_cgroup_key) == 16);
static_assert(sizeof(struct podfence_verdict) == 32);
static_assert(sizeof(struct podfence_cpu) == 64);
static_assert(sizeof(struct podfence_counters) == 280);
static_assert(sizeof(struct podfence_interrupt_time) == 16);
static_assert(sizeof(struct podfence_cpu_interrupts) == 64);
static_assert(sizeof(struct podfence_seen) == 24);
static_assert(sizeof(struct podfence_event) == 88);
static_assert(sizeof(struct podfence_losses) == 16);
static_assert(sizeof(struct podfence_file) == 40);
static_assert(sizeof(struct podfence_writer) == 40);
static_assert(sizeof(struct podfence_member) == 16);
static_assert(sizeof(struct podfence_bandwidth) == 40);
#endif

#endif
