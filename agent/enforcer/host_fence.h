#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/cgroup/cgroup.h"
#include "agent/cgroup/control.h"
#include "agent/core/cpu_set.h"
#include "agent/enforcer/finding.h"

namespace podfence {

// Keeps the rest of the host off exclusive CPUs: other top-level cgroups, unbound workqueues, movable kernel threads,
// and user processes in the root cgroup.
struct HostFenceOptions {
  std::string proc_root = "/proc";
  std::string sys_root = "/sys";
  std::string state_dir;  // an existing directory, for the record of what was there before
  bool repair = true;     // false: what others change is reported and stays
};

// What the host's sets were before we touched them. It stands in <state_dir>/host-fence before the first change, so
// that an agent that was killed still knows; after a reboot (another boot id) it means nothing any more.
struct HostRecord {
  struct Cgroup {
    std::string name;
    CpuSet cpus;
  };
  struct Task {
    uint64_t start_time = 0;
    CpuSet cpus;
  };
  std::map<uint64_t, Cgroup> cgroups;  // by cgroup id
  std::optional<CpuSet> workqueues;
  std::map<pid_t, Task> tasks;

  std::string ToText(std::string_view boot_id) const;
  // DataLoss names the line that is damaged; a record of another boot is empty.
  static absl::StatusOr<HostRecord> Parse(std::string_view text, std::string_view boot_id);
};

class HostFence {
 public:
  // root: the hierarchy's; own: the name of the one child that is not the host's. A damaged record is set aside as
  // host-fence.damaged and is no error: what is there now counts as the original then.
  static absl::StatusOr<HostFence> Create(HostFenceOptions options, Cgroup root, std::string own);

  // Brings everything of the host to what it had before inside `cpus`, or to all of `cpus` where that is nothing;
  // empty: to what it had before. Looks at every task when cpus changed, with `sweep` at those that appeared since.
  void Apply(const CpuSet& cpus, bool sweep, std::vector<Finding>& findings);
  // What Apply got last; none: it was not called yet.
  const std::optional<CpuSet>& applied() const { return applied_; }
  // The child that is not the host's has another name than was thought.
  void SetOwn(std::string own) { own_ = std::move(own); }
  // Puts back what was there, except where someone else changed it since; then forgets the record.
  absl::Status Release();

 private:
  HostFence(HostFenceOptions options, Cgroup root, std::string own)
      : options_(std::move(options)), root_(std::move(root)), own_(std::move(own)) {}

  struct HostCgroup {
    Cgroup cgroup;
    CpuSet now;
  };
  absl::StatusOr<std::vector<HostCgroup>> Cgroups(const WholeSets& whole) const;
  std::string RecordPath() const;
  absl::Status Save();
  // Adds tasks that are to be moved to the record; `all`: looks also at those seen before.
  absl::Status CollectTasks(const CpuSet& cpus, bool all);
  void ApplyTasks(const CpuSet& cpus, std::vector<Finding>& findings);

  HostFenceOptions options_;
  Cgroup root_;
  std::string own_;
  std::string boot_id_;
  HostRecord record_;
  std::optional<CpuSet> applied_;
  CpuSet limit_;  // what applied_ came to: empty for the whole machine
  std::set<pid_t> seen_;
  bool tasks_stale_ = false;  // some tasks are not yet where they belong
};

// A cgroup of the host and the CPUs that it may run on.
struct HostUser {
  std::string path;
  CpuSet effective;
};
// The host's cgroups whose effective sets have any of the CPUs; root and own as in HostFence::Create.
absl::StatusOr<std::vector<HostUser>> FindHostUsers(const Cgroup& root, std::string_view own, const CpuSet& cpus);

// Finds everything of the host that may run on the CPUs (cgroups, unbound workqueues, tasks of the root cgroup), and
// changes nothing: needs no record.
void InspectHost(const HostFenceOptions& options, const Cgroup& root, std::string_view own, const CpuSet& cpus,
                 std::vector<Finding>& findings, std::vector<Unseen>& unseen);

}  // namespace podfence
