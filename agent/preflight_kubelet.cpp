#include "agent/preflight_kubelet.h"

#include <utility>

#include "agent/audit_state.h"
#include "agent/cgroup/files.h"
#include "agent/core/text.h"
#include "agent/kubelet_state/kubelet_state.h"

namespace podfence {
namespace {

using State = PreflightCheck::State;

constexpr char kFindConfiguration[] =
    "--kubelet-config says where it is, and a container must have it mounted; else make sure that its ";

absl::StatusOr<Node> ReadKubeletConfiguration(const std::string& path) {
  const absl::StatusOr<std::string> text = ReadSmallFile(path);
  if (!text.ok()) return text.status();
  absl::StatusOr<std::vector<Node>> documents = ReadYaml(*text, path);
  if (!documents.ok()) return documents.status();
  if (documents->empty()) return absl::InvalidArgumentError(Cat(path, " is empty"));
  return std::move(documents->front());
}

}  // namespace

KubeletChecks::KubeletChecks(const Config& config, const PreflightOptions& options)
    : config_(config),
      root_(options.root),
      path_(Cat(root_, options.kubelet_config)),
      kubelet_(ReadKubeletConfiguration(path_)) {}

std::vector<PreflightCheck> KubeletChecks::ToManage() {
  CheckManagers();
  CheckStates();
  CheckCgroups();
  CheckQuotas();
  return std::move(checks_);
}

std::vector<PreflightCheck> KubeletChecks::ToAudit() {
  CheckDecides();
  if (!kubelet_.ok()) {
    Add("kubelet configuration", State::kWarning,
        Cat("unknown, it cannot be read: ", ToStd(kubelet_.status().message())),
        Cat(kFindConfiguration, "cgroupRoot is /, its cpuCFSQuota and cpuCFSQuotaPeriod those of podfence.yaml"));
  }
  CheckCgroups();
  CheckQuotas();
  return std::move(checks_);
}

void KubeletChecks::Add(std::string_view name, State state, std::string found, std::string remedy) {
  checks_.push_back({std::string(name), state, std::move(found), std::move(remedy)});
}

std::string KubeletChecks::Word(std::string_view key) const {
  const Node* value = kubelet_.ok() ? kubelet_->Find(key) : nullptr;
  return value == nullptr ? "" : value->text;
}

void KubeletChecks::CheckManagers() {
  if (!kubelet_.ok()) {
    return Add("kubelet", State::kWarning,
               Cat("unknown, its configuration cannot be read: ", ToStd(kubelet_.status().message())),
               Cat(kFindConfiguration, "cpuManagerPolicy is none, its memoryManagerPolicy None, its cgroupRoot /"));
  }
  const std::string cpu = Word("cpuManagerPolicy");
  const std::string memory = Word("memoryManagerPolicy");
  if (cpu == "static" || memory == "Static") {
    return Add("kubelet", State::kFailed,
               Cat(path_, ": cpuManagerPolicy ", cpu.empty() ? "none" : cpu, ", memoryManagerPolicy ",
                   memory.empty() ? "None" : memory, ": two would decide about the same CPUs"),
               "set cpuManagerPolicy: none and memoryManagerPolicy: None, remove cpu_manager_state and "
               "memory_manager_state of its root directory and restart it; Podfence's own policies stand in its "
               "configuration");
  }
  Add("kubelet", State::kOk, "its CPU and memory managers are off");
}

// Whatever its configuration says: a flag may say otherwise, and the kubelet refuses to start on the state of another
// policy.
void KubeletChecks::CheckStates() {
  const std::string directory = Cat(root_, config_.kubelet_state_directory);
  const bool cpu = CheckState(Cat(directory, "/", kCpuManagerState), "static", ParseCpuManagerState);
  const bool memory = CheckState(Cat(directory, "/", kMemoryManagerState), "Static", ParseMemoryManagerState);
  // A kubelet writes both with either policy; before its first start there is none.
  if ((cpu && memory) || kubelet_.ok()) return;
  Add("kubelet state", State::kWarning,
      Cat("unknown, ", directory, " has no ", cpu ? kMemoryManagerState : kCpuManagerState),
      "kubeletStateDirectory says where it is, and a container must have it mounted");
}

template <typename ManagerState>
bool KubeletChecks::CheckState(const std::string& path, const char* policy,
                               absl::StatusOr<ManagerState> (*parse)(std::string_view text, std::string_view source)) {
  const absl::StatusOr<std::string> text = ReadSmallFile(path);
  if (absl::IsNotFound(text.status())) return false;
  const absl::StatusOr<ManagerState> state = text.ok() ? parse(*text, path) : text.status();
  if (!state.ok()) {
    Add("kubelet state", State::kWarning, Cat("unknown: ", ToStd(state.status().message())),
        Cat("run as root; make sure that its policy is not ", policy));
  } else if (state->policy == policy) {
    Add("kubelet state", State::kFailed,
        Cat(path, " is of policy ", policy,
            ": that manager of the kubelet is on, or the kubelet will not start with what an earlier policy left"),
        Cat("set its cpuManagerPolicy: none and memoryManagerPolicy: None, remove ", path, " and restart the kubelet"));
  }
  return true;
}

void KubeletChecks::CheckDecides() {
  const absl::StatusOr<KubeletState> state = ReadKubeletState(Cat(root_, config_.kubelet_state_directory));
  if (!state.ok()) {
    return Add("kubelet", State::kFailed, std::string(state.status().message()),
               "run as root, and in a container mount the kubelet's root directory, read-only; kubeletStateDirectory "
               "says where it is");
  }
  if (const std::vector<Unseen> without = WithoutManagers(*state); !without.empty()) {
    return Add("kubelet", State::kFailed, Cat(without[0].what, ": ", without[0].reason),
               "set the kubelet's cpuManagerPolicy: static, or Podfence's mode: manage");
  }
  Add("kubelet", State::kOk,
      Cat("its CPU manager is ", state->cpu.policy, ", its Memory manager ", state->memory.policy, "; ",
          state->cpu.containers.size(), " pods hold CPUs of their own"));
}

// Pods are only known below kubepods at the top of the hierarchy (ParsePodCgroup, FindKubePods). The kubelet has that
// below its cgroupRoot, and only with cgroupsPerQOS (cm/container_manager_linux.go NewContainerManager).
void KubeletChecks::CheckCgroups() {
  const std::string root = Word("cgroupRoot");
  const bool groups = Word("cgroupsPerQOS") != "false";
  if (groups && (root.empty() || root == "/")) return;
  Add("kubelet cgroups", State::kFailed,
      Cat(path_, ": ", groups ? Cat("cgroupRoot ", root) : "cgroupsPerQOS false",
          ": its pods are not below kubepods at the top of the cgroup hierarchy, and the agent ",
          config_.mode == "audit" ? "would find none of them" : "would refuse every one"),
      "drain the node, set the kubelet's cgroupRoot: / and cgroupsPerQOS: true (the defaults) and restart it");
}

void KubeletChecks::CheckReservations(const Policy& policy, const Machine& machine) {
  if (!kubelet_.ok()) return;  // said by CheckManagers
  const absl::StatusOr<Config> reservations = KubeletReservations(*kubelet_, path_);
  const absl::StatusOr<Policy> kubelets =
      reservations.ok() ? ComposePolicy(*reservations, machine) : reservations.status();
  if (!kubelets.ok()) {
    return Add("reservations", State::kWarning, Cat("unknown: ", ToStd(kubelets.status().message())),
               "compare the kubelet's with those of podfence.yaml");
  }
  const auto of = [](const Policy& whose, std::string_view resource) {
    const auto amount = whose.reserved.find(resource);
    return amount == whose.reserved.end() ? Quantity() : amount->second;
  };
  const auto shown = [&](const Policy& whose) {
    return Cat(of(whose, kCpu).ToString(), " CPUs and ", of(whose, kMemory).ToString(), " of memory");
  };
  if (of(*kubelets, kCpu) == of(policy, kCpu) && of(*kubelets, kMemory) == of(policy, kMemory)) {
    return Add("reservations", State::kOk, Cat("the kubelet's are the same: ", shown(policy)));
  }
  Add("reservations", State::kWarning,
      Cat(path_, " reserves ", shown(*kubelets), ", podfence.yaml ", shown(policy),
          ": the scheduler places pods by the kubelet's, and what then does not fit is refused"),
      "write the same systemReserved, kubeReserved, evictionHard and reservedSystemCPUs in both");
}

// In mode audit quotas are expected to be the kubelet's, in mode manage Podfence sets some itself: in one period with
// it.
void KubeletChecks::CheckQuotas() {
  if (!kubelet_.ok()) return;  // said already
  const bool audit = config_.mode == "audit";
  if (Word("cpuCFSQuota") == "false") {
    if (!config_.cpu_cfs_quota) return;
    return Add("kubelet quotas", State::kWarning,
               Cat(path_, ": cpuCFSQuota false, and true here: ",
                   audit ? "every quota that the kubelet does not make would be a finding"
                         : "of all containers with CPU limits only those beside exclusive ones are held to them"),
               audit
                   ? "set cpuCFSQuota: false in podfence.yaml"
                   : "set the kubelet's cpuCFSQuota: true; where it is meant so, cpuCFSQuota: false in podfence.yaml: "
                     "releaseOnExit then gives no quotas back");
  }
  if (audit && !config_.cpu_cfs_quota) return;
  std::string word = Word("cpuCFSQuotaPeriod");
  if (word.empty()) word = "100ms";  // its default
  absl::Duration period;
  if (absl::ParseDuration(word, &period) && period == config_.cpu_cfs_quota_period) return;
  Add("kubelet quotas", State::kWarning,
      Cat(path_, ": cpuCFSQuotaPeriod ", word, ", and ", absl::FormatDuration(config_.cpu_cfs_quota_period), " here: ",
          audit ? "every quota of the kubelet would be a finding" : "one pod would have quotas in two periods"),
      "set cpuCFSQuotaPeriod in podfence.yaml to the kubelet's");
}

}  // namespace podfence
