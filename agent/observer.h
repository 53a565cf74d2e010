#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "agent/ledger.h"
#include "agent/run_queue.h"
#include "agent/runtime/runtime.h"
#include "agent/server/snapshot.h"
#include "agent/witness.h"

namespace podfence {

// Puts together what is decided (ledger), what lives (runtime) and what the kernel says (witness) into one Snapshot.
// It keeps totals of ended containers, so that exported counters never fall.
class Observer {
 public:
  // The pod-wide and node-wide facts that the agent knows beside those three.
  struct Context {
    std::string_view mode;
    const Ledger& ledger;
    const Runtime& runtime;
    Witness& witness;
    bool per_pod_metrics = false;
    double started = 0;  // Unix seconds
  };

  // What there is to say now. The agent adds what only it knows: refused manifests and findings.
  Snapshot Look(const Context& context);

 private:
  ContainerView LookAt(const Context& context, const PodAllocation& allocation, const Container& container,
                       bool is_init, const std::vector<ContainerRun>& statuses,
                       const absl::StatusOr<Observation>& seen);
  // container: empty for those of a pod that share CPUs, for which each cgroup counts once.
  void AddThrottling(const std::string& uid, const std::string& container, const std::vector<ThrottlingView>& levels);

  // Last reading of each level of throttling, by UID, container and cgroup.
  std::map<std::tuple<std::string, std::string, std::string>, ThrottlingView> throttling_;
  RunQueueTotals run_queue_;
  PromiseTotals totals_;
  CollectorView kernel_{.name = "kernel", .up = false, .duration_seconds = 0, .errors = 0};
};

}  // namespace podfence
