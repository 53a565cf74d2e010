#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "agent/runtime/runtime.h"

namespace podfence {

// What must outlive the agent about one container, so that a new one neither runs a finished init container again nor
// takes another process for it. It means nothing after a reboot.
struct ContainerRecord {
  struct Process {
    pid_t pid = 0;
    uint64_t start_time = 0;  // /proc/PID/stat: with the pid it names one process for ever
    friend bool operator==(const Process&, const Process&) = default;
  };
  int restarts = 0;
  absl::Time started;              // of the last start
  std::optional<Process> process;  // runs, as far as is known
  std::optional<ExitStatus> exit;  // of the last run that ended

  std::string ToText(std::string_view boot_id) const;
  // None for a record of another boot. DataLoss names what is damaged.
  static absl::StatusOr<std::optional<ContainerRecord>> Parse(std::string_view text, std::string_view boot_id);
};

// The records of all containers: <directory>/<uid>/<container>, each replaced atomically.
class RecordStore {
 public:
  RecordStore(std::string directory, std::string boot_id)
      : directory_(std::move(directory)), boot_id_(std::move(boot_id)) {}
  // None where there is none, or it is of another boot. A damaged one is an error (it says which file).
  absl::StatusOr<std::optional<ContainerRecord>> Load(std::string_view uid, std::string_view container) const;
  absl::Status Save(std::string_view uid, std::string_view container, const ContainerRecord& record) const;
  absl::Status Drop(std::string_view uid) const;
  // Drops the records of all pods but these.
  absl::Status KeepOnly(const std::vector<std::string>& uids) const;

 private:
  std::string directory_;
  std::string boot_id_;
};

}  // namespace podfence
