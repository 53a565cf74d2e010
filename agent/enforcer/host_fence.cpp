#include "agent/enforcer/host_fence.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <utility>

#include "agent/cgroup/control.h"
#include "agent/cgroup/files.h"
#include "agent/cgroup/task_stat.h"
#include "agent/core/text.h"
#include "agent/enforcer/affinity.h"
#include "agent/enforcer/tree.h"
#include "spdlog/spdlog.h"

namespace podfence {
namespace {

// The set a thing of the host is to have; for cgroups, where empty inherits.
CpuSet Wanted(const CpuSet& original, const CpuSet& cpus) {
  if (cpus.empty()) return original;
  return original.empty() ? cpus : Confine(original, cpus);
}

Finding NotFenced(const std::string& path, std::string_view file, const CpuSet& expected, const absl::Status& status) {
  Finding finding;
  finding.kind = FindingKind::kHostNotFenced;
  finding.path = path;
  finding.file = std::string(file);
  finding.expected = expected.ToString();
  finding.message = Cat("the host could not be kept on CPUs ", expected.ToString(), ": ", ToStd(status.message()));
  return finding;
}

Finding Drifted(const std::string& path, std::string_view file, const CpuSet& expected, const CpuSet& found,
                bool repair) {
  Finding finding;
  finding.kind = FindingKind::kDrift;
  finding.path = path;
  finding.file = std::string(file);
  finding.expected = expected.ToString();
  finding.found = found.ToString();
  finding.repaired = repair;
  finding.message = Cat(path, "/", file, ": expected ", expected.ToString(), ", found ",
                        found.empty() ? "\"\" (inherits)" : found.ToString(), ": someone changed it; ",
                        repair ? "set again" : kNotRepaired);
  return finding;
}

std::string MaskPath(const HostFenceOptions& options) {
  return Cat(options.sys_root, "/devices/virtual/workqueue/cpumask");
}

absl::StatusOr<CpuSet> ReadMask(const HostFenceOptions& options) {
  const absl::StatusOr<std::string> text = ReadSmallFile(MaskPath(options));
  if (!text.ok()) return text.status();
  return ParseHexMask(*text);
}

// A kernel thread that is bound, by flag or by an affinity of one CPU, has its work there.
bool IsBoundThread(const TaskStat& stat, const CpuSet& affinity) {
  return stat.IsKernelThread() && (stat.IsBound() || affinity.size() == 1);
}

}  // namespace

absl::StatusOr<HostFence> HostFence::Create(HostFenceOptions options, Cgroup root, std::string own) {
  HostFence fence(std::move(options), std::move(root), std::move(own));
  absl::StatusOr<std::string> boot = ReadSmallFile(Cat(fence.options_.proc_root, "/sys/kernel/random/boot_id"));
  if (!boot.ok()) return boot.status();
  while (!boot->empty() && boot->back() == '\n') boot->pop_back();
  fence.boot_id_ = *std::move(boot);

  const absl::StatusOr<std::string> text = ReadSmallFile(fence.RecordPath());
  if (absl::IsNotFound(text.status())) return fence;
  if (!text.ok()) return text.status();
  absl::StatusOr<HostRecord> record = HostRecord::Parse(*text, fence.boot_id_);
  if (record.ok()) {
    fence.record_ = *std::move(record);
  } else {
    const std::string aside = Cat(fence.RecordPath(), ".damaged");
    spdlog::error("{}: set aside as {}; the host's present CPU sets are taken for its own",
                  std::string(record.status().message()), aside);
    if (rename(fence.RecordPath().c_str(), aside.c_str()) != 0) {
      return absl::ErrnoToStatus(errno, Cat("rename ", fence.RecordPath(), " to ", aside));
    }
  }
  return fence;
}

std::string HostFence::RecordPath() const { return Cat(options_.state_dir, "/host-fence"); }

absl::Status HostFence::Save() { return ReplaceFile(RecordPath(), record_.ToText(boot_id_)); }

absl::StatusOr<std::vector<HostFence::HostCgroup>> HostFence::Cgroups(const WholeSets& whole) const {
  const absl::StatusOr<std::vector<std::string>> names = root_.Children();
  if (!names.ok()) return names.status();
  std::vector<HostCgroup> cgroups;
  for (const std::string& name : *names) {
    if (name == own_) continue;
    absl::StatusOr<Cgroup> child = root_.OpenChild(name);
    // Without the file cpuset is not enabled for it; gone meanwhile: no matter.
    absl::StatusOr<CpuSet> now = child.ok() ? ReadCpus(*child, kCpusetCpus) : child.status();
    if (absl::IsNotFound(now.status())) continue;
    if (!now.ok()) return now.status();
    *now = Simplified(*now, whole);
    cgroups.push_back({*std::move(child), *std::move(now)});
  }
  return cgroups;
}

absl::Status HostFence::CollectTasks(const CpuSet& cpus, bool all) {
  const absl::StatusOr<std::vector<pid_t>> tids = ReadThreads(root_);
  if (!tids.ok()) return tids.status();
  std::set<pid_t> present;
  std::set<pid_t> again;
  for (pid_t tid : *tids) {
    if (tid == 0) continue;  // of another pid namespace
    present.insert(tid);
    if (!all && seen_.contains(tid)) continue;
    const absl::StatusOr<TaskStat> stat = ReadTaskStat(options_.proc_root, tid);
    const absl::StatusOr<CpuSet> affinity = GetAffinity(tid);
    if (!stat.ok() || !affinity.ok()) continue;  // gone meanwhile
    const auto known = record_.tasks.find(tid);
    if (known != record_.tasks.end() && known->second.start_time == stat->start_time) continue;
    if (known != record_.tasks.end()) record_.tasks.erase(known);  // the id is another task's now
    // Where its affinity alone binds it, the kernel may widen that: when a partition is made, every task of the root
    // cgroup gets all CPUs that are left (cpuset.c update_tasks_cpumask). So it is looked at again.
    const bool bound = IsBoundThread(*stat, *affinity);
    if (bound && !stat->IsBound()) again.insert(tid);
    if (bound || affinity->IsSubsetOf(cpus)) continue;
    record_.tasks[tid] = {stat->start_time, *affinity};
    tasks_stale_ = true;
  }
  std::erase_if(record_.tasks, [&](const auto& entry) { return !present.contains(entry.first); });
  seen_ = std::move(present);
  std::erase_if(seen_, [&](pid_t tid) { return again.contains(tid); });
  return absl::OkStatus();
}

void HostFence::ApplyTasks(const CpuSet& cpus, std::vector<Finding>& findings) {
  int failed = 0;
  absl::Status first;
  for (auto entry = record_.tasks.begin(); entry != record_.tasks.end();) {
    const absl::StatusOr<CpuSet> now = GetAffinity(entry->first);
    const CpuSet wanted = Wanted(entry->second.cpus, cpus);
    absl::Status status = now.status();
    if (now.ok() && *now != wanted) status = SetAffinity(entry->first, wanted);
    if (absl::IsInvalidArgument(status) || absl::IsNotFound(status)) {
      entry = record_.tasks.erase(entry);  // cannot be moved after all, or gone
      continue;
    }
    if (!status.ok() && failed++ == 0) first = status;
    ++entry;
  }
  tasks_stale_ = failed > 0;
  if (failed > 0) {
    Finding finding = NotFenced(root_.path(), "cgroup.threads", cpus, first);
    finding.found = Cat(failed, " tasks");
    finding.message = Cat(failed, " tasks of the root cgroup could not be moved: ", ToStd(first.message()),
                          ". The agent needs CAP_SYS_NICE");
    findings.push_back(std::move(finding));
  }
}

void HostFence::Apply(const CpuSet& cpus, bool sweep, std::vector<Finding>& findings) {
  const absl::StatusOr<WholeSets> whole = ReadWhole(root_, own_);
  // Where the host may have every CPU it has what it had before.
  const CpuSet limit = whole.ok() ? Simplified(cpus, *whole) : cpus;
  if (limit.empty() && record_.cgroups.empty() && !record_.workqueues && record_.tasks.empty()) {
    applied_ = cpus;
    limit_ = limit;
    return;
  }
  const bool changed = !applied_ || limit_ != limit;
  absl::StatusOr<std::vector<HostCgroup>> cgroups = whole.ok() ? Cgroups(*whole) : whole.status();
  if (!cgroups.ok()) {
    findings.push_back(NotFenced(root_.path(), kCpusetCpus, cpus, cgroups.status()));
    return;
  }
  // First the record, then the changes.
  std::set<uint64_t> present;
  bool grown = false;
  for (const HostCgroup& host : *cgroups) {
    present.insert(host.cgroup.id());
    const std::string name = host.cgroup.path().substr(host.cgroup.path().rfind('/') + 1);
    grown |= record_.cgroups.try_emplace(host.cgroup.id(), HostRecord::Cgroup{name, host.now}).second;
  }
  const size_t gone = std::erase_if(record_.cgroups, [&](const auto& entry) { return !present.contains(entry.first); });
  const absl::StatusOr<CpuSet> mask = ReadMask(options_);
  if (mask.ok() && !record_.workqueues) {
    record_.workqueues = *mask;
    grown = true;
  }
  const bool look = changed || sweep || tasks_stale_;
  const size_t tasks_before = record_.tasks.size();
  absl::Status tasks;
  if (look && !limit.empty()) tasks = CollectTasks(limit, changed);
  if (!tasks.ok()) findings.push_back(NotFenced(root_.path(), "cgroup.threads", cpus, tasks));
  if (grown || gone > 0 || tasks_stale_ || record_.tasks.size() != tasks_before) {
    if (const absl::Status saved = Save(); !saved.ok()) {
      findings.push_back(NotFenced(RecordPath(), "", cpus, saved));
      return;  // what cannot be undone is not done
    }
  }
  for (const HostCgroup& host : *cgroups) {
    const CpuSet& original = record_.cgroups[host.cgroup.id()].cpus;
    const CpuSet wanted = Wanted(original, limit);
    if (host.now == wanted) continue;
    const CpuSet left = Wanted(original, limit_);
    const bool repair = options_.repair || left != wanted;
    const bool drifted = applied_ && host.now != left;
    if (drifted) findings.push_back(Drifted(host.cgroup.path(), kCpusetCpus, left, host.now, repair));
    if (drifted && !repair) continue;
    const absl::Status status = WriteCpuset(host.cgroup, kCpusetCpus, wanted.ToString(), *whole);
    if (status.ok()) continue;
    if (drifted) findings.back().repaired = false;
    findings.push_back(NotFenced(host.cgroup.path(), kCpusetCpus, wanted, status));
  }
  if (!mask.ok()) {
    findings.push_back(NotFenced(MaskPath(options_), "", cpus, mask.status()));
  } else if (const CpuSet wanted = Wanted(*record_.workqueues, limit);
             *mask != wanted && (options_.repair || !applied_ || changed)) {
    const absl::Status status = WriteExistingFile(MaskPath(options_), ToHexMask(wanted));
    if (!status.ok()) findings.push_back(NotFenced(MaskPath(options_), "", wanted, status));
  }
  if (changed || tasks_stale_) ApplyTasks(limit, findings);
  applied_ = cpus;
  limit_ = limit;
}

absl::Status HostFence::Release() {
  absl::Status first;
  const auto note = [&](const absl::Status& status) {
    if (first.ok() && !status.ok() && !absl::IsNotFound(status)) first = status;
  };
  // Someone else's later change is theirs to keep. Without a pass of our own nothing tells the two apart.
  const auto ours = [&](const CpuSet& original, const CpuSet& now) {
    return !applied_ || now == Wanted(original, limit_);
  };
  const absl::StatusOr<WholeSets> whole = ReadWhole(root_, own_);
  if (!whole.ok()) return whole.status();
  const absl::StatusOr<std::vector<HostCgroup>> cgroups = Cgroups(*whole);
  if (!cgroups.ok()) return cgroups.status();
  for (const HostCgroup& host : *cgroups) {
    const auto known = record_.cgroups.find(host.cgroup.id());
    if (known == record_.cgroups.end() || host.now == known->second.cpus) continue;
    if (!ours(known->second.cpus, host.now)) continue;
    note(WriteCpuset(host.cgroup, kCpusetCpus, known->second.cpus.ToString(), *whole));
  }
  if (record_.workqueues) {
    const absl::StatusOr<CpuSet> mask = ReadMask(options_);
    note(mask.status());
    if (mask.ok() && *mask != *record_.workqueues && ours(*record_.workqueues, *mask)) {
      note(WriteExistingFile(MaskPath(options_), ToHexMask(*record_.workqueues)));
    }
  }
  for (const auto& [tid, task] : record_.tasks) {
    const absl::StatusOr<TaskStat> stat = ReadTaskStat(options_.proc_root, tid);
    const absl::StatusOr<CpuSet> now = GetAffinity(tid);
    if (!stat.ok() || !now.ok() || stat->start_time != task.start_time || !ours(task.cpus, *now)) continue;
    note(SetAffinity(tid, task.cpus));
  }
  if (!first.ok()) return first;
  record_ = {};
  applied_.reset();
  seen_.clear();
  if (unlink(RecordPath().c_str()) == 0 || errno == ENOENT) return absl::OkStatus();
  return absl::ErrnoToStatus(errno, Cat("remove ", RecordPath()));
}

absl::StatusOr<std::vector<HostUser>> FindHostUsers(const Cgroup& root, std::string_view own, const CpuSet& cpus) {
  const absl::StatusOr<std::vector<std::string>> names = root.Children();
  if (!names.ok()) return names.status();
  std::vector<HostUser> users;
  for (const std::string& name : *names) {
    if (name == own) continue;
    const absl::StatusOr<Cgroup> child = root.OpenChild(name);
    absl::StatusOr<CpuSet> effective = child.ok() ? ReadCpus(*child, kCpusetCpusEffective) : child.status();
    if (absl::IsNotFound(effective.status())) continue;  // gone, or cpuset is not enabled for it
    if (!effective.ok()) return effective.status();
    if (effective->Intersects(cpus)) users.push_back({child->path(), *std::move(effective)});
  }
  return users;
}

namespace {

// The tasks of the root cgroup that may run on the CPUs, in words, with how many there are.
absl::StatusOr<std::pair<int, std::string>> FindRootTasks(const HostFenceOptions& options, const Cgroup& root,
                                                          const CpuSet& cpus, std::vector<Unseen>& unseen) {
  constexpr int kNamed = 5;
  const absl::StatusOr<std::vector<pid_t>> tids = ReadThreads(root);
  if (!tids.ok()) return tids.status();
  int count = 0;
  int hidden = 0;
  std::string named;
  for (pid_t tid : *tids) {
    if (tid == 0) ++hidden;
    const absl::StatusOr<TaskStat> stat = ReadTaskStat(options.proc_root, tid);
    const absl::StatusOr<CpuSet> affinity = GetAffinity(tid);
    if (tid == 0 || !stat.ok() || !affinity.ok()) continue;  // hidden, or gone meanwhile
    if (IsBoundThread(*stat, *affinity) || !affinity->Intersects(cpus)) continue;
    if (++count > kNamed) continue;
    absl::StatusOr<std::string> name = ReadSmallFile(Cat(options.proc_root, "/", tid, "/comm"));
    while (name.ok() && name->ends_with('\n')) name->pop_back();
    absl::StrAppend(&named, count == 1 ? "" : ", ", name.ok() ? *name : "", " (pid ", tid, ") on ",
                    affinity->ToString());
  }
  if (count > kNamed) absl::StrAppend(&named, " and ", count - kNamed, " more");
  if (hidden > 0) {
    unseen.push_back({Cat(root.path(), "/cgroup.threads"),
                      Cat(hidden, " tasks are of another pid namespace; look from the host's own")});
  }
  return std::pair(count, std::move(named));
}

}  // namespace

void InspectHost(const HostFenceOptions& options, const Cgroup& root, std::string_view own, const CpuSet& cpus,
                 std::vector<Finding>& findings, std::vector<Unseen>& unseen) {
  const std::string expected = Cat("none of the exclusive CPUs ", cpus.ToString());
  const auto found = [&](const std::string& path, std::string_view file, std::string what, std::string_view why) {
    findings.push_back(MakeFinding(FindingKind::kHostNotFenced, nullptr, path, {file, expected, std::move(what)}, why));
  };
  const auto not_seen = [&](std::string what, const absl::Status& status) {
    unseen.push_back({std::move(what), std::string(status.message())});
  };
  const absl::StatusOr<std::vector<HostUser>> users = FindHostUsers(root, own, cpus);
  if (!users.ok()) not_seen(Cat("host cgroups below ", root.path()), users.status());
  if (users.ok()) {
    for (const HostUser& user : *users) {
      found(user.path, kCpusetCpusEffective, user.effective.ToString(), "what runs in it may run there");
    }
  }
  const std::string mask_path = MaskPath(options);
  const absl::StatusOr<CpuSet> mask = ReadMask(options);
  if (!mask.ok()) not_seen(mask_path, mask.status());
  if (mask.ok() && mask->Intersects(cpus)) {
    const size_t slash = mask_path.rfind('/');
    found(mask_path.substr(0, slash), std::string_view(mask_path).substr(slash + 1), mask->ToString(),
          "work of unbound workqueues may run there");
  }
  const absl::StatusOr<std::pair<int, std::string>> tasks = FindRootTasks(options, root, cpus, unseen);
  if (!tasks.ok()) not_seen(Cat(root.path(), "/cgroup.threads"), tasks.status());
  if (tasks.ok() && tasks->first > 0) {
    found(root.path(), "cgroup.threads", tasks->second, "tasks of the root cgroup may run there");
  }
}

}  // namespace podfence
