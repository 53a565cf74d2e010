#include "tests/kernel/agent_matrix.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "agent/core/text.h"

namespace podfence {
namespace {

constexpr char kHeldQuota[] = "held-quota";
constexpr char kManifest[] = R"(apiVersion: v1
kind: Pod
metadata: {name: fenced}
spec:
  resources:
    requests: {cpu: "4", memory: 1Gi}
    limits: {cpu: "4", memory: 1Gi}
  initContainers:
    - name: helper
      image: helper:v1
      command: [/bin/sleep, "1000000"]
      restartPolicy: Always
  containers:
    - name: main
      image: main:v1
      command: [/bin/sleep, "1000000"]
      resources:
        requests: {cpu: "3", memory: 512Mi}
        limits: {cpu: "3", memory: 512Mi}
)";

absl::Time At(double unix_seconds) { return absl::UnixEpoch() + absl::Seconds(unix_seconds); }

std::string Median(std::vector<absl::Duration> durations) {
  if (durations.empty()) return "-";
  std::ranges::sort(durations);
  char text[32];
  std::snprintf(text, sizeof text, "%.1f ms", absl::ToDoubleMilliseconds(durations[durations.size() / 2]));
  return text;
}

// Polls what costs the agent nothing.
bool AwaitKernel(const std::function<bool()>& condition, absl::Duration patience) {
  const absl::Time deadline = absl::Now() + patience;
  while (!condition()) {
    if (absl::Now() > deadline) return false;
    absl::SleepFor(absl::Milliseconds(1));
  }
  return true;
}

}  // namespace

Outsider::Outsider(const std::string& cgroup, const std::function<void()>& work) {
  pid_ = fork();
  if (pid_ == 0) {
    raise(SIGSTOP);
    work();
    _exit(0);
  }
  waitpid(pid_, nullptr, WUNTRACED);
  EXPECT_TRUE(WriteCgroupFile(cgroup, "cgroup.procs", std::to_string(pid_))) << cgroup;
}

void Outsider::Go() const { kill(pid_, SIGCONT); }

void Outsider::End() {
  if (pid_ <= 0) return;
  kill(pid_, SIGKILL);
  waitpid(std::exchange(pid_, -1), nullptr, 0);
}

void Outsider::Spin() {
  const volatile bool forever = true;
  while (forever) {
  }
}

// One quota stands all the time. The kernel patches its scheduler's code with the first quota and the last, while other
// CPUs run it; the software emulation of many CPUs gets that wrong now and then, and the guest panics.
void MatrixTest::SetUp() {
  AgentTest::SetUp();
  std::filesystem::create_directory(Cat(kRoot, kHeldQuota));
  ASSERT_TRUE(WriteCgroupFile(kHeldQuota, "cpu.max", "100000 100000"));
}

void MatrixTest::TearDown() {
  AgentTest::TearDown();
  EXPECT_EQ(rmdir(Cat(kRoot, kHeldQuota).c_str()), 0);
}

void MatrixTest::Start(const std::string& sweep_interval, const std::vector<std::string>& settings) {
  SetSweepInterval(sweep_interval);
  for (const std::string& setting : settings) AddSetting(setting);
  AddManifest("fenced.yaml", kManifest);
  StartAgent("pod");
  ASSERT_TRUE(Await([&](const Snapshot& snapshot) {
    const auto runs = [&](const char* container) {
      const ContainerView* view = Find(snapshot, kPod, container);
      return view != nullptr && view->phase == "running";
    };
    return runs("main") && runs("helper");
  }));
  const Snapshot start = Now();
  own_ = Find(start, kPod, "main")->cpus;
  pool_ = Find(start, kPod, "helper")->cpus;
  ASSERT_EQ(own_.size(), 3);
  ASSERT_EQ(pool_.size(), 1);
  ASSERT_EQ(Find(start, kPod, "main")->mems.size(), 1);
  home_ = Find(start, kPod, "main")->mems.First();
  other_ = home_ == 0 ? 1 : 0;
  main_ = CgroupOf(start, kPod, "main");
  helper_ = CgroupOf(start, kPod, "helper");
  ASSERT_FALSE(main_.empty());
  ASSERT_FALSE(helper_.empty());
  pod_ = std::filesystem::path(main_).parent_path();
  all_ = start.machine.Cpus();
  partitioned_ = std::filesystem::exists(Cat(kRoot, main_, "/cpuset.cpus.exclusive"));
  for (const ProbeView& probe : start.probes) {
    if (probe.running) probes_.insert(probe.name);
  }
  std::printf("%-58s %-12s %11s %11s\n", "deed", "finding", "found after", "undone after");
}

