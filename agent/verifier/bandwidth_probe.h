#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/cgroup/cgroup.h"
#include "agent/verifier/libbpf.h"
#include "agent/verifier/observation.h"
#include "bpf/podfence_bpf.h"

struct podfence_throttle;
void DestroyThrottle(podfence_throttle* object);

namespace podfence {

// bpf/throttle.bpf.c, loaded: the scheduler's own bandwidth accounts.
class BandwidthProbe {
 public:
  // Tries it on `root`. Errors carry the kernel's words.
  static absl::StatusOr<std::unique_ptr<BandwidthProbe>> Start(const Cgroup& root);
  // Of a cgroup and all above it, the nearest first. Cgroups without the cpu controller are left out.
  absl::StatusOr<std::vector<podfence_bandwidth>> ReadUpwards(const Cgroup& cgroup) const;
  void ReadStatistics(Probe& probe) const;

 private:
  BandwidthProbe() = default;
  std::unique_ptr<podfence_throttle, FreeWith<DestroyThrottle>> object_;
};

// cpu.stat and cpu.max of a cgroup; none where the cpu controller is not enabled for it (no cpu.max). NotFound where
// the cgroup is gone. path: what Bandwidth::cgroup shall say.
absl::StatusOr<std::optional<Bandwidth>> ReadBandwidth(const Cgroup& cgroup, const std::string& path);

// Whether the scheduler's account lies between two readings of cpu.stat taken before and after it, as it must if both
// tell of the same thing: every counter only grows.
bool Agrees(const Bandwidth& before, const podfence_bandwidth& kernel, const Bandwidth& after);

}  // namespace podfence
