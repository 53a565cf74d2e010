#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/verifier/libbpf.h"
#include "agent/verifier/observation.h"
#include "agent/verifier/sched_probe.h"

struct podfence_interrupts;
void DestroyInterrupts(podfence_interrupts* object);

namespace podfence {

// bpf/interrupts.bpf.c, loaded and attached, on the tables of a SchedProbe that outlives it.
class InterruptProbe {
 public:
  // Errors carry the kernel's words.
  static absl::StatusOr<std::unique_ptr<InterruptProbe>> Start(const SchedProbe& tables);

  absl::Status Clear(uint32_t slot);
  // Of a slot, summed over the CPUs that it owned.
  absl::StatusOr<InterruptTime> ReadSlot(uint32_t slot) const;
  // Of a CPU, while anybody owned it. Never cleared.
  absl::StatusOr<InterruptTime> ReadCpu(uint32_t cpu) const;
  void ReadStatistics(Probe& probe) const;

 private:
  InterruptProbe() = default;
  absl::Status Attach();

  std::unique_ptr<podfence_interrupts, FreeWith<DestroyInterrupts>> object_;
  std::vector<LinkPtr> links_;
};

}  // namespace podfence
