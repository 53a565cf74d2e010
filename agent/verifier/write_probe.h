#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/core/writer.h"
#include "agent/verifier/libbpf.h"
#include "agent/verifier/sched_probe.h"

struct podfence_writes;
void DestroyWrites(podfence_writes* object);

namespace podfence {

// bpf/writes.bpf.c, loaded and attached, on the tables of a SchedProbe that outlives it.
class WriteProbe {
 public:
  // Errors carry the kernel's words.
  static absl::StatusOr<std::unique_ptr<WriteProbe>> Start(const SchedProbe& tables);

  // The cgroups whose writers are remembered from now on; those of others are forgotten as room is needed.
  absl::Status Watch(const std::set<uint64_t>& cgroup_ids);
  // The last process other than this one that wrote a control file; none: nobody since it is watched or was forgotten.
  absl::StatusOr<std::optional<Writer>> Who(uint64_t cgroup_id, std::string_view file) const;
  void Forget(uint64_t cgroup_id, std::string_view file);
  void ReadStatistics(Probe& probe) const;

 private:
  WriteProbe() = default;
  std::unique_ptr<podfence_writes, FreeWith<DestroyWrites>> object_;
  LinkPtr link_;
  std::set<uint64_t> watched_;
};

}  // namespace podfence
