#include "agent/privileges.h"

#include <sys/capability.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <span>

#include "agent/core/text.h"

namespace podfence {
namespace {

constexpr cap_value_t kEnforcing[] = {
    CAP_DAC_OVERRIDE,      // cgroups, manifests, logs and state that belong to another user
    CAP_DAC_READ_SEARCH,   // a cgroup's path by its id, which a finding names
    CAP_KILL,              // stopping what a container runs as another user
    CAP_NET_BIND_SERVICE,  // listenAddress below port 1024
    CAP_SYS_ADMIN,         // cpuset partitions (kernel/cgroup/cpuset.c remote_partition_enable)
    CAP_SYS_NICE,          // affinities of other users' processes and of kernel threads
};

struct Free {
  void operator()(cap_t state) const { cap_free(state); }
};
using CapabilityState = std::unique_ptr<std::remove_pointer_t<cap_t>, Free>;

absl::Status Refused(const char* what) {
  return absl::FailedPreconditionError(Cat("drop capabilities: ", what, ": ", strerror(errno)));
}

// Of those in `kept` what this process has.
absl::Status Keep(std::span<const cap_value_t> kept) {
  const CapabilityState before(cap_get_proc());
  const CapabilityState after(cap_init());
  if (before == nullptr || after == nullptr) return Refused("read what there is");
  for (const cap_value_t capability : kept) {
    for (const cap_flag_t set : {CAP_PERMITTED, CAP_EFFECTIVE}) {
      cap_flag_value_t has = CAP_CLEAR;
      if (cap_get_flag(before.get(), capability, set, &has) != 0) return Refused("read what there is");
      if (has == CAP_SET && cap_set_flag(after.get(), set, 1, &capability, CAP_SET) != 0) return Refused("choose");
    }
  }
  return cap_set_proc(after.get()) == 0 ? absl::OkStatus() : Refused("capset");
}

}  // namespace

absl::Status KeepEnforcing() { return Keep(kEnforcing); }

absl::Status KeepNothing() { return Keep({}); }

}  // namespace podfence
