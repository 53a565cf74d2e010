#include "tests/e2e/node_fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <regex>
#include <sstream>

#include "absl/time/clock.h"
#include "agent/commands/api_client.h"
#include "agent/core/text.h"
#include "agent/state/store.h"
#include "tests/e2e/node_runtime.h"

namespace podfence {
namespace {

namespace fs = std::filesystem;

constexpr char kCgroups[] = "/sys/fs/cgroup";
constexpr char kManifests[] = "/etc/kubernetes/manifests";
constexpr char kNode[] = "lab";
constexpr char kConfig[] = "/etc/podfence/podfence.yaml";  // where podfence looks by itself
constexpr char kWork[] = "/run/e2e";                       // of one test

std::string ReadAll(const fs::path& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}
void WriteAll(const fs::path& path, const std::string& text) { std::ofstream(path) << text; }

// Whether systemd is process 1 (sd_booted(3)): the node then uses the systemd driver, as such nodes do.
bool HasSystemd() { return fs::exists("/run/systemd/system"); }
fs::path PodsCgroup() { return fs::path(kCgroups) / (HasSystemd() ? "kubepods.slice" : "kubepods"); }

// A configuration of tests/e2e/guest, for the runtime and under the driver of this guest.
std::string GuestConfig(const std::string& name) {
  std::string text = ReadAll(Cat("/e2e/guest/", name));
  const auto replace = [&](const char* from, const std::string& to) {
    text = std::regex_replace(text, std::regex(from), to);
  };
  replace("/run/containerd/containerd.sock", RuntimeOfNode().socket);
  if (!HasSystemd()) return text;
  replace("SystemdCgroup = false", "SystemdCgroup = true");
  replace("cgroupDriver: cgroupfs", "cgroupDriver: systemd");
  replace("cgroup_manager = \"cgroupfs\"", "cgroup_manager = \"systemd\"");
  return text;
}

// The cgroup of that name below the pods', "" where there is none. Others may vanish meanwhile, which ends a walk.
std::string FindCgroup(const std::string& name) {
  for (std::error_code gone;; gone.clear()) {
    for (fs::recursive_directory_iterator at(PodsCgroup(), gone), end; !gone && at != end; at.increment(gone)) {
      if (at->path().filename() == name) return at->path().lexically_relative(kCgroups);
    }
    if (!gone || !fs::exists(PodsCgroup())) return "";
  }
}

// The ID of the container of a cgroup.
std::string IdOf(const std::string& cgroup) {
  std::string id = cgroup.substr(cgroup.rfind('/') + 1);
  if (id.ends_with(".scope")) id.resize(id.size() - std::string(".scope").size());
  return id.substr(RuntimeOfNode().cgroup_prefix.size());
}

}  // namespace

void NodeTest::BeginNode() {
  for (const char* folder : {kWork, kManifests, "/run/nri", "/var/lib/kubelet", "/etc/kubernetes"}) {
    fs::create_directories(folder);
  }
  std::error_code error;
  if (!fs::exists("/var/run")) fs::create_directory_symlink("/run", "/var/run", error);
  WriteAll("/etc/resolv.conf", "");
  WriteAll("/etc/hosts", Cat("127.0.0.1 localhost ", kNode, "\n"));
  WriteAll("/etc/machine-id", "0123456789abcdef0123456789abcdef\n");
}

void NodeTest::EndNode() {
  if (HasFailure()) {
    for (const auto& [program, pid] : programs_) std::cerr << program << "'s log:\n" << Log(program) << '\n';
  }
  for (const auto& entry : fs::directory_iterator(kManifests)) fs::remove(entry.path());
  for (const char* program : {"podfence", "podfence-next", "kubelet"}) {
    if (programs_.contains(program)) End(program, SIGTERM);
  }
  const NodeRuntime& runtime = RuntimeOfNode();
  if (programs_.contains(runtime.program)) {
    // The containers outlive the runtime; what runs in them is killed by its cgroups.
    if (fs::exists(PodsCgroup())) WriteAll(PodsCgroup() / "cgroup.kill", "1");
    Run(runtime.remove_all);
    End(runtime.program, SIGTERM);
    if (HasSystemd()) Run("systemctl stop kubepods.slice");
    Run(Cat("grep -oE '(", runtime.folder, "|/var/lib/kubelet/)[^ ]*' /proc/mounts | ",
            "while read -r it; do umount -l $it; done"));
    fs::remove_all(runtime.folder);
  }
  fs::remove_all("/var/lib/kubelet");
  fs::remove_all(kWork);
}

bool NodeTest::Run(const std::string& command) {
  return system(Cat("{ ", command, "; } >>", kWork, "/run.log 2>&1").c_str()) == 0;
}

void NodeTest::Start(const std::string& program, const std::vector<std::string>& arguments, const std::string& as) {
  const std::string& name = as.empty() ? program : as;
  const pid_t pid = fork();
  ASSERT_GE(pid, 0);
  if (pid > 0) {
    programs_[name] = pid;
    return;
  }
  const int fd = open(Cat(kWork, "/", name, ".log").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  dup2(fd, STDOUT_FILENO);
  dup2(fd, STDERR_FILENO);
  setsid();
  // Each program of Go would make a thread for each of the guest's many emulated CPUs.
  setenv("GOMAXPROCS", "4", 1);
  std::vector<char*> words = {const_cast<char*>(program.c_str())};
  for (const std::string& argument : arguments) words.push_back(const_cast<char*>(argument.c_str()));
  words.push_back(nullptr);
  execvp(words[0], words.data());
  _exit(127);
}

void NodeTest::End(const std::string& program, int signal) {
  const auto found = programs_.find(program);
  ASSERT_NE(found, programs_.end()) << program;
  kill(found->second, signal);
  if (!Await([&] { return waitpid(found->second, nullptr, WNOHANG) == found->second; }, absl::Seconds(30))) {
    ADD_FAILURE() << program << " did not end on signal " << signal;
    kill(found->second, SIGKILL);
    waitpid(found->second, nullptr, 0);
  }
  programs_.erase(found);
}

std::string NodeTest::ProcessStatus(const std::string& program, const std::string& key) {
  std::istringstream lines(ReadAll(Cat("/proc/", programs_.at(program), "/status")));
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(Cat(key, ":\t"))) return line.substr(key.size() + 2);
  }
  return "";
}

