/* The kernel's types as far as the programs read them, and the differences between kernels, in one place. Only the
 * members used are named: libbpf finds their places in the running kernel's BTF (CO-RE), so that the order and size
 * here mean nothing. */
#ifndef PODFENCE_COMPAT_BPF_H
#define PODFENCE_COMPAT_BPF_H

/* libbpf's headers need the first to come before them. */
/* clang-format off */
#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
/* clang-format on */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct kernfs_node {
  __u64 id;
  const char *name;
  struct kernfs_node *__parent;
};

/* Before 633488947ef6 (6.15). */
struct kernfs_node___parent {
  struct kernfs_node *parent;
};

struct kernfs_open_file {
  struct kernfs_node *kn;
};

struct cgroup_subsys_state {
  struct cgroup *cgroup;
  struct cgroup_subsys_state *parent;
};

struct cgroup {
  struct cgroup_subsys_state self;
  struct kernfs_node *kn;
  struct cgroup_subsys_state *subsys[16];
};

struct css_set {
  struct cgroup *dfl_cgrp;
};

struct sched_entity {
  __u64 exec_start;
  __u64 sum_exec_runtime;
  __u64 prev_sum_exec_runtime;
};

struct sched_info {
  unsigned long long run_delay;
};

struct cpumask {
  unsigned long bits[1];
};

struct task_struct {
  unsigned int flags;
  unsigned int policy;
  int nr_cpus_allowed;
  struct cpumask cpus_mask;
  int pid;
  int tgid;
  __u64 start_time;
  struct sched_entity se;
  struct sched_info sched_info;
  struct css_set *cgroups;
  struct task_group *sched_task_group;
  char comm[16];
};

struct cfs_bandwidth {
  __s64 period;
  __u64 quota;
  int nr_periods;
  int nr_throttled;
  __u64 throttled_time;
};

struct task_group {
  struct cgroup_subsys_state css;
  struct cfs_bandwidth cfs_bandwidth;
};

/* Since 8f9ea86fdf99 (6.2) __sched_setaffinity takes this; before, the mask itself. */
struct affinity_context {
  const struct cpumask *new_mask;
};

struct seq_file;

struct bpf_iter_meta {
  struct seq_file *seq;
};

struct bpf_iter__task {
  struct bpf_iter_meta *meta;
  struct task_struct *task;
};

struct bpf_iter__cgroup {
  struct bpf_iter_meta *meta;
  struct cgroup *cgroup;
};

enum cgroup_subsys_id { cpu_cgrp_id = 1 };

#pragma clang attribute pop

#define PF_KTHREAD 0x00200000 /* include/linux/sched.h, unchanged since 2.6 */

/* Policies of the fair class (include/uapi/linux/sched.h). */
#define SCHED_NORMAL 0
#define SCHED_BATCH 3
#define SCHED_IDLE 5

/* The mask that a call of __sched_setaffinity asks for. */
static __always_inline const struct cpumask *requested_mask(const void *request) {
  if (bpf_core_type_exists(struct affinity_context)) {
    const struct affinity_context *context = request;
    return BPF_CORE_READ(context, new_mask);
  }
  return request;
}

/* The directory that a kernfs node is in. */
static __always_inline struct kernfs_node *parent_node(struct kernfs_node *node) {
  struct kernfs_node___parent *before = (void *)node;
  if (bpf_core_field_exists(before->parent)) return BPF_CORE_READ(before, parent);
  return BPF_CORE_READ(node, __parent);
}

/* The next cgroup up; NULL above the root. `ancestors` was `ancestor_ids` before 7f203bc89eb6 (6.1), and
 * kernfs_node::parent became __parent with 633488947ef6 (6.15); the css has had its parent all along. */
static __always_inline struct cgroup *parent_cgroup(struct cgroup *cgroup) {
  struct cgroup_subsys_state *parent = BPF_CORE_READ(cgroup, self.parent);
  if (!parent) return NULL;
  return (struct cgroup *)((char *)parent - bpf_core_field_offset(struct cgroup, self));
}

#endif
