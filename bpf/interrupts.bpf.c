/* Time that interrupts take on exclusive CPUs. To the scheduler it is time of the task that was interrupted.
 *
 * hard: handlers of device interrupts and, on x86, of the local timer's and the inter-processor vectors (elsewhere
 * those are device interrupts too). soft: handlers of softirqs wherever they run, without the hard interrupts within;
 * those that ksoftirqd runs are a bound kernel thread's time as well. Not counted are the way into an interrupt and out
 * of it, NMIs, rare vectors (thermal, spurious, a hypervisor's) and threaded handlers, which are tasks. On PREEMPT_RT
 * what preempts a softirq's handler counts as its time.
 *
 * The programs read no argument of a tracepoint, so that one of each serves all of them, as a raw tracepoint: those
 * need no BTF of it and cost what tp_btf costs. */
#include "bpf/tables.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* What happens on each CPU, whoever owned it. Mappable only so that elements lie on cache lines. */
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct podfence_cpu_interrupts);
} interrupts SEC(".maps");

/* The same times by the slot of the CPU's owner. */
struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct podfence_interrupt_time);
} interrupt_times SEC(".maps");

static __always_inline __u32 owner_slot(__u32 cpu) {
  struct podfence_owner *owner = owner_of(current_generation(), cpu);
  return owner ? owner->slot : 0;
}

/* Of this CPU; NULL where nobody owns it, so that nothing is written there. */
static __always_inline struct podfence_cpu_interrupts *beginning(void) {
  __u32 cpu = bpf_get_smp_processor_id();
  return owner_slot(cpu) ? bpf_map_lookup_elem(&interrupts, &cpu) : NULL;
}

static __always_inline struct podfence_interrupt_time *time_of_owner(void) {
  __u32 slot = owner_slot(bpf_get_smp_processor_id());
  return slot ? bpf_map_lookup_elem(&interrupt_times, &slot) : NULL;
}

/* Linux runs hard handlers with interrupts off: they do not nest. */
SEC("raw_tp")
int hard_begin(void *context) {
  struct podfence_cpu_interrupts *here = beginning();
  if (here) here->hard_start_ns = bpf_ktime_get_ns();
  return 0;
}

SEC("raw_tp")
int hard_end(void *context) {
  __u32 cpu = bpf_get_smp_processor_id();
  struct podfence_cpu_interrupts *here = bpf_map_lookup_elem(&interrupts, &cpu);
  if (!here || !here->hard_start_ns) return 0;
  __u64 took_ns = bpf_ktime_get_ns() - here->hard_start_ns;
  here->hard_start_ns = 0;
  here->time.hard_ns += took_ns;
  struct podfence_interrupt_time *own = time_of_owner();
  if (own) own->hard_ns += took_ns;
  return 0;
}

/* A hard interrupt may come between any two lines of these. The clock is read outside of what hard_ns spans: one that
 * comes just there is counted in both kinds, rather than that time becomes negative. */
SEC("raw_tp")
int soft_begin(void *context) {
  struct podfence_cpu_interrupts *here = beginning();
  if (!here) return 0;
  here->soft_start_ns = bpf_ktime_get_ns();
  here->hard_before_ns = here->time.hard_ns;
  return 0;
}

SEC("raw_tp")
int soft_end(void *context) {
  __u32 cpu = bpf_get_smp_processor_id();
  struct podfence_cpu_interrupts *here = bpf_map_lookup_elem(&interrupts, &cpu);
  if (!here || !here->soft_start_ns) return 0;
  __u64 within_ns = here->time.hard_ns - here->hard_before_ns;
  __u64 took_ns = bpf_ktime_get_ns() - here->soft_start_ns - within_ns;
  here->soft_start_ns = 0;
  here->time.soft_ns += took_ns;
  struct podfence_interrupt_time *own = time_of_owner();
  if (own) own->soft_ns += took_ns;
  return 0;
}
