#include "agent/preflight.h"

#include <sys/capability.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <iterator>

#include "agent/cgroup/cgroup.h"
#include "agent/cgroup/control.h"
#include "agent/cgroup/files.h"
#include "agent/cgroup/unique_fd.h"
#include "agent/commands/policy_flags.h"
#include "agent/core/text.h"
#include "agent/core/unix_address.h"
#include "agent/preflight_kubelet.h"
#include "agent/preflight_plugins.h"
#include "agent/verifier/verifier.h"

namespace podfence {
namespace {

namespace fs = std::filesystem;
using State = PreflightCheck::State;

// Why a socket cannot be reached; empty: someone listens on it.
std::string Unreachable(const std::string& path) {
  const absl::StatusOr<sockaddr_un> address = UnixAddress(path);
  if (!address.ok()) return "the path is too long for a socket";
  const UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) == 0) return "";
  return strerror(errno);
}

class Checks {
 public:
  Checks(const Config& config, const PreflightOptions& options)
      : config_(config), options_(options), kubelet_(config, options) {}

  std::vector<PreflightCheck> Run() {
    CheckCgroups();
    if (config_.mode == "audit") {
      AddAll(kubelet_.ToAudit());
      CheckCapabilities();
      CheckPrograms();
      return std::move(checks_);
    }
    if (config_.cpuset_partitions) CheckPartitions();
    CheckPolicy();
    AddAll(kubelet_.ToManage());
    CheckSystemd();
    // Before this process connects too.
    connected_plugins_ = CountOtherPlugins(Path("/proc"), config_.nri_socket_path,
                                           FindAgent(Path("/proc"), Path(config_.state_directory)));
    CheckNri();
    CheckOtherPlugins();
    CheckCapabilities();
    CheckPrograms();
    CheckStateDirectory();
    return std::move(checks_);
  }

 private:
  void Add(std::string_view name, State state, std::string found, std::string remedy = "") {
    checks_.push_back({std::string(name), state, std::move(found), std::move(remedy)});
  }
  void AddAll(std::vector<PreflightCheck> checks) { std::ranges::move(checks, std::back_inserter(checks_)); }
  std::string Path(std::string_view path) const { return Cat(options_.root, path); }

  void CheckCgroups() {
    const absl::StatusOr<Cgroup> root = OpenHierarchy(Path(config_.cgroup_hierarchy));
    if (!root.ok()) return AddHierarchyError(ToStd(root.status().message()));
    Add("cgroup v2", State::kOk, Cat(root->path(), " with cpuset, cpu and memory"));
  }

  // OpenHierarchy's last sentence is the remedy, where it knows one.
  void AddHierarchyError(std::string_view message) {
    constexpr std::string_view kBoot = ". Boot ";
    const size_t end = message.find(kBoot);
    if (end == std::string_view::npos) {
      return Add("cgroup v2", State::kFailed, std::string(message),
                 "cgroupHierarchy says where cgroup v2 is mounted; a container must have the host's mounted there");
    }
    Add("cgroup v2", State::kFailed, std::string(message.substr(0, end)),
        Cat("boot ", message.substr(end + kBoot.size())));
  }

  void CheckPartitions() {
    const absl::StatusOr<Cgroup> root = OpenHierarchy(Path(config_.cgroup_hierarchy));
    if (!root.ok()) return;  // said already
    const absl::StatusOr<std::vector<std::string>> children = root->Children();
    bool partitions = false;
    for (const std::string& name : children.value_or(std::vector<std::string>())) {
      const absl::StatusOr<Cgroup> child = root->OpenChild(name);
      partitions |= child.ok() && child->Has(kCpusetCpusExclusive);
    }
    if (partitions) return Add("cpuset partitions", State::kOk, "the kernel has them");
    Add("cpuset partitions", State::kWarning,
        "no cgroup has cpuset.cpus.exclusive: the scheduler may leave an exclusive CPU idle where its SMT sibling is "
        "busy",
        "use Linux 6.7 or later, or the CPU manager option full-pcpus-only");
  }

