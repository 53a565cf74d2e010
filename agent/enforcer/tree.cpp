#include "agent/enforcer/tree.h"

#include <unistd.h>

#include <algorithm>

#include "absl/time/clock.h"
#include "agent/core/text.h"

namespace podfence {
namespace {

uint64_t WholePages(uint64_t bytes) {
  static const uint64_t page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  return bytes / page * page;
}

std::string MemoryText(const std::optional<uint64_t>& bytes) { return bytes ? Cat(WholePages(*bytes)) : "max"; }

// Of a cgroup that no decision names.
constexpr HeldFiles kCpusetAlone{.mems = false, .cpu_max = false, .cpu_weight = false, .memory_max = false};

class Reader {
 public:
  Reader(const Plan& plan, std::vector<Unseen>* unseen) : plan_(plan), unseen_(unseen) {}

  absl::Status Run(const Cgroup& own) {
    absl::StatusOr<Cgroup> top = own.Duplicate();
    if (!top.ok()) return top.status();
    return Visit(std::move(*top), "", plan_.shared);
  }
  std::vector<TreeNode> Take() { return std::move(nodes_); }

 private:
  // Adds the cgroup and, where it is of a role that holds others of ours, its children.
  absl::Status Visit(Cgroup cgroup, const std::string& path, const CpuSet& guest_cpus) {
    const Fence* fence = plan_.Find(path);
    if (fence == nullptr) {
      const absl::StatusOr<bool> populated = IsPopulated(cgroup);
      if (!populated.ok() || !*populated) return LeaveOut(cgroup.path(), populated.status());
    }
    absl::StatusOr<FenceState> state = ReadFence(cgroup, fence != nullptr ? fence->held : kCpusetAlone);
    if (!state.ok()) return LeaveOut(cgroup.path(), state.status());
    nodes_.push_back({std::move(cgroup), path, fence, fence == nullptr ? guest_cpus : CpuSet(), std::move(state->now),
                      std::move(state->effective), absl::Now()});
    if (fence == nullptr || !HoldsOthers(fence->role)) return absl::OkStatus();
    const size_t index = nodes_.size() - 1;
    const absl::StatusOr<std::vector<std::string>> children = nodes_[index].cgroup.Children();
    if (!children.ok()) return LeaveOut(nodes_[index].cgroup.path(), children.status());
    for (const std::string& name : *children) {
      absl::StatusOr<Cgroup> child = nodes_[index].cgroup.OpenChild(name);
      const CpuSet& below = fence->guest_cpus.empty() ? guest_cpus : fence->guest_cpus;
      absl::Status status = child.ok() ? Visit(std::move(*child), path.empty() ? name : Cat(path, "/", name), below)
                                       : LeaveOut(Cat(nodes_[index].cgroup.path(), "/", name), child.status());
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  // Leaves out a cgroup. They come and go while we read: one that is gone is no error.
  absl::Status LeaveOut(const std::string& path, const absl::Status& status) {
    if (status.ok() || absl::IsNotFound(status)) return absl::OkStatus();
    if (unseen_ == nullptr) return status;
    unseen_->push_back({path, std::string(status.message())});
    return absl::OkStatus();
  }

  const Plan& plan_;
  std::vector<Unseen>* unseen_;
  std::vector<TreeNode> nodes_;
};

}  // namespace

absl::StatusOr<FenceState> ReadFence(const Cgroup& cgroup, const HeldFiles& held) {
  FenceState state;
  state.now.held = held;
  absl::Status status;
  const auto take = [&](auto read, auto& into) {
    status.Update(read.status());
    if (read.ok()) into = *std::move(read);
  };
  // Kernels before 6.7 lack the one of the partition's files, kernels before 5.0 both.
  const auto take_if_there = [&](auto read, auto& into) {
    if (!absl::IsNotFound(read.status())) take(std::move(read), into);
  };
  take(ReadCpus(cgroup, kCpusetCpus), state.now.cpus);
  take(ReadCpus(cgroup, kCpusetCpusEffective), state.effective);
  if (held.partition) take_if_there(ReadCpus(cgroup, kCpusetCpusExclusive), state.now.cpus_exclusive);
  if (held.partition) take_if_there(cgroup.Read(kCpusetCpusPartition), state.now.partition);
  if (held.mems) take(ReadMems(cgroup, kCpusetMems), state.now.mems);
  if (held.cpu_max) take(ReadCpuMax(cgroup), state.now.cpu_max);
  if (held.cpu_weight) take(ReadCpuWeight(cgroup), state.now.cpu_weight);
  if (held.memory_max) take(ReadMemoryMax(cgroup), state.now.memory_max);
  if (!status.ok()) return status;
  return state;
}

absl::StatusOr<Cgroup> OpenBelow(const Cgroup& own, std::string_view path) {
  absl::StatusOr<Cgroup> cgroup = own.Duplicate();
  while (cgroup.ok() && !path.empty()) {
    const size_t slash = path.find('/');
    cgroup = cgroup->OpenChild(path.substr(0, slash));
    path.remove_prefix(slash == std::string_view::npos ? path.size() : slash + 1);
  }
  return cgroup;
}

absl::StatusOr<std::vector<TreeNode>> ReadTree(const Cgroup& own, const Plan& plan, std::vector<Unseen>* unseen) {
  Reader reader(plan, unseen);
  if (absl::Status status = reader.Run(own); !status.ok()) return status;
  return reader.Take();
}

std::vector<Runner> RunnersOf(const std::vector<TreeNode>& nodes) {
  std::vector<Runner> runners;
  for (const TreeNode& node : nodes) {
    if (node.fence != nullptr && HoldsOthers(node.fence->role)) continue;
    runners.push_back({node.cgroup.path(), node.effective, node.fence != nullptr ? node.fence->cpus : node.guest_cpus});
  }
  return runners;
}

absl::StatusOr<std::vector<Cgroup>> OpenParents(const Cgroup& own, const Plan& plan) {
  std::vector<Cgroup> parents;
  for (const Fence& fence : plan.fences) {
    if (!HoldsOthers(fence.role)) continue;
    absl::StatusOr<Cgroup> cgroup = OpenBelow(own, fence.path);
    if (absl::IsNotFound(cgroup.status())) continue;
    if (!cgroup.ok()) return cgroup.status();
    parents.push_back(*std::move(cgroup));
  }
  return parents;
}

bool HoldsFenced(const Cgroup& own, const Plan& plan, const Cgroup& parent) {
  return std::ranges::any_of(plan.fences, [&](const Fence& fence) {
    const bool below = Cat(own.path(), "/", fence.path).starts_with(Cat(parent.path(), "/"));
    return below && !HoldsOthers(fence.role) && OpenBelow(own, fence.path).ok();
  });
}

CpuSet Simplified(const CpuSet& cpus, const WholeSets& whole) {
  CpuSet simple = cpus;
  if (whole.cpus.IsSubsetOf(cpus)) simple.Clear();
  return simple;
}

NumaSet Simplified(NumaSet mems, const WholeSets& whole) { return whole.mems.IsSubsetOf(mems) ? NumaSet() : mems; }

std::vector<FileDifference> Compare(const Fence& wanted, const Fence& now, const WholeSets& whole) {
  std::vector<FileDifference> differences;
  const HeldFiles held = wanted.held & now.held;
  const auto check = [&](bool same, std::string_view file, std::string expected, std::string found) {
    if (!same) differences.push_back({file, std::move(expected), std::move(found)});
  };
  check(!held.mems || Simplified(wanted.mems, whole) == Simplified(now.mems, whole), kCpusetMems,
        wanted.mems.ToString(), now.mems.ToString());
  check(!held.memory_max || MemoryText(wanted.memory_max) == MemoryText(now.memory_max), kMemoryMax,
        MemoryText(wanted.memory_max), MemoryText(now.memory_max));
  check(!held.cpu_weight || wanted.cpu_weight == now.cpu_weight, kCpuWeight, Cat(wanted.cpu_weight),
        Cat(now.cpu_weight));
  check(!held.cpu_max || wanted.cpu_max == now.cpu_max, kCpuMax, wanted.cpu_max.ToString(), now.cpu_max.ToString());
  check(!held.cpus || Simplified(wanted.cpus, whole) == Simplified(now.cpus, whole), kCpusetCpus,
        wanted.cpus.ToString(), now.cpus.ToString());
  check(!held.partition || wanted.cpus_exclusive == now.cpus_exclusive, kCpusetCpusExclusive,
        wanted.cpus_exclusive.ToString(), now.cpus_exclusive.ToString());
  check(!held.partition || wanted.partition == now.partition, kCpusetCpusPartition, wanted.partition, now.partition);
  return differences;
}

void CopyFile(std::string_view file, const Fence& from, Fence& to) {
  if (file == kCpusetMems) to.mems = from.mems;
  if (file == kMemoryMax) to.memory_max = from.memory_max;
  if (file == kCpuWeight) to.cpu_weight = from.cpu_weight;
  if (file == kCpuMax) to.cpu_max = from.cpu_max;
  if (file == kCpusetCpus) to.cpus = from.cpus;
  if (file == kCpusetCpusExclusive) to.cpus_exclusive = from.cpus_exclusive;
  if (file == kCpusetCpusPartition) to.partition = from.partition;
}

EffectiveRange ExpectEffective(CgroupRole role, const CpuSet& cpus, const CpuSet& partitions, const WholeSets& whole) {
  const CpuSet most = cpus & whole.cpus;
  return {HoldsOthers(role) ? most - partitions : most, most};
}

Finding MakeFinding(FindingKind kind, const Fence* fence, const std::string& path, const FileDifference& difference,
                    std::string_view why) {
  Finding finding;
  finding.kind = kind;
  if (fence != nullptr) {
    finding.pod = fence->uid;
    finding.container = fence->container;
  }
  finding.path = path;
  finding.file = std::string(difference.file);
  finding.expected = difference.expected;
  finding.found = difference.found;
  const auto shown = [](const std::string& value) { return value.empty() ? std::string("\"\" (inherits)") : value; };
  finding.message = Cat(path, "/", difference.file, ": expected ", shown(difference.expected), ", found ",
                        shown(difference.found), ": ", why);
  return finding;
}

}  // namespace podfence
