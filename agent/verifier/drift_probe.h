#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/verifier/libbpf.h"
#include "agent/verifier/sched_probe.h"

struct podfence_drift;
void DestroyDrift(podfence_drift* object);

namespace podfence {

// One program of bpf/drift.bpf.c, loaded and attached by itself, on the tables of a SchedProbe that outlives it.
class DriftProbe {
 public:
  // program: affinity_request, affinity_change or affinity_sweep. Errors carry the kernel's words.
  static absl::StatusOr<std::unique_ptr<DriftProbe>> Start(std::string_view program, const SchedProbe& tables);
  // affinity_sweep only: a record for each task whose mask leaves its fence.
  absl::StatusOr<std::vector<podfence_event>> Sweep() const;
  void ReadStatistics(Probe& probe) const;

 private:
  DriftProbe() = default;
  std::unique_ptr<podfence_drift, FreeWith<DestroyDrift>> object_;
  const bpf_program* program_ = nullptr;
  LinkPtr link_;
};

}  // namespace podfence
