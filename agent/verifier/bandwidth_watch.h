#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "absl/status/status.h"
#include "agent/cgroup/cgroup.h"
#include "agent/verifier/bandwidth_probe.h"
#include "agent/verifier/expectations.h"
#include "agent/verifier/observation.h"

namespace podfence {

// Follows the bandwidth of the fences' cgroups and of every one above them: a quota throttles everything below it, so
// that an exclusive container's own cpu.stat says nothing of its parent's.
class BandwidthWatch {
 public:
  BandwidthWatch() = default;
  // Opens the cgroups of `fences` below root, and fills in a cgroup_id of 0. What `before` knew of cgroups that are
  // still the same goes on.
  BandwidthWatch(const Cgroup& root, std::vector<ExpectedFence>& fences, const BandwidthWatch& before);

  // Reads all, each cgroup once, and compares with the reading before: growth of throttling and quotas at exclusive
  // fences become findings. kernel: read too and compared for exclusive fences, nullptr where it does not run.
  absl::Status Read(const std::vector<ExpectedFence>& fences, const BandwidthProbe* kernel,
                    std::vector<KernelFinding>& findings);

  // Of the fence at this index, as last read: its own cgroup first. Periods and throttling count from when the cgroup
  // was first watched: under the kubelet's quota a pod's sandbox may be throttled before anything of it is decided.
  std::vector<Bandwidth> Chain(size_t fence) const;
  bool Gone(size_t fence) const;
  // Of the fences' cgroups and all above them.
  std::set<uint64_t> CgroupIds() const;
  uint64_t mismatches() const { return mismatches_; }

 private:
  struct Watched {
    Cgroup cgroup;
    std::string path;
    bool gone = false;
    std::optional<Bandwidth> first = std::nullopt;
    std::optional<Bandwidth> last = std::nullopt;
    uint64_t grown_periods = 0;  // of throttled ones, since the reading before
    uint64_t grown_ns = 0;
  };
  using Chains = std::vector<std::vector<std::shared_ptr<Watched>>>;

  std::shared_ptr<Watched> Open(const Cgroup& parent, std::string_view name, const std::string& path,
                                const BandwidthWatch& before);
  static absl::Status ReadOne(Watched& watched);
  absl::Status Compare(const std::vector<std::shared_ptr<Watched>>& chain, const BandwidthProbe& kernel);
  void Judge(const ExpectedFence& fence, const Watched& watched, std::vector<KernelFinding>& findings);

  std::map<std::string, std::shared_ptr<Watched>> cgroups_;  // by path
  Chains chains_;                                            // of each fence, nearest first; empty where it is gone
  std::set<std::tuple<std::string, std::string, uint64_t, uint64_t>> quotas_;  // told of: fence, cgroup, quota, period
  uint64_t mismatches_ = 0;
};

}  // namespace podfence
