#include "tests/e2e/node_runtime.h"

#include <filesystem>

namespace podfence {
namespace {

NodeRuntime Containerd(bool has_systemd) {
  static constexpr char kCtr[] = "ctr --address /run/containerd/containerd.sock -n k8s.io ";
  return {.program = "containerd",
          .config = "containerd.toml",
          .socket = "/run/containerd/containerd.sock",
          .folder = "/run/containerd",
          .oci = "runc --root /run/containerd/runc/k8s.io ",
          .cgroup_prefix = has_systemd ? "cri-containerd-" : "",
          .is_ready = std::string(kCtr) + "version",
          .load = std::string(kCtr) + "images import --local $archive",
          // The shims outlive containerd.
          .remove_all = std::string("for id in $(") + kCtr + "containers ls -q); do " + kCtr + "tasks delete -f $id; " +
                        kCtr + "containers delete $id; done",
          .sandbox_runs = "returns sandbox id",
          .required = R"(
  [plugins.'io.containerd.nri.v1.nri'.default_validator]
    enable = true
    required_plugins = ["podfence"]
    tolerate_missing_plugins_annotation = "tolerate-missing-nri-plugins.noderesource.dev"
)"};
}

NodeRuntime Crio() {
  static constexpr char kRunc[] = "runc --root /run/crio/runc ";
  return {.program = "crio",
          .config = "crio.conf",
          .socket = "/run/crio/crio.sock",
          .folder = "/run/crio",
          .oci = kRunc,
          .cgroup_prefix = "crio-",
          .is_ready = "crio status --socket /run/crio/crio.sock info",
          // CRI-O only pulls: this is its storage, as crio.conf has it. Both names are of the archive's one image, "1".
          .load =
              "for name in test.local/pause:1 test.local/work:1; do "
              "skopeo --tmpdir /tmp --policy /e2e/guest/policy.json copy oci-archive:$archive:1 "
              "containers-storage:[vfs@/run/crio/storage+/run/crio/runroot]$name || exit 1; done",
          .remove_all = std::string("for id in $(") + kRunc + "list -q); do " + kRunc + "delete -f $id; done",
          .sandbox_runs = "Ran pod sandbox",
          .required = R"(
[crio.nri.default_validator]
  nri_enable_default_validator = true
  nri_validator_required_plugins = ["podfence"]
  nri_validator_tolerate_missing_plugins_annotation = "tolerate-missing-nri-plugins.noderesource.dev"
)"};
}

}  // namespace

const NodeRuntime& RuntimeOfNode() {
  static const NodeRuntime runtime =
      std::filesystem::exists("/usr/bin/crio") ? Crio() : Containerd(std::filesystem::exists("/run/systemd/system"));
  return runtime;
}

}  // namespace podfence