int NodeTest::RunPodfence(const std::string& words, std::string& output) {
  const std::string file = Cat(kWork, "/podfence.out");
  const int status = system(Cat("podfence ", words, " >", file, " 2>&1").c_str());
  output = ReadAll(file);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void NodeTest::Signal(const std::string& program, int signal) { ASSERT_EQ(kill(programs_.at(program), signal), 0); }

void NodeTest::StartRuntime(const std::string& more) {
  const NodeRuntime& runtime = RuntimeOfNode();
  const std::string config = Cat(kWork, "/", runtime.config);
  WriteAll(config, GuestConfig(runtime.config) + more);
  Start(runtime.program, {"--config", config});
  ASSERT_TRUE(Await([&] { return Run(runtime.is_ready); }, absl::Seconds(60))) << Log(runtime.program);
  ASSERT_TRUE(Run(Cat("for archive in /e2e/*.tar; do ", runtime.load, " || exit 1; done"))) << Log("run");
}

void NodeTest::StartKubelet(const std::string& more, const std::vector<std::string>& flags) {
  // Where kubeadm puts it, and preflight looks.
  WriteAll("/var/lib/kubelet/config.yaml", GuestConfig("kubelet.yaml") + more);
  std::vector<std::string> all = {"--config=/var/lib/kubelet/config.yaml", "--node-ip=10.0.2.15",
                                  Cat("--hostname-override=", kNode)};
  all.insert(all.end(), flags.begin(), flags.end());
  Start("kubelet", all);
  ASSERT_TRUE(Await([] { return FetchFromAgent(kKubelet, "/pods").ok(); }, absl::Seconds(90))) << Log("kubelet");
}

void NodeTest::StartAgent(const std::string& more, const std::string& mode) {
  fs::create_directories(Cat(kWork, "/state"));
  WriteAll(kConfig, Cat("mode: ", mode, "\nnodeName: ", kNode, "\nstateDirectory: ", kWork,
                        "/state\ndriftSweepInterval: 5s\n", more));
  Start("podfence", {"agent"});
}

void NodeTest::StartManaged(const std::string& more) {
  ASSERT_NO_FATAL_FAILURE(StartRuntime(RuntimeOfNode().required));
  StartAgent(more);
  StartKubelet();
  ASSERT_FALSE(HasFatalFailure());
}

std::string NodeTest::StateDirectory() { return Cat(kWork, "/state"); }

void NodeTest::LoseCheckpoint() { ASSERT_TRUE(fs::remove(CheckpointPath(StateDirectory()))); }

void NodeTest::StartNextAgent(const std::string& more) {
  WriteAll(Cat(kWork, "/podfence-next.yaml"), Cat(ReadAll(kConfig), more));
  Start("podfence", {"agent", "--config", Cat(kWork, "/podfence-next.yaml")}, "podfence-next");
}

std::string NodeTest::PodOf(const std::string& name, std::string_view resources, std::string_view script,
                            int grace_seconds) {
  return Cat("apiVersion: v1\nkind: Pod\nmetadata: {name: ", name, "}\nspec:\n  hostNetwork: true\n",
             "  terminationGracePeriodSeconds: ", grace_seconds,
             "\n  containers:\n  - name: app\n    image: test.local/work:1\n    command: [sh, -c, '", script,
             "']\n    resources: {", resources, "}\n");
}

std::string NodeTest::Exclusive(const std::string& name, int cpus, std::string_view script, int grace_seconds) {
  return PodOf(name, Cat("limits: {cpu: ", cpus, ", memory: 64Mi}"), script, grace_seconds);
}

void NodeTest::AddPod(const std::string& name, const std::string& manifest) {
  // Not seen half written; the kubelet passes over names that begin with a dot.
  WriteAll(Cat(kManifests, "/.manifest"), manifest);
  fs::rename(Cat(kManifests, "/.manifest"), Cat(kManifests, "/", name, ".yaml"));
}

std::string NodeTest::ExamplePod(const std::string& name) {
  const std::string text = ReadAll(Cat("/etc/podfence/examples/pods/", name, ".yaml"));
  EXPECT_NE(text, "") << name;
  const std::string manifest = std::regex_replace(text, std::regex("image: .*"), "image: test.local/work:1");
  return std::regex_replace(manifest, std::regex("\\nspec:\\n"),
                            "\nspec:\n  hostNetwork: true\n  terminationGracePeriodSeconds: 1\n");
}

std::string NodeTest::Idle(const std::string& manifest) {
  return std::regex_replace(manifest, std::regex("command: .*"), "command: [sleep, \"1000000\"]");
}

void NodeTest::AddExamplePod(const std::string& name) { AddPod(name, ExamplePod(name)); }

void NodeTest::RemovePod(const std::string& name) { fs::remove(Cat(kManifests, "/", name, ".yaml")); }

absl::StatusOr<nlohmann::json> NodeTest::AskKubelet(const std::string& name) {
  const absl::StatusOr<std::string> pods = FetchFromAgent(kKubelet, "/pods");
  if (!pods.ok()) return pods.status();
  const nlohmann::json list = nlohmann::json::parse(*pods, nullptr, /*allow_exceptions=*/false);
  if (list.is_discarded()) return absl::DataLossError(*pods);
  for (const nlohmann::json& pod : list.value("items", nlohmann::json())) {  // null: there are none
    const std::string found = pod["metadata"].value("name", "");
    if (found == name || found == Cat(name, "-", kNode)) return pod;
  }
  return nlohmann::json();
}

nlohmann::json NodeTest::PodStatus(const std::string& name) { return AskKubelet(name).value_or(nlohmann::json()); }

bool NodeTest::AwaitRunning(const std::string& name, absl::Duration patience) {
  return Await(
      [&] {
        const nlohmann::json pod = PodStatus(name);
        if (pod.is_null() || !pod["status"].contains("containerStatuses")) return false;
        std::vector<nlohmann::json> statuses = pod["status"]["containerStatuses"];
        for (const nlohmann::json& init : pod["status"].value("initContainerStatuses", nlohmann::json::array())) {
          statuses.push_back(init);
        }
        return std::ranges::all_of(statuses, [](const nlohmann::json& status) {
          return status["state"].contains("running") ||
                 status["state"].value("/terminated/exitCode"_json_pointer, -1) == 0;
        });
      },
      patience);
}

bool NodeTest::AwaitGone(const std::string& name, absl::Duration patience) {
  const auto gone = [&] {
    const absl::StatusOr<nlohmann::json> pod = AskKubelet(name);
    return pod.ok() && pod->is_null();
  };
  return Await(gone, patience);
}

bool NodeTest::Await(const std::function<bool()>& condition, absl::Duration patience) {
  const absl::Time deadline = absl::Now() + patience;
  do {
    if (condition()) return true;
    absl::SleepFor(absl::Milliseconds(300));
  } while (absl::Now() < deadline);
  return false;
}

std::string NodeTest::CgroupOf(const std::string& pod, const std::string& container) {
  const nlohmann::json status = PodStatus(pod);
  if (status.is_null()) return "";
  for (const char* kind : {"containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"}) {
    for (const nlohmann::json& one : status["status"].value(kind, nlohmann::json::array())) {
      const std::string id = one.value("containerID", "");
      if (one["name"] != container || id.find("//") == std::string::npos) continue;
      const std::string plain = id.substr(id.find("//") + 2);
      const std::string name = Cat(RuntimeOfNode().cgroup_prefix, plain, HasSystemd() ? ".scope" : "");
      if (std::string path = FindCgroup(name); !path.empty()) return path;
    }
  }
  return "";
}

std::string NodeTest::ExecIn(const std::string& cgroup, const std::string& command) {
  const std::string out = Cat(kWork, "/exec.out");
  if (!Run(Cat(RuntimeOfNode().oci, "exec ", IdOf(cgroup), " sh -c '", command, "' >", out))) return "";
  std::string text = ReadAll(out);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

std::map<std::string, std::string> NodeTest::Fences() {
  std::map<std::string, std::string> texts;
  for (const auto& entry : fs::recursive_directory_iterator(PodsCgroup())) {
    static constexpr std::array kFiles = {"cpuset.cpus", "cpuset.mems", "cpuset.cpus.partition", "cpu.max",
                                          "cpu.weight",  "memory.max",  "cgroup.subtree_control"};
    const bool fences = std::ranges::find(kFiles, entry.path().filename()) != kFiles.end();
    if (fences) texts[entry.path()] = ReadAll(entry.path());
  }
  return texts;
}

std::string NodeTest::ReadCgroup(const std::string& cgroup, const std::string& file) {
  std::string text = ReadAll(fs::path(kCgroups) / cgroup / file);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

bool NodeTest::WriteCgroup(const std::string& cgroup, const std::string& file, const std::string& value) {
  std::ofstream out(fs::path(kCgroups) / cgroup / file);
  out << value << std::flush;
  return out.good();
}

uint64_t NodeTest::CpuStat(const std::string& cgroup, const std::string& key) {
  std::istringstream stat(ReadCgroup(cgroup, "cpu.stat"));
  std::string name;
  uint64_t value = 0;
  while (stat >> name >> value) {
    if (name == key) return value;
  }
  ADD_FAILURE() << cgroup << "/cpu.stat says no " << key;
  return 0;
}

double NodeTest::MedianCpus(const std::string& cgroup, int windows, absl::Duration window) {
  return MedianCpus(std::vector<std::string>{cgroup}, windows, window).front();
}

std::vector<double> NodeTest::MedianCpus(const std::vector<std::string>& cgroups, int windows, absl::Duration window) {
  const auto usage = [&] {
    std::vector<double> usec;
    for (const std::string& cgroup : cgroups) usec.push_back(static_cast<double>(CpuStat(cgroup, "usage_usec")));
    return usec;
  };
  std::vector<std::vector<double>> cpus(cgroups.size());
  for (int i = 0; i < windows; ++i) {
    const absl::Time begin = absl::Now();
    const std::vector<double> before = usage();
    absl::SleepFor(window);
    const std::vector<double> after = usage();
    const double span = absl::ToDoubleMicroseconds(absl::Now() - begin);
    for (size_t c = 0; c < cgroups.size(); ++c) cpus[c].push_back((after[c] - before[c]) / span);
  }
  std::vector<double> medians;
  for (std::vector<double>& each : cpus) {
    std::ranges::sort(each);
    medians.push_back(each[each.size() / 2]);
  }
  return medians;
}

uint64_t NodeTest::ThrottledUsec(std::string cgroup) {
  uint64_t sum = 0;
  while (!cgroup.empty()) {
    sum += CpuStat(cgroup, "throttled_usec");
    const size_t slash = cgroup.rfind('/');
    cgroup.resize(slash == std::string::npos ? 0 : slash);
  }
  return sum;
}

void NodeTest::ExpectNeverThrottled(const std::string& cgroup, uint64_t before) {
  EXPECT_EQ(CpuStat(cgroup, "throttled_usec"), 0u) << cgroup;
  EXPECT_EQ(ThrottledUsec(cgroup), before) << "at " << cgroup << " or above";
  EXPECT_EQ(Scrape().at("podfence_exclusive_throttled_seconds_total"), 0) << Log("podfence");
}

Snapshot NodeTest::AgentNow() {
  absl::StatusOr<Snapshot> snapshot = FetchSnapshot(kAgent);
  EXPECT_TRUE(snapshot.ok()) << snapshot.status() << Log("podfence");
  return snapshot.ok() ? *std::move(snapshot) : Snapshot();
}

std::map<std::string, double> NodeTest::Scrape() {
  const absl::StatusOr<std::string> exposition = FetchFromAgent(kAgent, "/metrics");
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

bool NodeTest::AwaitLog(const std::string& program, const std::string& text, const std::string& more,
                        absl::Duration patience) {
  const absl::Time deadline = absl::Now() + patience;
  do {
    std::ifstream log(Cat(kWork, "/", program, ".log"));
    for (std::string line; std::getline(log, line);) {
      if (line.find(text) != std::string::npos && line.find(more) != std::string::npos) return true;
    }
    absl::SleepFor(absl::Milliseconds(5));
  } while (absl::Now() < deadline);
  return false;
}

std::string NodeTest::Log(const std::string& program, size_t most) {
  std::string log = ReadAll(Cat(kWork, "/", program, ".log"));
  if (log.size() > most) log = Cat("…", log.substr(log.size() - most));
  return log;
}

}  // namespace podfence
