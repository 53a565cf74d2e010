#include "agent/verifier/drift_probe.h"

#include <cerrno>

#include "agent/core/text.h"
#include "agent/verifier/iterator.h"
#include "bpf/drift.skel.h"

void DestroyDrift(podfence_drift* object) { podfence_drift__destroy(object); }

namespace podfence {

absl::StatusOr<std::unique_ptr<DriftProbe>> DriftProbe::Start(std::string_view program, const SchedProbe& tables) {
  const LibbpfLog log;
  std::unique_ptr<DriftProbe> probe(new DriftProbe);
  probe->object_.reset(podfence_drift__open());
  if (probe->object_ == nullptr) return log.Error("open BPF object drift", errno);
  podfence_drift& object = *probe->object_;
  if (absl::Status status = tables.Share(object); !status.ok()) return status;

  bpf_program* chosen = nullptr;
  bpf_program* each = nullptr;
  bpf_object__for_each_program(each, object.obj) {
    const bool wanted = program == bpf_program__name(each);
    bpf_program__set_autoload(each, wanted);
    if (wanted) chosen = each;
  }
  if (chosen == nullptr) return absl::InvalidArgumentError(Cat("no BPF program ", program, " in object drift"));
  const std::string hook = bpf_program__section_name(chosen);
  if (const int error = podfence_drift__load(&object); error != 0) {
    return log.Error(Cat("load BPF program ", hook), error);
  }
  probe->link_.reset(bpf_program__attach(chosen));
  if (probe->link_ == nullptr) return log.Error(Cat("attach BPF program ", hook), errno);
  probe->program_ = chosen;
  return probe;
}

absl::StatusOr<std::vector<podfence_event>> DriftProbe::Sweep() const {
  return RunIterator<podfence_event>(link_.get(), "affinity_sweep");
}

void DriftProbe::ReadStatistics(Probe& probe) const { ReadProgramStatistics(program_, probe); }

}  // namespace podfence
