#include "agent/verifier/interrupt_probe.h"

#include <cerrno>
#include <string>
#include <utility>

#include "agent/core/text.h"
#include "agent/verifier/maps.h"
#include "bpf/interrupts.skel.h"
#include "bpf/podfence_bpf.h"

void DestroyInterrupts(podfence_interrupts* object) { podfence_interrupts__destroy(object); }

namespace podfence {
namespace {

// Pairs of tracepoints NAME_entry and NAME_exit.
struct Pair {
  const char* name;
  bool soft;
  bool everywhere;
};
constexpr Pair kPairs[] = {
    {.name = "irq_handler", .soft = false, .everywhere = true},
    {.name = "softirq", .soft = true, .everywhere = true},
    // arch/x86/include/asm/trace/irq_vectors.h; what has no such vectors has no such tracepoints.
    {.name = "local_timer", .soft = false, .everywhere = false},
    {.name = "reschedule", .soft = false, .everywhere = false},
    {.name = "call_function", .soft = false, .everywhere = false},
    {.name = "call_function_single", .soft = false, .everywhere = false},
    {.name = "irq_work", .soft = false, .everywhere = false},
};

}  // namespace

absl::StatusOr<std::unique_ptr<InterruptProbe>> InterruptProbe::Start(const SchedProbe& tables) {
  const LibbpfLog log;
  std::unique_ptr<InterruptProbe> probe(new InterruptProbe);
  probe->object_.reset(podfence_interrupts__open());
  if (probe->object_ == nullptr) return log.Error("open BPF object interrupts", errno);
  podfence_interrupts& object = *probe->object_;
  bpf_map__set_max_entries(object.maps.interrupts, tables.sizes().cpus);
  bpf_map__set_max_entries(object.maps.interrupt_times, tables.sizes().slots());
  if (absl::Status status = tables.Share(object); !status.ok()) return status;
  if (const int error = podfence_interrupts__load(&object); error != 0) {
    return log.Error("load BPF programs interrupts", error);
  }
  if (absl::Status status = probe->Attach(); !status.ok()) return status;
  return probe;
}

absl::Status InterruptProbe::Attach() {
  const LibbpfLog log;
  const auto& programs = object_->progs;
  for (const Pair& pair : kPairs) {
    // The end first: what it sees end without a beginning it passes over.
    const std::pair<const char*, const bpf_program*> ends[] = {
        {"_exit", pair.soft ? programs.soft_end : programs.hard_end},
        {"_entry", pair.soft ? programs.soft_begin : programs.hard_begin}};
    for (const auto& [suffix, program] : ends) {
      const std::string tracepoint = Cat(pair.name, suffix);
      LinkPtr link(bpf_program__attach_raw_tracepoint(program, tracepoint.c_str()));
      if (link == nullptr && errno == ENOENT && !pair.everywhere) break;
      if (link == nullptr) return log.Error(Cat("attach BPF program raw_tp/", tracepoint), errno);
      links_.push_back(std::move(link));
    }
  }
  return absl::OkStatus();
}

absl::Status InterruptProbe::Clear(uint32_t slot) {
  return ClearPerCpu<podfence_interrupt_time>(object_->maps.interrupt_times, slot);
}

absl::StatusOr<InterruptTime> InterruptProbe::ReadSlot(uint32_t slot) const {
  absl::StatusOr<std::vector<podfence_interrupt_time>> values =
      ReadPerCpu<podfence_interrupt_time>(object_->maps.interrupt_times, slot);
  if (!values.ok()) return values.status();
  InterruptTime sum;
  for (const podfence_interrupt_time& value : *values) {
    sum.hard_ns += value.hard_ns;
    sum.soft_ns += value.soft_ns;
  }
  return sum;
}

absl::StatusOr<InterruptTime> InterruptProbe::ReadCpu(uint32_t cpu) const {
  podfence_cpu_interrupts value = {};
  const bpf_map* map = object_->maps.interrupts;
  if (const int error = bpf_map_lookup_elem(bpf_map__fd(map), &cpu, &value); error != 0) {
    return MapError("read", map, error);
  }
  return InterruptTime{.hard_ns = value.time.hard_ns, .soft_ns = value.time.soft_ns};
}

void InterruptProbe::ReadStatistics(Probe& probe) const {
  const auto& programs = object_->progs;
  for (const bpf_program* program : {programs.hard_begin, programs.hard_end, programs.soft_begin, programs.soft_end}) {
    ReadProgramStatistics(program, probe);
  }
}

}  // namespace podfence
