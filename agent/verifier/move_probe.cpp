#include "agent/verifier/move_probe.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "agent/core/text.h"
#include "agent/verifier/iterator.h"
#include "bpf/moves.skel.h"

void DestroyMoves(podfence_moves* object) { podfence_moves__destroy(object); }

namespace podfence {

absl::StatusOr<std::unique_ptr<MoveProbe>> MoveProbe::Start(MoveMeans means, const SchedProbe& tables) {
  const LibbpfLog log;
  std::unique_ptr<MoveProbe> probe(new MoveProbe);
  probe->object_.reset(podfence_moves__open());
  if (probe->object_ == nullptr) return log.Error("open BPF object moves", errno);
  podfence_moves& object = *probe->object_;
  if (absl::Status status = tables.Share(object); !status.ok()) return status;

  const auto& all = object.progs;
  std::vector<bpf_program*> wanted = {all.move_sweep};
  // The end of a move first: one whose beginning was not seen it passes over.
  if (means == MoveMeans::kCall) wanted = {all.attach_end, all.attach_begin};
  if (means == MoveMeans::kTracepoint) wanted = {all.attached, all.move_sweep};
  bpf_program* each = nullptr;
  bpf_object__for_each_program(each, object.obj) {
    bpf_program__set_autoload(each, std::ranges::find(wanted, each) != wanted.end());
  }
  if (const int error = podfence_moves__load(&object); error != 0) {
    return log.Error(Cat("load BPF program ", bpf_program__section_name(wanted.front())), error);
  }
  for (const bpf_program* program : wanted) {
    LinkPtr link(bpf_program__attach(program));
    if (link == nullptr) return log.Error(Cat("attach BPF program ", bpf_program__section_name(program)), errno);
    if (program == all.move_sweep) probe->sweep_ = link.get();
    probe->programs_.push_back(program);
    probe->links_.push_back(std::move(link));
  }
  return probe;
}

absl::StatusOr<std::vector<podfence_event>> MoveProbe::Sweep() const {
  if (sweep_ == nullptr) return std::vector<podfence_event>{};
  return RunIterator<podfence_event>(sweep_, "move_sweep");
}

void MoveProbe::ReadStatistics(Probe& probe) const {
  for (const bpf_program* program : programs_) ReadProgramStatistics(program, probe);
}

}  // namespace podfence
