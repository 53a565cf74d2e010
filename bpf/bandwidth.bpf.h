/* Reads the scheduler's own account of a group's CFS bandwidth: the same members on all kernels, while what
 * throttle_cfs_rq means changed with e1fad12dcb66. */
#ifndef PODFENCE_BANDWIDTH_BPF_H
#define PODFENCE_BANDWIDTH_BPF_H

#include "bpf/compat.bpf.h"
#include "bpf/podfence_bpf.h"

static __noinline void read_group(struct task_group *group, struct podfence_bandwidth *record) {
  record->quota_ns = BPF_CORE_READ(group, cfs_bandwidth.quota);
  record->period_ns = BPF_CORE_READ(group, cfs_bandwidth.period);
  record->throttled_ns = BPF_CORE_READ(group, cfs_bandwidth.throttled_time);
  record->periods = BPF_CORE_READ(group, cfs_bandwidth.nr_periods);
  record->throttled_periods = BPF_CORE_READ(group, cfs_bandwidth.nr_throttled);
}

#endif
