/* Who writes the control files of fenced cgroups, of those above them, and of the host's own. */
#include "bpf/tables.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

const volatile __u32 agent_tgid = 0; /* what the agent itself writes is the decision */

/* The cgroups whose writers are remembered. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1);
  __type(key, __u64);
  __type(value, __u8);
} watched SEC(".maps");

/* The last foreign writer of each control file. Where there are more files than room the oldest go, unless asked for.
 */
struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, 8192);
  __type(key, struct podfence_file);
  __type(value, struct podfence_writer);
} writers SEC(".maps");

/* write(2) of a control file of any cgroup, before it has an effect: the finding that it causes comes later. */
SEC("fentry/cgroup_file_write")
int BPF_PROG(cgroup_write, struct kernfs_open_file *of) {
  __u32 tgid = bpf_get_current_pid_tgid() >> 32;
  if (tgid == agent_tgid) return 0;
  struct kernfs_node *node = BPF_CORE_READ(of, kn);
  struct kernfs_node *directory = parent_node(node);
  struct podfence_file file = {.cgroup_id = BPF_CORE_READ(directory, id)};
  if (!bpf_map_lookup_elem(&watched, &file.cgroup_id)) return 0;
  struct podfence_writer writer = {.at_ns = bpf_ktime_get_ns(), .cgroup_id = bpf_get_current_cgroup_id(), .tgid = tgid};
  if (bpf_probe_read_kernel_str(file.name, sizeof(file.name), BPF_CORE_READ(node, name)) < 0 ||
      bpf_get_current_comm(writer.comm, sizeof(writer.comm)) ||
      bpf_map_update_elem(&writers, &file, &writer, BPF_ANY)) {
    count_failed_helper();
  }
  return 0;
}
