#include "agent/verification_looks.h"

#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"
#include "agent/audit_state.h"
#include "agent/core/text.h"
#include "agent/kube_places.h"
#include "agent/kubelet_state/kubelet_state.h"
#include "agent/node_pods.h"
#include "agent/places_file.h"
#include "agent/state/adopt.h"
#include "agent/state/store.h"
#include "agent/translation.h"

namespace podfence {
namespace {

constexpr absl::Duration kPodsAnswer = absl::Seconds(10);

std::string WhyNoCheckpoint(const absl::Status& status) {
  std::string message(status.message());
  if (absl::IsNotFound(status)) {
    return "not there: no agent has decided anything. Start `podfence agent`, or name its --state-dir";
  }
  if (absl::IsPermissionDenied(status)) return Cat(message, ". Run as the agent's user, root");
  if (!absl::IsInvalidArgument(status)) return message;
  return Cat(message, ". An agent sets it aside at its next start, and decides anew");
}

void ExpectLives(const std::string& cgroup_root, Look& look) {
  for (const LiveFence& live : look.inspection.live) {
    look.expectations.fences.push_back(ExpectationOf(live, cgroup_root));
  }
}

class CheckpointLooks final : public Looks {
 public:
  CheckpointLooks(const Config& config, const Allocator& allocator)
      : config_(config), allocator_(allocator), options_(EnforcerOptionsOf(config, allocator)) {}

  std::optional<Look> Take(std::vector<Unseen>& unknown) override {
    const std::string path = CheckpointPath(config_.state_directory);
    absl::StatusOr<NodeState> state = ReadCheckpoint(path);
    if (!state.ok()) {
      unknown.push_back({path, WhyNoCheckpoint(state.status())});
      return std::nullopt;
    }
    std::optional<Places> places;
    if (options_.runtime_cgroups) {
      absl::StatusOr<Places> kept = ReadPlaces(config_.state_directory);
      if (!kept.ok()) {
        unknown.push_back({"where the pods' cgroups are", std::string(kept.status().message())});
        return std::nullopt;
      }
      places = *std::move(kept);
    }
    absl::StatusOr<Inspection> inspection =
        Inspect(*state, config_.cgroup_hierarchy, allocator_.machine(), options_, places ? &*places : nullptr);
    if (!inspection.ok()) {
      unknown.push_back({config_.cgroup_hierarchy, std::string(inspection.status().message())});
      return std::nullopt;
    }
    Look look{.state = *std::move(state), .inspection = *std::move(inspection)};
    look.misfits =
        AdoptState(look.state, allocator_.InitialState(), allocator_.machine(), allocator_.reserved_cpus()).misfits;
    ExpectLives(config_.cgroup_hierarchy, look);
    return look;
  }

  // An agent commits before it enforces: what it is just about to do is done by then.
  absl::Duration Settles() const override { return absl::Seconds(1); }

 private:
  const Config& config_;
  const Allocator& allocator_;
  EnforcerOptions options_;
};

class KubeletLooks final : public Looks {
 public:
  explicit KubeletLooks(const Config& config) : config_(config) {}

  std::optional<Look> Take(std::vector<Unseen>& unknown) override {
    const absl::StatusOr<KubeletState> kubelet = ReadKubeletState(config_.kubelet_state_directory);
    if (!kubelet.ok()) {
      unknown.push_back({"the kubelet's state", std::string(kubelet.status().message())});
      return std::nullopt;
    }
    if (std::vector<Unseen> without = WithoutManagers(*kubelet); !without.empty()) {
      unknown = std::move(without);
      return std::nullopt;
    }
    const absl::StatusOr<std::vector<PodRecordPtr>> pods = ReadPods(config_, kPodsAnswer);
    if (!pods.ok()) {
      unknown.push_back({"the node's pods", std::string(pods.status().message())});
      return std::nullopt;
    }
    Look look{.state = ComposeState(*kubelet, *pods), .inspection = {}};
    std::vector<Unseen> unseen;
    const Places places = FindPlaces(config_.cgroup_hierarchy, *pods, unseen);
    AuditOptions options = AuditOptionsOf(config_);
    options.resizing = ResizingPods(*pods);
    absl::StatusOr<Inspection> inspection = Audit(look.state, places, options);
    if (!inspection.ok()) {
      unknown.push_back({config_.cgroup_hierarchy, std::string(inspection.status().message())});
      return std::nullopt;
    }
    look.inspection = *std::move(inspection);
    look.inspection.unseen.insert(look.inspection.unseen.end(), unseen.begin(), unseen.end());
    ExpectLives(config_.cgroup_hierarchy, look);
    return look;
  }

  absl::Duration Settles() const override {
    const std::string path = Cat(config_.kubelet_state_directory, "/", kCpuManagerState);
    struct stat info {};
    const absl::Time written = stat(path.c_str(), &info) == 0 ? absl::TimeFromTimespec(info.st_mtim) : absl::Now();
    return std::max(absl::Seconds(1), written + kKubeletReconciles - absl::Now());
  }

 private:
  const Config& config_;
};

}  // namespace

std::unique_ptr<Looks> MakeLooks(const Config& config, const Allocator& allocator) {
  if (config.mode == "audit") return std::make_unique<KubeletLooks>(config);
  return std::make_unique<CheckpointLooks>(config, allocator);
}

}  // namespace podfence
