#include "tests/kernel/agent_fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <regex>
#include <sstream>

#include "absl/time/clock.h"
#include "agent/commands/api_client.h"
#include "agent/core/text.h"

namespace podfence {
namespace {

namespace fs = std::filesystem;

constexpr char kCgroups[] = "/sys/fs/cgroup";
constexpr char kExamples[] = "/etc/podfence/examples/pods";
constexpr char kOurs[] = "podfence";  // the agent's cgroup
constexpr size_t kExampleContainers = 5;
constexpr size_t kExampleLoops = 21;  // which the containers' shells start

std::string ReadAll(const fs::path& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

void WriteAll(const fs::path& path, const std::string& text) { std::ofstream(path) << text; }

// Starts `podfence` with its output in a file.
pid_t Spawn(const std::vector<std::string>& arguments, const std::string& output) {
  const pid_t pid = fork();
  if (pid != 0) return pid;
  const int fd = open(output.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  dup2(fd, STDOUT_FILENO);
  dup2(fd, STDERR_FILENO);
  setsid();
  std::vector<char*> words;
  for (const std::string& argument : arguments) words.push_back(const_cast<char*>(argument.c_str()));
  words.push_back(nullptr);
  execvp(words[0], words.data());
  _exit(127);
}

int ExitCode(pid_t pid) {
  int status = 0;
  if (waitpid(pid, &status, 0) != pid) return -1000;
  return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace

std::string ReadCgroupFile(const std::string& cgroup, const std::string& file) {
  std::string text = ReadAll(fs::path(kCgroups) / cgroup / file);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

bool WriteCgroupFile(const std::string& cgroup, const std::string& file, const std::string& value) {
  std::ofstream out(fs::path(kCgroups) / cgroup / file);
  out << value << std::flush;
  return out.good();
}

std::optional<uint64_t> CpuStatOf(const std::string& cgroup, const std::string& key) {
  std::istringstream stat(ReadCgroupFile(cgroup, "cpu.stat"));
  std::string name;
  uint64_t value = 0;
  while (stat >> name >> value) {
    if (name == key) return value;
  }
  return std::nullopt;
}

CpuSet ParseCpus(const std::string& list) {
  absl::StatusOr<CpuSet> cpus = CpuSet::Parse(list);
  EXPECT_TRUE(cpus.ok()) << cpus.status();
  return cpus.ok() ? *std::move(cpus) : CpuSet();
}

void AgentTest::SetUp() {
  char name[] = "/tmp/agent.XXXXXX";
  ASSERT_NE(mkdtemp(name), nullptr);
  work_ = name;
  for (const char* folder : {"manifests", "state", "logs"}) fs::create_directory(fs::path(work_) / folder);
  SetSweepInterval("2s");
  host_cpus_ = ReadCgroupFile("init.scope", "cpuset.cpus.effective");
}

void AgentTest::TearDown() {
  if (agent_ > 0) {
    EXPECT_EQ(EndAgent(SIGTERM), 0);
  }
  RemovePods();
  // The partitions of containers that go on stay theirs; the kernel takes them back a little after their cgroups.
  EXPECT_TRUE(AwaitCgroupFile("init.scope", "cpuset.cpus.effective",
                              [&](const std::string& cpus) { return cpus == host_cpus_; }))
      << "the agent gives back what it took of the host, but " << ReadCgroupFile("init.scope", "cpuset.cpus.effective")
      << " is left of " << host_cpus_;
  if (HasFailure()) std::cerr << "the agent's log:\n" << AgentLog();
  fs::remove_all(work_);
}

// Containers go on without their agent: what this test started must not meet the next one.
void AgentTest::RemovePods() {
  const fs::path ours = fs::path(kCgroups) / kOurs;
  if (!fs::exists(ours)) return;
  ASSERT_TRUE(WriteCgroupFile(kOurs, "cgroup.kill", "1"));
  ASSERT_TRUE(AwaitCgroupFile(
      kOurs, "cgroup.events", [](const std::string& events) { return events.find("populated 0") != std::string::npos; },
      absl::Seconds(30)));
  std::vector<fs::path> folders = {ours};
  for (const auto& entry : fs::recursive_directory_iterator(ours)) {
    if (entry.is_directory()) folders.push_back(entry.path());
  }
  std::ranges::sort(folders, std::greater());  // children before their parents
  for (const fs::path& folder : folders) EXPECT_EQ(rmdir(folder.c_str()), 0) << folder << ": " << strerror(errno);
}

std::vector<std::string> AgentTest::Arguments(const std::string& scope) {
  return {"podfence",
          "agent",
          "--config",
          work_ + "/podfence.yaml",
          "--manifests",
          work_ + "/manifests",
          "--state-dir",
          work_ + "/state",
          "--log-dir",
          work_ + "/logs",
          "--listen",
          std::string(kServer).substr(7),
          "--topology-manager-scope",
          scope};
}

void AgentTest::AddSetting(const std::string& line) {
  std::ofstream(work_ + "/podfence.yaml", std::ios::app) << line << '\n';
}

void AgentTest::SetSweepInterval(const std::string& interval) {
  WriteAll(work_ + "/podfence.yaml", Cat("driftSweepInterval: ", interval, "\n"));
}

void AgentTest::StartAgent(const std::string& scope) {
  agent_ = Spawn(Arguments(scope), work_ + "/agent.log");
  ASSERT_GT(agent_, 0);
  ASSERT_TRUE(Await([](const Snapshot&) { return true; })) << AgentLog();
}

std::pair<int, std::string> AgentTest::RunSecondAgent(const std::string& scope) { return RunToEnd(Arguments(scope)); }

std::pair<int, std::string> AgentTest::Verify(const std::vector<std::string>& flags) {
  std::vector<std::string> arguments = {"podfence",    "verify",        "--config", work_ + "/podfence.yaml",
                                        "--state-dir", work_ + "/state"};
  arguments.insert(arguments.end(), flags.begin(), flags.end());
  return RunToEnd(arguments);
}

std::pair<int, std::string> AgentTest::RunToEnd(const std::vector<std::string>& arguments) {
  const std::string output = work_ + "/output.log";
  fs::remove(output);
  const int code = ExitCode(Spawn(arguments, output));
  return {code, ReadAll(output)};
}

int AgentTest::EndAgent(int signal) {
  kill(agent_, signal);
  return ExitCode(std::exchange(agent_, -1));
}

void AgentTest::AddManifest(const std::string& name, const std::string& text) {
  const std::string path = work_ + "/manifests/" + name;
  WriteAll(work_ + "/" + name, text);
  fs::rename(work_ + "/" + name, path);
}

void AgentTest::AddExamplePods(Loops loops) {
  const bool one = loops == Loops::kOneEach;
  processes_ = kExampleContainers + (one ? kExampleContainers : kExampleLoops);
  for (const auto& entry : fs::directory_iterator(kExamples)) {
    const std::string text = ReadAll(entry.path());
    AddManifest(entry.path().filename(),
                one ? std::regex_replace(text, std::regex("for i in [0-9 ]+;"), "for i in 1;") : text);
  }
}

void AgentTest::RemoveManifest(const std::string& name) { fs::remove(work_ + "/manifests/" + name); }

Snapshot AgentTest::Now() {
  absl::StatusOr<Snapshot> snapshot = FetchSnapshot(kServer);
  EXPECT_TRUE(snapshot.ok()) << snapshot.status();
  return snapshot.ok() ? *std::move(snapshot) : Snapshot();
}

bool AgentTest::Await(const std::function<bool(const Snapshot&)>& condition, absl::Duration patience) {
  const absl::Time deadline = absl::Now() + patience;
  do {
    const absl::StatusOr<Snapshot> snapshot = FetchSnapshot(kServer);
    if (snapshot.ok() && condition(*snapshot)) return true;
    absl::SleepFor(absl::Milliseconds(300));
  } while (absl::Now() < deadline);
  return false;
}

bool AgentTest::AwaitExamplePods() {
  const auto running = [](const ContainerView& container) { return container.phase == "running"; };
  return Await([&](const Snapshot& snapshot) {
    size_t containers = 0;
    for (const PodView& pod : snapshot.pods) containers += std::ranges::count_if(pod.containers, running);
    if (containers != kExampleContainers) return false;
    size_t processes = 0;
    for (const auto& entry : fs::recursive_directory_iterator(fs::path(kCgroups) / kOurs)) {
      if (entry.is_directory()) processes += Processes(entry.path().lexically_relative(kCgroups)).size();
    }
    return processes == processes_;
  });
}

std::vector<Snapshot> AgentTest::Measure(int windows, absl::Duration window) {
  std::vector<Snapshot> snapshots = {Now()};
  for (int i = 0; i < windows; ++i) {
    absl::SleepFor(window);
    snapshots.push_back(Now());
  }
  return snapshots;
}

std::map<std::string, double> AgentTest::Scrape() {
  const absl::StatusOr<std::string> exposition = FetchFromAgent(kServer, "/metrics");
  EXPECT_TRUE(exposition.ok()) << exposition.status();
  std::map<std::string, double> series;
  std::istringstream lines(exposition.ok() ? *exposition : "");
  for (std::string line; std::getline(lines, line);) {
    const size_t blank = line.rfind(' ');
    if (line.starts_with('#') || blank == std::string::npos) continue;
    series[line.substr(0, blank)] = std::stod(line.substr(blank));
  }
  return series;
}

std::string AgentTest::CgroupOf(const Snapshot& snapshot, const std::string& pod_name, const std::string& container) {
  for (const auto& [uid, allocation] : snapshot.state.pods) {
    if (allocation.pod->name != pod_name) continue;
    const fs::path pod = fs::path(kCgroups) / "podfence" / ("pod" + uid);
    for (const auto& entry : fs::recursive_directory_iterator(pod)) {
      if (entry.is_directory() && entry.path().filename() == container) {
        return entry.path().lexically_relative(kCgroups);
      }
    }
  }
  return "";
}

const ContainerView* AgentTest::Find(const Snapshot& snapshot, const std::string& pod_name,
                                     const std::string& container) {
  for (const PodView& pod : snapshot.pods) {
    const auto allocation = snapshot.state.pods.find(pod.uid);
    if (allocation == snapshot.state.pods.end() || allocation->second.pod->name != pod_name) continue;
    for (const ContainerView& view : pod.containers) {
      if (view.name == container) return &view;
    }
  }
  return nullptr;
}

std::set<pid_t> AgentTest::Processes(const std::string& cgroup) {
  std::istringstream text(ReadCgroupFile(cgroup, "cgroup.procs"));
  std::set<pid_t> pids;
  for (pid_t pid = 0; text >> pid;) pids.insert(pid);
  return pids;
}

bool AgentTest::AwaitCgroupFile(const std::string& cgroup, const std::string& file,
                                const std::function<bool(const std::string&)>& condition, absl::Duration patience) {
  const absl::Time deadline = absl::Now() + patience;
  do {
    if (condition(ReadCgroupFile(cgroup, file))) return true;
    absl::SleepFor(absl::Milliseconds(50));
  } while (absl::Now() < deadline);
  return false;
}

std::map<std::string, std::string> AgentTest::Containers() {
  std::map<std::string, std::string> containers;
  for (const auto& entry : fs::recursive_directory_iterator(fs::path(kCgroups) / kOurs)) {
    if (!entry.is_directory()) continue;
    const std::string cgroup = entry.path().lexically_relative(kCgroups);
    const std::set<pid_t> processes = Processes(cgroup);
    if (processes.empty()) continue;
    std::string text = "processes";
    for (const pid_t pid : processes) text += Cat(" ", pid);
    containers[entry.path().lexically_relative(fs::path(kCgroups) / kOurs)] =
        Cat(text, "; CPUs ", ReadCgroupFile(cgroup, "cpuset.cpus.effective"), "; NUMA nodes ",
            ReadCgroupFile(cgroup, "cpuset.mems.effective"));
  }
  return containers;
}

std::string AgentTest::AgentLog() { return ReadAll(work_ + "/agent.log"); }

}  // namespace podfence
