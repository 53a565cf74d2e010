/* CFS bandwidth of cgroups, read where the scheduler keeps it. One binary record for each cgroup walked. */
#include "bpf/bandwidth.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

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
