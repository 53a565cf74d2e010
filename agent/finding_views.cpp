#include "agent/finding_views.h"

#include <algorithm>
#include <cstdio>

#include "agent/cgroup/control.h"
#include "agent/core/histogram.h"
#include "agent/core/text.h"
#include "agent/translation.h"

namespace podfence {
namespace {

std::string Milliseconds(uint64_t ns) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3f ms", static_cast<double>(ns) / 1e6);
  return text;
}

std::string CpusOf(const std::string& cgroup, const std::vector<LiveFence>& live) {
  const auto fence = std::ranges::find(live, cgroup, &LiveFence::path);
  return fence == live.end() ? "" : fence->fence.cpus.ToString();
}

}  // namespace

FindingView ViewOf(const Finding& finding, const KernelContext& context) {
  std::optional<FindingActor> by;
  if (finding.by) {
    by = FindingActor{.pid = finding.by->pid,
                      .comm = finding.by->comm,
                      .cgroup = context.paths.Find(finding.by->cgroup_id, context.now)};
  }
  return {.kind = std::string(FindingWord(finding.kind)),
          .pod = finding.pod.empty() ? "" : PodName(context.state, finding.pod),
          .container = finding.container,
          .cgroup = finding.path,
          .file = finding.file,
          .expected = finding.expected,
          .seen = finding.found,
          .by = std::move(by),
          .repaired = finding.repaired,
          .message = finding.message};
}

FindingView ViewOf(const KernelFinding& finding, const KernelContext& context) {
  FindingView view{.kind = std::string(KernelFindingKindName(finding.kind)),
                   .pod = finding.pod.empty() ? "" : PodName(context.state, finding.pod),
                   .container = finding.container,
                   .cgroup = finding.cgroup.empty() ? "" : Cat(context.cgroup_root, "/", finding.cgroup),
                   .message = finding.message};
  const std::string cpus = CpusOf(view.cgroup, context.live);
  const std::string time = Milliseconds(finding.duration_ns);
  const auto task = [&] {
    return FindingActor{
        .pid = finding.pid, .comm = finding.comm, .cgroup = context.paths.Find(finding.cgroup_id, context.now)};
  };
  switch (finding.kind) {
    case KernelFindingKind::kIntrusion:
      view.cpu = finding.cpu;
      view.foreign_class = std::string(ForeignClassName(finding.foreign));
      view.expected = "nobody else";
      view.seen = Cat(view.foreign_class, " for ", time);
      view.by = task();
      break;
    case KernelFindingKind::kEscape:
      view.expected = cpus;
      if (finding.cpu < 0) {  // moved to another cgroup
        view.seen =
            Cat(finding.comm, " (pid ", finding.pid, ") in ", context.paths.Find(finding.cgroup_id, context.now));
        if (finding.by_pid != 0) view.by = FindingActor{.pid = finding.by_pid, .comm = finding.by_comm};
        break;
      }
      view.cpu = finding.cpu;
      view.seen = Cat(finding.cpu, " for ", time);
      view.by = task();
      break;
    case KernelFindingKind::kThrottling:
      view.expected = "0";
      view.seen = time;
      break;
    case KernelFindingKind::kDrift:
      if (finding.pid == 0) {  // not a task's affinity, but a quota
        view.file = std::string(kCpuMax);
        view.expected = CpuMax{}.ToString();
        view.seen = finding.seen;
        break;
      }
      view.expected = cpus;
      view.seen = Cat("another affinity of ", finding.comm, " (pid ", finding.pid, ")");
      if (finding.by_pid != 0) view.by = FindingActor{.pid = finding.by_pid, .comm = finding.by_comm};
      break;
  }
  if (finding.duration_ns > 0) view.duration_seconds = NanosToSeconds(finding.duration_ns);
  return view;
}

}  // namespace podfence
