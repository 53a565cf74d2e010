/* The least a program on every context switch can cost: what bench_sched_switch measures podfence's own against. */
#include "bpf/compat.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

SEC("tp_btf/sched_switch")
int BPF_PROG(nothing, bool preempt, struct task_struct* prev, struct task_struct* next) { return 0; }
