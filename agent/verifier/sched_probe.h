#pragma once

#include <unistd.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/verifier/layout.h"
#include "agent/verifier/libbpf.h"
#include "agent/verifier/observation.h"
#include "agent/verifier/tables.h"
#include "bpf/podfence_bpf.h"

struct podfence_sched;
void DestroySched(podfence_sched* object);

namespace podfence {

// bpf/sched.bpf.c, loaded and attached: the tables, the counters and the findings' ring buffer.
class SchedProbe {
 public:
  // Errors carry the kernel's words.
  // ring_bytes: room for findings; a power of two, and at least a page.
  static absl::StatusOr<std::unique_ptr<SchedProbe>> Start(const TableSizes& sizes, bool measure_wait,
                                                           uint32_t ring_bytes);

  // Fills the half of the tables not in use and makes it the one in use. After an error the old half is in use,
  // untouched.
  absl::Status Publish(const TableImage& image);
  // After Publish: books the runs in progress that were judged by the half of before it, and judges them by the new
  // one. CPUs that idle are not woken for it.
  absl::Status SettleOld();
  // Books the runs in progress of fenced and foreign tasks. The other CPUs are disturbed once after each Publish: one
  // that idled may have been about to judge by the half of before.
  absl::Status Settle();

  absl::Status Clear(uint32_t slot);
  // Of a slot, summed over the CPUs.
  absl::StatusOr<podfence_counters> ReadCounters(uint32_t slot) const;

  struct Losses {
    uint64_t lost = 0;
    uint64_t suppressed = 0;
    uint64_t miscounted = 0;
    uint64_t failed_helpers = 0;
  };
  absl::StatusOr<Losses> ReadLosses() const;

  // Calls sink for every finding since the last call.
  void Drain(const std::function<void(const podfence_event&)>& sink);
  int ring_fd() const;

  uint64_t generation() const { return generation_; }
  const TableSizes& sizes() const { return sizes_; }
  void ReadStatistics(Probe& probe) const;

  // Readies another skeleton on bpf/tables.bpf.h that is open and not loaded yet: its layout is the agent's, its sizes
  // and tables are this one's. FailedPrecondition as CheckLayout.
  template <typename Skeleton>
  absl::Status Share(Skeleton& skeleton) const {
    if (absl::StatusOr<int> layout = CheckLayout(bpf_object__btf(skeleton.obj)); !layout.ok()) return layout.status();
    SetSizes(*skeleton.rodata);
    if constexpr (requires { skeleton.rodata->agent_tgid; }) skeleton.rodata->agent_tgid = static_cast<__u32>(getpid());
    return ShareTables(skeleton.obj);
  }

 private:
  explicit SchedProbe(const TableSizes& sizes) : sizes_(sizes) {}
  absl::Status Load(bool measure_wait, uint32_t ring_bytes);
  absl::Status SettleWhere(absl::FunctionRef<bool(const podfence_cpu& run)> settles) const;
  // Until then a program may judge by the half of before, and book on a slot that has ended.
  absl::Status AwaitOld();
  absl::Status SettleCpu(uint32_t cpu) const;
  absl::Status ShareTables(bpf_object* object) const;
  template <typename Constants>
  void SetSizes(Constants& constants) const {
    constants.cpu_count = sizes_.cpus;
    constants.fence_capacity = sizes_.slots();
    constants.mask_words = sizes_.mask_words();
  }
  absl::Status FillHalf(uint64_t half, const TableImage& image);
  static int OnEvent(void* self, void* data, size_t size);

  TableSizes sizes_;
  std::unique_ptr<podfence_sched, FreeWith<DestroySched>> object_;
  LinkPtr link_;
  std::unique_ptr<ring_buffer, FreeWith<ring_buffer__free>> ring_;
  const std::function<void(const podfence_event&)>* sink_ = nullptr;
  uint64_t generation_ = 0;
  bool lingers_ = false;  // a program may still be reading the half of before the last Publish
  TableImage halves_[2];  // what each half of the tables holds; a table of no length: not known, or all zero
};

}  // namespace podfence
