/* CFS bandwidth of cgroups, read where the scheduler keeps it: task_group.cfs_bandwidth is the same on all kernels,
 * while what throttle_cfs_rq means changed with e1fad12dcb66. One binary record for each cgroup walked. */
#include "bpf/compat.bpf.h"
#include "bpf/podfence_bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

static __noinline void read_group(struct task_group *group, struct podfence_bandwidth *record) {
  record->quota_ns = BPF_CORE_READ(group, cfs_bandwidth.quota);
  record->period_ns = BPF_CORE_READ(group, cfs_bandwidth.period);
  record->throttled_ns = BPF_CORE_READ(group, cfs_bandwidth.throttled_time);
  record->periods = BPF_CORE_READ(group, cfs_bandwidth.nr_periods);
  record->throttled_periods = BPF_CORE_READ(group, cfs_bandwidth.nr_throttled);
}

SEC("iter/cgroup")
int bandwidth(struct bpf_iter__cgroup *context) {
  struct cgroup *cgroup = context->cgroup;
  if (!cgroup) return 0;
  struct cgroup_subsys_state *css = NULL;
  int cpu_controller = bpf_core_enum_value(enum cgroup_subsys_id, cpu_cgrp_id);
  bpf_probe_read_kernel(&css, sizeof(css), (void *)cgroup->subsys + cpu_controller * sizeof(css));
  if (!css) return 0;
  struct podfence_bandwidth record = {.cgroup_id = cgroup->kn->id};
  read_group((void *)css - bpf_core_field_offset(struct task_group, css), &record);
  bpf_seq_write(context->meta->seq, &record, sizeof(record));
  return 0;
}
