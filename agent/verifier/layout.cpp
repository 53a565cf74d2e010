#include "agent/verifier/layout.h"

#include <cstddef>
#include <map>
#include <string>
#include <string_view>

#include "agent/core/text.h"
#include "bpf/podfence_bpf.h"

namespace podfence {
namespace {

struct Member {
  const char* type;
  const char* name;
  size_t offset;
  size_t size;
  size_t type_size;
};

#define MEMBER(type, member) \
  { #type, #member, offsetof(type, member), sizeof(type::member), sizeof(type) }
constexpr Member kMembers[] = {
    MEMBER(podfence_owner, slot),
    MEMBER(podfence_owner, pod),
    MEMBER(podfence_fence, kind),
    MEMBER(podfence_fence, pod),
    MEMBER(podfence_fence, has_mask),
    MEMBER(podfence_fence, padding),
    MEMBER(podfence_cgroup_key, cgroup_id),
    MEMBER(podfence_cgroup_key, half),
    MEMBER(podfence_verdict, cgroup_id),
    MEMBER(podfence_verdict, generation),
    MEMBER(podfence_verdict, slot),
    MEMBER(podfence_verdict, victim),
    MEMBER(podfence_verdict, told_pid),
    MEMBER(podfence_verdict, foreign),
    MEMBER(podfence_verdict, escaped),
    MEMBER(podfence_verdict, padding),
    MEMBER(podfence_verdict, padding2),
    MEMBER(podfence_cpu, start_exec_ns),
    MEMBER(podfence_cpu, start_delay_ns),
    MEMBER(podfence_cpu, cgroup_id),
    MEMBER(podfence_cpu, slot),
    MEMBER(podfence_cpu, victim),
    MEMBER(podfence_cpu, pid),
    MEMBER(podfence_cpu, foreign),
    MEMBER(podfence_cpu, escaped),
    MEMBER(podfence_cpu, arrived),
    MEMBER(podfence_cpu, told),
    MEMBER(podfence_cpu, window_ms),
    MEMBER(podfence_cpu, window_events),
    MEMBER(podfence_cpu, lost_events),
    MEMBER(podfence_cpu, suppressed_events),
    MEMBER(podfence_cpu, miscounted_runs),
    MEMBER(podfence_cpu, judged),
    MEMBER(podfence_counters, cpu_ns),
    MEMBER(podfence_counters, escape_ns),
    MEMBER(podfence_counters, foreign_ns),
    MEMBER(podfence_counters, foreign_runs),
    MEMBER(podfence_counters, wait_ns),
    MEMBER(podfence_counters, waits),
    MEMBER(podfence_interrupt_time, hard_ns),
    MEMBER(podfence_interrupt_time, soft_ns),
    MEMBER(podfence_cpu_interrupts, time),
    MEMBER(podfence_cpu_interrupts, hard_start_ns),
    MEMBER(podfence_cpu_interrupts, soft_start_ns),
    MEMBER(podfence_cpu_interrupts, hard_before_ns),
    MEMBER(podfence_cpu_interrupts, padding),
    MEMBER(podfence_seen, generation),
    MEMBER(podfence_seen, pid),
    MEMBER(podfence_seen, slot),
    MEMBER(podfence_seen, kind),
    MEMBER(podfence_seen, foreign),
    MEMBER(podfence_event, generation),
    MEMBER(podfence_event, cgroup_id),
    MEMBER(podfence_event, duration_ns),
    MEMBER(podfence_event, kind),
    MEMBER(podfence_event, slot),
    MEMBER(podfence_event, foreign),
    MEMBER(podfence_event, intruder_slot),
    MEMBER(podfence_event, cpu),
    MEMBER(podfence_event, tid),
    MEMBER(podfence_event, tgid),
    MEMBER(podfence_event, by_tgid),
    MEMBER(podfence_event, comm),
    MEMBER(podfence_event, by_comm),
    MEMBER(podfence_losses, events),
    MEMBER(podfence_losses, helpers),
    MEMBER(podfence_file, cgroup_id),
    MEMBER(podfence_file, name),
    MEMBER(podfence_writer, at_ns),
    MEMBER(podfence_writer, cgroup_id),
    MEMBER(podfence_writer, tgid),
    MEMBER(podfence_writer, padding),
    MEMBER(podfence_writer, comm),
    MEMBER(podfence_member, fence_id),
    MEMBER(podfence_member, start_ns),
    MEMBER(podfence_bandwidth, cgroup_id),
    MEMBER(podfence_bandwidth, quota_ns),
    MEMBER(podfence_bandwidth, period_ns),
    MEMBER(podfence_bandwidth, throttled_ns),
    MEMBER(podfence_bandwidth, periods),
    MEMBER(podfence_bandwidth, throttled_periods),
};
#undef MEMBER

absl::Status Mismatch(const Member& member, std::string_view what, int64_t here, int64_t there) {
  return absl::FailedPreconditionError(Cat("layout of struct ", member.type, ", member ", member.name, ": its ", what,
                                           " is ", here, " in the agent and ", there,
                                           " in the BPF object; build both from one source"));
}

absl::Status CheckMember(const btf* types, int32_t id, const Member& member) {
  const btf_type* type = btf__type_by_id(types, id);
  if (type->size != member.type_size) {
    return Mismatch(member, "struct's size", static_cast<int64_t>(member.type_size), type->size);
  }
  for (int i = 0; i < btf_vlen(type); ++i) {
    const btf_member& found = btf_members(type)[i];
    if (std::string_view(btf__name_by_offset(types, found.name_off)) != member.name) continue;
    const int64_t offset = btf_member_bit_offset(type, i) / 8;
    const int64_t size = btf__resolve_size(types, found.type);
    if (offset != static_cast<int64_t>(member.offset)) {
      return Mismatch(member, "offset", static_cast<int64_t>(member.offset), offset);
    }
    if (size != static_cast<int64_t>(member.size)) {
      return Mismatch(member, "size", static_cast<int64_t>(member.size), size);
    }
    return absl::OkStatus();
  }
  return Mismatch(member, "presence", 1, 0);
}

}  // namespace

absl::StatusOr<int> CheckLayout(const btf* object_types) {
  std::map<std::string_view, int> members;  // of each struct that both have
  for (const Member& member : kMembers) {
    const int32_t id = btf__find_by_name_kind(object_types, member.type, BTF_KIND_STRUCT);
    if (id < 0) continue;
    if (absl::Status status = CheckMember(object_types, id, member); !status.ok()) return status;
    ++members[member.type];
  }
  for (uint32_t id = 1; id < btf__type_cnt(object_types); ++id) {
    const btf_type* type = btf__type_by_id(object_types, id);
    const std::string_view name = btf__name_by_offset(object_types, type->name_off);
    if (btf_is_struct(type) && name.starts_with("podfence_") && !members.contains(name)) {
      return absl::FailedPreconditionError(
          Cat("layout of struct ", name, ": the agent does not compare it; add its members to layout.cpp"));
    }
  }
  for (const auto& [name, count] : members) {
    const int32_t id = btf__find_by_name_kind(object_types, std::string(name).c_str(), BTF_KIND_STRUCT);
    const int there = btf_vlen(btf__type_by_id(object_types, id));
    if (there != count) {
      return absl::FailedPreconditionError(Cat("layout of struct ", name, ": ", count, " members in the agent and ",
                                               there, " in the BPF object; build both from one source"));
    }
  }
  return static_cast<int>(members.size());
}

}  // namespace podfence
