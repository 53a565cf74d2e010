#include "agent/commands/promises.h"

#include <algorithm>
#include <map>

#include "agent/commands/table.h"
#include "agent/core/text.h"

namespace podfence {
namespace {

constexpr double kLeastShareOfPromise = 0.98;
constexpr double kMostShareOfPool = 1.02;
constexpr double kMostMovableKthreads = 0.001;

const ContainerView* Find(const Snapshot& snapshot, const std::string& uid, const std::string& name) {
  for (const PodView& pod : snapshot.pods) {
    if (pod.uid != uid) continue;
    for (const ContainerView& container : pod.containers) {
      if (container.name == name) return &container;
    }
  }
  return nullptr;
}

double Median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::ranges::sort(values);
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

// CPUs' worth of time in each window.
std::vector<double> Rates(std::span<const Snapshot> snapshots, const std::string& uid, const std::string& name) {
  std::vector<double> rates;
  for (size_t i = 1; i < snapshots.size(); ++i) {
    const ContainerView* before = Find(snapshots[i - 1], uid, name);
    const ContainerView* after = Find(snapshots[i], uid, name);
    const double seconds = snapshots[i].monotonic - snapshots[i - 1].monotonic;
    if (before != nullptr && after != nullptr && seconds > 0) {
      rates.push_back((after->cpu_seconds - before->cpu_seconds) / seconds);
    }
  }
  return rates;
}

class Judge {
 public:
  Judge(std::span<const Snapshot> snapshots, bool busy) : snapshots_(snapshots), busy_(busy) {}

  std::vector<Promise> Run() {
    const Snapshot& now = snapshots_.back();
    for (const PodView& pod : now.pods) {
      const auto allocation = now.state.pods.find(pod.uid);
      pod_ = allocation == now.state.pods.end() ? pod.uid : allocation->second.pod->FullName();
      for (const ContainerView& container : pod.containers) {
        container_ = container.name;
        const bool over = container.kind == "init" ? container.phase != "running" : container.phase == "succeeded";
        if (!over) JudgeContainer(pod.uid, container);
      }
      JudgePools(pod);
    }
    return std::move(promises_);
  }

 private:
  void Add(std::string what, std::string expected, std::string seen, bool kept) {
    promises_.push_back({pod_, container_, std::move(what), std::move(expected), std::move(seen), kept});
  }

  void JudgeContainer(const std::string& uid, const ContainerView& container) {
    Add("runs", "running", container.phase, container.phase == "running");
    if (!container.cpus.empty()) {
      Add("CPUs in force", container.cpus.ToString(), container.effective_cpus.ToString(),
          container.cpus == container.effective_cpus);
      Add("time outside its set", "0 s", Fixed(container.escaped_seconds, 6) + " s", container.escaped_seconds == 0);
    }
    if (!container.assignment.ends_with("_exclusive")) return;
    if (busy_) {
      const std::vector<double> rates = Rates(snapshots_, uid, container.name);
      const double got = Median(rates);
      Add("CPU time", Cat("at least ", Fixed(kLeastShareOfPromise * container.promised_cpus, 2), " CPUs"),
          rates.empty() ? std::string("not measured: no two snapshots of different times") : Fixed(got, 2) + " CPUs",
          got >= kLeastShareOfPromise * container.promised_cpus);
    }
    for (const ThrottlingView& level : container.throttling) {
      Add("throttling at " + level.cgroup, "0 periods", Cat(level.throttled_periods, " periods"),
          level.throttled_periods == 0);
    }
    JudgeForeign(uid, container);
  }

  void JudgeForeign(const std::string& uid, const ContainerView& container) {
    for (const ForeignClass foreign : {ForeignClass::kContainer, ForeignClass::kHost, ForeignClass::kPause}) {
      const double seconds = container.foreign_seconds[static_cast<size_t>(foreign)];
      Add(Cat("foreign time: ", ForeignClassName(foreign)), "0 s", Fixed(seconds, 6) + " s", seconds == 0);
    }
    const size_t movable = static_cast<size_t>(ForeignClass::kMovableKthread);
    const ContainerView* first = Find(snapshots_.front(), uid, container.name);
    const double measured = (snapshots_.back().monotonic - snapshots_.front().monotonic) * container.promised_cpus;
    const double seconds =
        container.foreign_seconds[movable] - (first == nullptr ? 0 : first->foreign_seconds[movable]);
    const double share = measured > 0 ? seconds / measured : 0;
    Add("foreign time: kthread_movable", Cat("below ", Fixed(100 * kMostMovableKthreads, 1), "%"),
        Fixed(100 * share, 3) + "%", share < kMostMovableKthreads);
  }

  // Containers of one pod that share a pool, or the quota that the pod's budget leaves, are held to it together. Only
  // where something holds them: a container in the node shared pool without a limit has no bound to keep.
  void JudgePools(const PodView& pod) {
    double used = 0;
    double bound = 0;
    std::string names;
    for (const ContainerView& container : pod.containers) {
      if (container.assignment.ends_with("_exclusive") || container.promised_cpus == 0) continue;
      used += Median(Rates(snapshots_, pod.uid, container.name));
      bound = std::max(bound, container.promised_cpus);
      names += (names.empty() ? "" : "+") + container.name;
    }
    if (names.empty()) return;
    container_ = names;
    Add("held to the rest of the budget", Cat("at most ", Fixed(kMostShareOfPool * bound, 2), " CPUs"),
        Fixed(used, 2) + " CPUs", used <= kMostShareOfPool * bound);
  }

  std::span<const Snapshot> snapshots_;
  const bool busy_;
  std::string pod_;
  std::string container_;
  std::vector<Promise> promises_;
};

}  // namespace

std::vector<Promise> JudgePromises(std::span<const Snapshot> snapshots, bool busy) {
  return Judge(snapshots, busy).Run();
}

}  // namespace podfence
