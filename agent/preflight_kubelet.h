#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "agent/config/config.h"
#include "agent/pods/document.h"
#include "agent/preflight.h"

namespace podfence {

// What preflight looks at of the kubelet: its configuration, which may be elsewhere than its usual place, and the state
// of its managers, which tells what it runs with.
class KubeletChecks {
 public:
  KubeletChecks(const Config& config, const PreflightOptions& options);

  std::vector<PreflightCheck> ToManage();
  std::vector<PreflightCheck> ToAudit();
  // Whether it reserves what Podfence does: the scheduler counts on what the kubelet leaves to pods.
  void CheckReservations(const Policy& policy, const Machine& machine);
  // As its configuration says; it may have it from the runtime too.
  bool systemd_driver() const { return Word("cgroupDriver") == "systemd"; }

 private:
  void Add(std::string_view name, PreflightCheck::State state, std::string found, std::string remedy = "");
  // A word of its configuration, "" where that says nothing or is not known.
  std::string Word(std::string_view key) const;
  void CheckManagers();
  void CheckStates();
  // False: the file is not there.
  template <typename ManagerState>
  bool CheckState(const std::string& path, const char* policy,
                  absl::StatusOr<ManagerState> (*parse)(std::string_view text, std::string_view source));
  void CheckDecides();
  void CheckCgroups();
  void CheckQuotas();

  const Config& config_;
  const std::string root_;
  const std::string path_;  // of its configuration
  absl::StatusOr<Node> kubelet_;
  std::vector<PreflightCheck> checks_;
};

}  // namespace podfence
