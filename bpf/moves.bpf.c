/* Tasks that are moved out of the cgroup of their fence. By calls (attach_begin and attach_end) where functions can be
 * traced; else by the tracepoint, which fires when the task has left already, so that a sweep must have remembered
 * where it was; else by the sweep alone, which sees that it is elsewhere and not who did it. */
#include "bpf/tables.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

const volatile __u32 agent_tgid = 0;

/* The move in progress: cgroup_attach_task runs under cgroup_mutex. */
struct move_in_progress {
  __u64 generation;
  __u64 fence_id;
  __u32 slot; /* 0: of no concern */
  __u32 tid;
};

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct move_in_progress);
} moving SEC(".maps");

/* The processes that the last sweeps found in fences, by pid. Where there are more than room for them the ones longest
 * not seen go. */
struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, 16384);
  __type(key, __u32);
  __type(value, struct podfence_member);
} members SEC(".maps");

/* The fence of a container that holds the tasks of a cgroup: its slot (0: none), and its cgroup. */
static __noinline void container_fence(struct cgroup *cgroup, struct move_in_progress *from) {
  struct podfence_cgroup_key key = {.half = half_of(from->generation)};
  for (int level = 0; level < PODFENCE_MAX_DEPTH && cgroup; ++level) {
    key.cgroup_id = BPF_CORE_READ(cgroup, kn, id);
    __u32 *slot = bpf_map_lookup_elem(&cgroups, &key);
    if (slot) {
      struct podfence_fence *fence = fence_at(from->generation, *slot);
      if (!fence || (fence->kind != PODFENCE_EXCLUSIVE && fence->kind != PODFENCE_SHARED)) return;
      from->slot = *slot;
      from->fence_id = key.cgroup_id;
      return;
    }
    cgroup = parent_cgroup(cgroup);
  }
}

static __noinline bool is_below(struct cgroup *cgroup, __u64 id) {
  for (int level = 0; level < PODFENCE_MAX_DEPTH && cgroup; ++level) {
    if (BPF_CORE_READ(cgroup, kn, id) == id) return true;
    cgroup = parent_cgroup(cgroup);
  }
  return false;
}

static __always_inline void describe_move(struct podfence_event *event, struct task_struct *task,
                                          struct cgroup *destination, const struct move_in_progress *from) {
  describe(event, task);
  event->generation = from->generation;
  event->cgroup_id = BPF_CORE_READ(destination, kn, id);
  event->kind = PODFENCE_EVENT_MOVED;
  event->slot = from->slot;
}

static __always_inline void report(struct task_struct *task, struct cgroup *destination,
                                   const struct move_in_progress *from) {
  struct podfence_event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
  if (!event) {
    count_lost_event();
    return;
  }
  describe_move(event, task, destination, from);
  event->by_tgid = bpf_get_current_pid_tgid() >> 32;
  if (bpf_get_current_comm(event->by_comm, sizeof(event->by_comm))) count_failed_helper();
  bpf_ringbuf_submit(event, 0);
}

SEC("fentry/cgroup_attach_task")
int BPF_PROG(attach_begin, struct cgroup *destination, struct task_struct *task) {
  __u32 zero = 0;
  struct move_in_progress *move = bpf_map_lookup_elem(&moving, &zero);
  if (!move) return 0;
  struct move_in_progress from = {.generation = current_generation(), .tid = task->pid};
  if (bpf_get_current_pid_tgid() >> 32 != agent_tgid) {
    container_fence(BPF_CORE_READ(task, cgroups, dfl_cgrp), &from);
    if (from.slot && is_below(destination, from.fence_id)) from.slot = 0;
  }
  *move = from;
  return 0;
}

/* The kernel may refuse a move. */
SEC("fexit/cgroup_attach_task")
int BPF_PROG(attach_end, struct cgroup *destination, struct task_struct *task, bool threadgroup, int error) {
  __u32 zero = 0;
  struct move_in_progress *move = bpf_map_lookup_elem(&moving, &zero);
  if (!move || !move->slot || move->tid != (__u32)task->pid) return 0;
  struct move_in_progress from = *move;
  move->slot = 0;
  if (!error) report(task, destination, &from);
  return 0;
}

/* The fence that a process was last seen in, if it is expected still and the process is not there now. */
static __always_inline bool has_left(struct task_struct *task, struct cgroup *now_in, struct move_in_progress *from) {
  __u32 pid = task->pid;
  struct podfence_member *member = bpf_map_lookup_elem(&members, &pid);
  if (!member || member->start_ns != task->start_time) return false;
  struct podfence_cgroup_key key = {.cgroup_id = member->fence_id, .half = half_of(from->generation)};
  __u32 *slot = bpf_map_lookup_elem(&cgroups, &key);
  if (!slot || is_below(now_in, member->fence_id)) return false;
  from->slot = *slot;
  from->fence_id = member->fence_id;
  return true;
}

SEC("tp_btf/cgroup_attach_task")
int BPF_PROG(attached, struct cgroup *destination, const char *path, struct task_struct *task) {
  struct move_in_progress from = {.generation = current_generation(), .tid = task->pid};
  if (!has_left(task, destination, &from)) return 0;
  if (bpf_get_current_pid_tgid() >> 32 != agent_tgid) report(task, destination, &from);
  __u32 pid = task->pid;
  bpf_map_delete_elem(&members, &pid); /* an entry that the kernel dropped before is gone all the same */
  return 0;
}

SEC("iter/task")
int move_sweep(struct bpf_iter__task *context) {
  struct task_struct *task = context->task;
  if (!task || task->flags & PF_KTHREAD || task->pid != task->tgid) return 0; /* processes move as a whole */
  struct cgroup *now_in = BPF_CORE_READ(task, cgroups, dfl_cgrp);
  struct move_in_progress from = {.generation = current_generation(), .tid = task->pid};
  __u32 pid = task->pid;
  if (has_left(task, now_in, &from)) {
    struct podfence_event event;
    describe_move(&event, task, now_in, &from);
    /* Where the buffer is full the kernel comes back to this task with an empty one: it is not forgotten before. */
    if (bpf_seq_write(context->meta->seq, &event, sizeof(event))) return 0;
    bpf_map_delete_elem(&members, &pid);
  }
  struct move_in_progress now = {.generation = from.generation};
  container_fence(now_in, &now);
  if (!now.slot) return 0;
  struct podfence_member member = {.fence_id = now.fence_id, .start_ns = task->start_time};
  if (bpf_map_update_elem(&members, &pid, &member, BPF_ANY)) count_failed_helper();
  return 0;
}
