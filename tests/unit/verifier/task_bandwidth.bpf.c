/* The account of the group that one task is scheduled in, whatever cgroup version made it: iter/cgroup walks v2 alone.
 */
#include "bpf/bandwidth.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

const volatile __u32 wanted_pid = 0;

SEC("iter/task")
int task_bandwidth(struct bpf_iter__task* context) {
  struct task_struct* task = context->task;
  if (!task || (__u32)task->pid != wanted_pid) return 0;
  struct podfence_bandwidth record = {.cgroup_id = wanted_pid};
  read_group(BPF_CORE_READ(task, sched_task_group), &record);
  bpf_seq_write(context->meta->seq, &record, sizeof(record));
  return 0;
}