  // What the agent makes at its start, and ends with where it cannot.
  void CheckPolicy() {
    const absl::StatusOr<Allocator> allocator =
        AllocatorFor(config_, {.root = options_.root.empty() ? "/" : options_.root});
    if (allocator.ok()) {
      const CpuSet& reserved = allocator->reserved_cpus();
      kubelet_.CheckReservations(allocator->policy(), allocator->machine());
      return Add("policy", State::kOk,
                 Cat("fits this machine", reserved.empty() ? "" : Cat("; reserved are CPUs ", reserved.ToString())));
    }
    Add("policy", State::kFailed, std::string(allocator.status().message()),
        "correct the policies and reservations of podfence.yaml for this machine, which podfence topology shows: the "
        "agent would end with this at its start");
  }

  // Under the systemd driver, which the kubelet may have from its runtime too: then its slice tells.
  void CheckSystemd() {
    std::error_code error;
    if (!kubelet_.systemd_driver() && !fs::exists(Path(Cat(config_.cgroup_hierarchy, "/kubepods.slice")), error))
      return;
    const std::string path = Path("/run/dbus/system_bus_socket");
    const std::string unreachable = Unreachable(path);
    if (unreachable.empty()) return Add("systemd", State::kOk, Cat("can be told of fences over ", path));
    Add("systemd", State::kWarning,
        Cat("it owns the cgroups, and the system bus cannot be reached on ", path, " (", unreachable,
            "): what it sets anew, at daemon-reload, is repaired after it"),
        "run D-Bus on the node (package dbus), and in a container mount /run/dbus (the chart's systemdBus)");
  }

  void CheckNri() {
    const std::string path = Path(config_.nri_socket_path);
    const std::string unreachable = Unreachable(path);
    if (unreachable.empty()) return Add("NRI", State::kOk, Cat("the runtime listens on ", path));
    Add("NRI", State::kFailed, Cat("nobody listens on ", path, " (", unreachable, ")"),
        "containerd 2.0 and CRI-O 1.30 have NRI on; in containerd 1.7 set disable = false in the plugin "
        "io.containerd.nri.v1.nri and restart it. In a container, mount the socket's directory. nriSocketPath says "
        "where it is");
  }

  // Plugins that the runtime starts by itself (nri pkg/adaptation: DefaultPluginPath, DefaultPluginConfigPath), and
  // those that have connected, as from a DaemonSet.
  void CheckOtherPlugins() {
    std::error_code error;
    std::string names;
    for (const auto& entry : fs::directory_iterator(Path("/opt/nri/plugins"), error)) {
      absl::StrAppend(&names, names.empty() ? "" : ", ", entry.path().filename().string());
    }
    if (names.empty() && connected_plugins_ == 0) {
      return Add("other NRI plugins", State::kOk, "none is installed beside the runtime");
    }
    std::string found;
    if (!names.empty()) found = Cat("/opt/nri/plugins has ", names);
    if (connected_plugins_ > 0) {
      absl::StrAppend(&found, found.empty() ? "" : "; ", connected_plugins_,
                      connected_plugins_ == 1 ? " other plugin is" : " other plugins are", " connected to ",
                      config_.nri_socket_path);
    }
    Add("other NRI plugins", State::kWarning, std::move(found),
        "a plugin that sets cpusets or CPU quotas too, as balloons and topology-aware do, makes the creation of "
        "containers fail: run only one such on a node");
  }

