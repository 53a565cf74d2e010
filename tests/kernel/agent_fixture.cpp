#include "tests/kernel/agent_fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/time/clock.h"
#include "agent/commands/api_client.h"
#include "agent/core/text.h"

namespace podfence {
namespace {

namespace fs = std::filesystem;

constexpr char kCgroups[] = "/sys/fs/cgroup";
constexpr char kExamples[] = "/etc/podfence/examples/pods";

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

uint64_t ThrottledPeriods(const std::string& cgroup) {
  std::istringstream stat(ReadCgroupFile(cgroup, "cpu.stat"));
  std::string key;
  uint64_t value = 0;
  while (stat >> key >> value) {
    if (key == "nr_throttled") return value;
  }
  return 0;  // the root has no quota and no such line
}

void AgentTest::SetUp() {
  char name[] = "/tmp/agent.XXXXXX";
  ASSERT_NE(mkdtemp(name), nullptr);
  work_ = name;
  for (const char* folder : {"manifests", "state", "logs"}) fs::create_directory(fs::path(work_) / folder);
  WriteAll(work_ + "/podfence.yaml", "driftSweepInterval: 2s\n");
}

void AgentTest::TearDown() {
  if (HasFailure()) std::cerr << "the agent's log:\n" << AgentLog();
  if (agent_ > 0) {
    // Pods end with their manifests, then the agent.
    for (const auto& entry : fs::directory_iterator(work_ + "/manifests")) fs::remove(entry);
    EXPECT_TRUE(Await([](const Snapshot& snapshot) { return snapshot.pods.empty(); }, absl::Seconds(60)));
    EXPECT_EQ(EndAgent(SIGTERM), 0);
  }
  fs::remove_all(work_);
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

void AgentTest::StartAgent(const std::string& scope) {
  agent_ = Spawn(Arguments(scope), work_ + "/agent.log");
  ASSERT_GT(agent_, 0);
  ASSERT_TRUE(Await([](const Snapshot&) { return true; })) << AgentLog();
}

std::pair<int, std::string> AgentTest::RunSecondAgent(const std::string& scope) {
  const std::string output = work_ + "/second.log";
  const int code = ExitCode(Spawn(Arguments(scope), output));
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

void AgentTest::AddExamplePods() {
  for (const auto& entry : fs::directory_iterator(kExamples)) {
    AddManifest(entry.path().filename(), ReadAll(entry.path()));
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

bool AgentTest::AwaitRunning(size_t pods) {
  return Await([&](const Snapshot& snapshot) {
    return snapshot.pods.size() == pods && std::ranges::all_of(snapshot.pods, [](const PodView& pod) {
             return std::ranges::all_of(pod.containers,
                                        [](const ContainerView& container) { return container.phase == "running"; });
           });
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

std::optional<double> AgentTest::Metric(const std::string& series) {
  const absl::StatusOr<std::string> exposition = FetchFromAgent(kServer, "/metrics");
  EXPECT_TRUE(exposition.ok()) << exposition.status();
  if (!exposition.ok()) return std::nullopt;
  std::istringstream lines(*exposition);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(series + " ")) return std::stod(line.substr(series.size()));
  }
  return std::nullopt;
}

std::string AgentTest::CgroupOf(const std::string& pod_name, const std::string& container) {
  for (const auto& [uid, allocation] : Now().state.pods) {
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

std::string AgentTest::AgentLog() { return ReadAll(work_ + "/agent.log"); }

}  // namespace podfence