bool MatrixTest::ByUs(const FindingView& finding, const std::string& probe) const {
  return !ProbeRuns(probe) || (finding.by && finding.by->pid == getpid());
}

void MatrixTest::Inject(const Injection& injection, int times) {
  SCOPED_TRACE(injection.deed);
  if (!injection.probes.empty() &&
      std::ranges::none_of(injection.probes, [this](const std::string& name) { return ProbeRuns(name); })) {
    missing_ += Cat("; ", injection.deed, ": none of the probes ", absl::StrJoin(injection.probes, ", "), " runs");
    return;
  }
  std::vector<absl::Duration> found;
  std::vector<absl::Duration> undone;
  for (int i = 0; i < times; ++i) {
    absl::SleepFor(absl::Milliseconds(200));  // the agent has looked again after its last repair, and found nothing
    const std::optional<absl::Time> begin = injection.act();
    if (!begin) {
      EXPECT_TRUE(injection.refusable) << "the kernel refused it";
      std::printf("%-58s %-12s\n", injection.deed.c_str(), "refused");
      return;
    }
    if (injection.undone) {
      EXPECT_TRUE(AwaitKernel(injection.undone, kPatience)) << "it was not undone";
      undone.push_back(absl::Now() - *begin);
    }
    absl::SleepFor(injection.unwatched);
    // What the agent wrote down when it found it, not when it was asked.
    std::optional<absl::Time> noted;
    std::string others;
    EXPECT_TRUE(Await(
        [&](const Snapshot& snapshot) {
          others.clear();
          for (const FindingView& finding : snapshot.findings) {
            const absl::Time since = At(finding.since) >= *begin ? At(finding.since) : At(finding.last_seen);
            if (since < *begin) continue;
            if (injection.names(finding)) noted = std::min(noted.value_or(since), since);
            others += Cat("\n  ", finding.kind, ": ", finding.message, " [expected ", finding.expected, ", seen ",
                          finding.seen, finding.by ? Cat(", by ", finding.by->pid) : "", "]");
          }
          return noted.has_value();
        },
        kPatience))
        << "it was not found; what was:" << others;
    if (noted) found.push_back(*noted - *begin);
    if (injection.restore) injection.restore();
  }
  std::printf("%-58s %-12s %11s %11s\n", injection.deed.c_str(), injection.finding.c_str(), Median(found).c_str(),
              Median(undone).c_str());
  std::fflush(stdout);
}

Injection MatrixTest::Write(const std::string& cgroup, const std::string& file, const std::string& value) {
  std::string before = ReadCgroupFile(cgroup, file);
  const bool inherits = before.empty();
  // What inherits has all, and is written as such: the kernel takes no empty set once tasks are below.
  if (before.empty() && file == "cpuset.cpus") before = all_.ToString();
  if (before.empty() && file == "cpuset.mems") before = NumaSet{home_, other_}.ToString();
  EXPECT_NE(before, value) << cgroup << "/" << file << ": no change";
  std::string place = cgroup;
  std::string container;
  if (cgroup == main_ || cgroup == helper_) container = place = cgroup == main_ ? "main" : "helper";
  if (cgroup == pod_) place = "the pod";
  if (cgroup == "podfence") place = "the top cgroup";
  return {.deed = Cat(place, ": ", file, " = ", value),
          .finding = "drift",
          .act = [=]() -> std::optional<absl::Time> {
            const absl::Time now = absl::Now();
            if (!WriteCgroupFile(cgroup, file, value)) return std::nullopt;
            return now;
          },
          .names =
              [=, this](const FindingView& finding) {
                return finding.kind == "drift" && finding.cgroup == kRoot + cgroup && finding.file == file &&
                       finding.container == container && finding.pod.ends_with(container.empty() ? "" : kPod) &&
                       (finding.expected == before || (inherits && finding.expected.empty())) &&
                       finding.seen == value && ByUs(finding, "cgroup_write");
              },
          .undone = [=] { return ReadCgroupFile(cgroup, file) == before; }};
}

void MatrixTest::Finish() {
  std::string why;
  EXPECT_TRUE(Await([&](const Snapshot& snapshot) {
    why = snapshot.verification.state;
    for (const auto& reason : snapshot.verification.reasons) why += Cat("; ", reason.what, ": ", reason.reason);
    for (const FindingView& finding : snapshot.findings) {
      if (finding.active) why += Cat("\n  ", finding.kind, ": ", finding.message);
    }
    return snapshot.verification.state == "clean";
  })) << why;
  if (!missing_.empty()) GTEST_SKIP() << "all others passed" << missing_;
}

}  // namespace podfence