  void CheckCapabilities() {
    struct Needed {
      std::string_view name;
      std::string_view what;
      cap_value_t value;
      bool vital;  // without it CPUs are not exclusive; else only something less is had
    };
    std::vector<Needed> all = {
        {"CAP_BPF", "load the kernel programs", CAP_BPF, false},
        {"CAP_PERFMON", "attach the kernel programs", CAP_PERFMON, false},
    };
    if (config_.mode != "audit") {
      if (config_.fence_host) {
        all.push_back({"CAP_SYS_NICE", "keep the host's tasks off exclusive CPUs, fenceHost", CAP_SYS_NICE, true});
      }
      if (config_.cpuset_partitions) {
        all.push_back({"CAP_SYS_ADMIN", "make cpuset partitions", CAP_SYS_ADMIN, false});
      }
      all.push_back({"CAP_DAC_OVERRIDE",
                     "write into cgroups that are not root's, as those of pods with a user namespace", CAP_DAC_OVERRIDE,
                     false});
    }
    cap_t own = cap_get_proc();
    std::string missing;
    State state = State::kWarning;
    for (const Needed& needed : all) {
      cap_flag_value_t set = CAP_CLEAR;
      if (own != nullptr && cap_get_flag(own, needed.value, CAP_EFFECTIVE, &set) == 0 && set == CAP_SET) continue;
      if (needed.vital) state = State::kFailed;
      missing += Cat(missing.empty() ? "" : ", ", needed.name, " (to ", needed.what, ")");
    }
    if (own != nullptr) cap_free(own);
    if (missing.empty()) return Add("capabilities", State::kOk, "all that are needed");
    Add("capabilities", state, Cat("missing: ", missing), "run as root with these capabilities");
  }

  // What does not attach is not seen; fences hold all the same.
  void CheckPrograms() {
    const absl::StatusOr<std::unique_ptr<Verifier>> verifier =
        Verifier::Start({.cgroup_root = Path(config_.cgroup_hierarchy)});
    if (!verifier.ok()) {
      return Add("kernel programs", State::kWarning, std::string(verifier.status().message()),
                 config_.mode == "audit" ? "only control files and cpu.stat are looked at"
                                         : "fences hold, but nothing proves it");
    }
    checks_.push_back(CheckProbes((*verifier)->Probes().probes));
  }

  void CheckStateDirectory() {
    const std::string path = Path(config_.state_directory);
    const absl::Status made = MakeDirectories(path);
    if (made.ok() && access(path.c_str(), W_OK) == 0) return Add("state directory", State::kOk, path);
    Add("state directory", State::kFailed, made.ok() ? Cat(path, ": ", strerror(errno)) : std::string(made.message()),
        "it must be a writable directory of the host, or decisions are lost with the container (stateDirectory)");
  }

  const Config& config_;
  const PreflightOptions& options_;
  KubeletChecks kubelet_;
  int connected_plugins_ = 0;
  std::vector<PreflightCheck> checks_;
};

}  // namespace

std::string_view PreflightStateName(PreflightCheck::State state) {
  switch (state) {
    case State::kOk: return "ok";
    case State::kWarning: return "warning";
    case State::kFailed: return "failed";
  }
  return "failed";
}

std::vector<PreflightCheck> Preflight(const Config& config, const PreflightOptions& options) {
  return Checks(config, options).Run();
}

PreflightCheck CheckProbes(const std::vector<Probe>& probes) {
  constexpr char kAll[] = "a kernel with BTF (CONFIG_DEBUG_INFO_BTF) and fentry has all";
  PreflightCheck check{.name = "kernel programs", .found = "", .remedy = ""};
  std::string missing;
  int attached = 0;
  bool unseen = false;
  for (const Probe& probe : probes) {
    if (probe.attached) ++attached;
    if (probe.attached || !probe.wanted) continue;
    if (probe.fallback.empty()) unseen = true;
    absl::StrAppend(&missing, missing.empty() ? "" : ". ", probe.name, ": ", probe.reason,
                    probe.fallback.empty() ? "" : Cat("; instead ", probe.fallback));
  }
  check.found = Cat(attached, " attach", missing.empty() ? "" : "; not: ", missing);
  if (missing.empty()) return check;
  check.state = State::kWarning;
  check.remedy = Cat(unseen ? "fences hold, but what nothing finds instead is not seen"
                            : "fences hold, and what these find is found all the same, later or with less said of it",
                     ": ", kAll);
  return check;
}

int PreflightExitCode(const std::vector<PreflightCheck>& checks) {
  return std::ranges::any_of(checks, [](const PreflightCheck& check) { return check.state == State::kFailed; }) ? 1 : 0;
}

}  // namespace podfence
