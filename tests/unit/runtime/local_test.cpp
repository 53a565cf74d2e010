#include "agent/runtime/local.h"

#include <gmock/gmock.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <map>

#include "absl/time/clock.h"
#include "agent/cgroup/control.h"
#include "agent/core/text.h"
#include "tests/unit/cgroup/cgroup_tree.h"

namespace podfence {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;

Container Shell(const std::string& name, const std::string& script) {
  Container container;
  container.name = name;
  container.command = {"/bin/sh", "-c", script};
  return container;
}
Container SidecarShell(const std::string& name, const std::string& script) {
  Container container = Shell(name, script);
  container.restart_policy = RestartPolicy::kAlways;
  return container;
}
std::shared_ptr<const Pod> MakePod(std::vector<Container> init, std::vector<Container> apps,
                                   RestartPolicy policy = RestartPolicy::kNever, int64_t grace = 30) {
  Pod pod;
  pod.uid = "u1";
  pod.name = "p";
  pod.init_containers = std::move(init);
  pod.containers = std::move(apps);
  pod.restart_policy = policy;
  pod.termination_grace_period_seconds = grace;
  return std::make_shared<const Pod>(std::move(pod));
}

// Runs pods in cgroups of the test's own on the host's cgroup v2 hierarchy, whatever controllers it has.
class LocalRuntimeTest : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* path : {"/sys/fs/cgroup/unified", "/sys/fs/cgroup"}) {
      absl::StatusOr<Cgroup> root = Cgroup::Open(path);
      if (!root.ok() || !root->Has("cgroup.controllers")) continue;
      absl::StatusOr<Cgroup> own = root->CreateChild(name_);
      if (!own.ok()) continue;
      root_.emplace(*std::move(root));
      own_.emplace(*std::move(own));
      ASSERT_GE(sd_event_new(&loop_), 0);
      return;
    }
    GTEST_SKIP() << "no cgroup v2 hierarchy that this user may make cgroups in";
  }
  void TearDown() override {
    runtime_.reset();
    own_.reset();
    loop_ = sd_event_unref(loop_);
    if (!root_) return;
    signal(SIGCHLD, SIG_IGN);
    EXPECT_EQ(root_->KillAndRemoveChild(name_, absl::Seconds(10)), absl::OkStatus());
    signal(SIGCHLD, SIG_DFL);
  }

  void StartRuntime() {
    LocalRuntimeOptions options;
    options.state_dir = files_.path() + "/state";
    options.log_dir = files_.path() + "/logs";
    options.backoff_base = absl::Milliseconds(30);
    options.backoff_max = absl::Milliseconds(100);
    RuntimeCallbacks callbacks;
    callbacks.prepare_cgroup = [this](const std::string&, const std::string& container) -> absl::StatusOr<Cgroup> {
      if (refusals_ > 0) {
        --refusals_;
        return absl::FailedPreconditionError("CPUs are still shared");
      }
      if (absl::Status status = own_->RemoveChild(container); !status.ok()) return status;
      return own_->CreateChild(container);
    };
    callbacks.find_cgroup = [this](const std::string&, const std::string& name) { return own_->OpenChild(name); };
    callbacks.on_started = [this](const std::string&, const std::string& name) { log_.push_back("+" + name); };
    callbacks.on_exited = [this](const std::string&, const std::string& name, const ExitStatus& exit) {
      log_.push_back(exit.known ? Cat("-", name, ":", exit.code) : Cat("-", name, ":?"));
      details_.push_back(exit.detail);
    };
    callbacks.on_pod_terminal = [this](const std::string& uid, PodResult phase) {
      log_.push_back(Cat(uid, phase == PodResult::kSucceeded ? " succeeded" : " failed"));
    };
    callbacks.on_pod_stopped = [this](const std::string& uid) { log_.push_back(Cat(uid, " stopped")); };
    absl::StatusOr<std::unique_ptr<LocalRuntime>> runtime = LocalRuntime::Create(loop_, options, callbacks);
    ASSERT_TRUE(runtime.ok()) << runtime.status();
    runtime_ = *std::move(runtime);
  }
  // Runs the loop until done says so; false: it did not within ten seconds.
  template <typename Done>
  bool RunUntil(Done&& done) {
    const absl::Time deadline = absl::Now() + absl::Seconds(10);
    while (!done()) {
      if (absl::Now() > deadline) return false;
      sd_event_run(loop_, 20'000);
    }
    return true;
  }
  bool RunUntilLogged(const std::string& line) {
    const bool found = RunUntil([&] { return std::find(log_.begin(), log_.end(), line) != log_.end(); });
    EXPECT_TRUE(found) << "no \"" << line << "\" in " << testing::PrintToString(log_);
    return found;
  }
  std::string Output(const std::string& container) { return files_.Get("logs/default_p_u1/" + container + ".log"); }
  const ContainerRun StatusOf(const std::string& name) {
    for (ContainerRun& status : runtime_->Containers()) {
      if (status.name == name) return status;
    }
    ADD_FAILURE() << "no container " << name;
    return {};
  }

  const std::string name_ = "podfence-runtime-" + std::to_string(getpid());
  CgroupTree files_{{}};
  std::optional<Cgroup> root_;
  std::optional<Cgroup> own_;
  sd_event* loop_ = nullptr;
  std::unique_ptr<LocalRuntime> runtime_;
  std::vector<std::string> log_;
  std::vector<std::string> details_;
  int refusals_ = 0;
};

TEST_F(LocalRuntimeTest, RunsInOrderInItsOwnCgroupFromTheFirstInstruction) {
  StartRuntime();
  const auto pod =
      MakePod({Shell("init", "grep ^0: /proc/self/cgroup"), SidecarShell("mesh", "exec sleep 60")},
              {Shell("app", "echo $(NAME) in $PWD; echo err >&2; cat /proc/self/stat | cut -d' ' -f6; echo $$$$")});
  const_cast<Pod&>(*pod).containers[0].env = {{"NAME", "app"}};
  ASSERT_EQ(runtime_->AddPod(pod), absl::OkStatus());
  EXPECT_THAT(log_, ElementsAre()) << "starting happens from the loop";
  ASSERT_TRUE(RunUntilLogged("u1 succeeded"));
  EXPECT_THAT(log_, ElementsAre("+init", "-init:0", "+mesh", "+app", "-app:0", "-mesh:143", "u1 succeeded"));
  EXPECT_THAT(Output("init"), HasSubstr("/" + name_ + "/init"));
  const std::string output = Output("app");
  EXPECT_THAT(output, HasSubstr("app in /\nerr\n"));
  // Its session is its own: the session's id is the shell's pid.
  const std::vector<std::string> lines = [&] {
    std::vector<std::string> result;
    std::stringstream text(output);
    for (std::string line; std::getline(text, line);) result.push_back(line);
    return result;
  }();
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(lines[2], lines[3]);
  EXPECT_EQ(runtime_->StopPod("u1"), absl::OkStatus());
  ASSERT_TRUE(RunUntilLogged("u1 stopped"));
  EXPECT_TRUE(absl::IsNotFound(runtime_->StopPod("u1")));
}

TEST_F(LocalRuntimeTest, TheChildInheritsNothingOfTheAgent) {
  StartRuntime();
  cpu_set_t before;
  ASSERT_EQ(sched_getaffinity(0, sizeof(before), &before), 0);
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(0, &one);
  ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
  signal(SIGPIPE, SIG_IGN);
  sigset_t block;
  sigemptyset(&block);
  sigaddset(&block, SIGTERM);
  sigprocmask(SIG_BLOCK, &block, nullptr);
  const int leaked = dup(1);  // not close-on-exec
  ASSERT_EQ(runtime_->AddPod(MakePod({}, {Shell("app",
                                                "grep -E 'Cpus_allowed_list|SigBlk|SigIgn' /proc/self/status; "
                                                "ls /proc/self/fd | wc -l; env")})),
            absl::OkStatus());
  EXPECT_TRUE(RunUntilLogged("u1 succeeded"));
  close(leaked);
  sigprocmask(SIG_UNBLOCK, &block, nullptr);
  signal(SIGPIPE, SIG_DFL);
  ASSERT_EQ(sched_setaffinity(0, sizeof(before), &before), 0);
  const std::string output = Output("app");
  EXPECT_THAT(output, HasSubstr("SigBlk:\t0000000000000000"));
  EXPECT_THAT(output, HasSubstr("SigIgn:\t0000000000000000"));
  EXPECT_THAT(output, HasSubstr("\n4\n")) << "0, 1, 2 and ls's own";
  EXPECT_THAT(output, testing::Not(HasSubstr("HOME=")));
  if (CPU_COUNT(&before) > 1) {
    EXPECT_THAT(output, testing::Not(HasSubstr("Cpus_allowed_list:\t0\n")));
  }
}

// Whoever ignores SIGCHLD hands that down, and then the kernel keeps no exit code.
TEST_F(LocalRuntimeTest, ExitCodesAreKnownWhateverTheAgentInherited) {
  signal(SIGCHLD, SIG_IGN);
  StartRuntime();
  ASSERT_EQ(runtime_->AddPod(MakePod({}, {Shell("app", "exit 3")})), absl::OkStatus());
  EXPECT_TRUE(RunUntilLogged("u1 failed"));
  EXPECT_THAT(log_, ElementsAre("+app", "-app:3", "u1 failed"));
}

TEST_F(LocalRuntimeTest, FailuresRestartWithBackOffAndCount) {
  StartRuntime();
  const std::string counter = files_.path() + "/count";
  ASSERT_EQ(
      runtime_->AddPod(MakePod({}, {Shell("app", "echo x >> " + counter + "; test $(wc -l < " + counter + ") -ge 4")},
                               RestartPolicy::kOnFailure)),
      absl::OkStatus());
  // $(wc …) is no variable of the container, so it stays the shell's.
  const absl::Time begin = absl::Now();
  ASSERT_TRUE(RunUntilLogged("u1 succeeded"));
  EXPECT_GE(absl::Now() - begin, absl::Milliseconds(85)) << "0, 30 and 60 ms";
  EXPECT_EQ(StatusOf("app").restarts, 3);
  EXPECT_EQ(StatusOf("app").phase, ContainerPhase::kTerminated);
}

TEST_F(LocalRuntimeTest, AFailedInitContainerFailsThePodUnderNever) {
  StartRuntime();
  ASSERT_EQ(runtime_->AddPod(MakePod({Shell("init", "exit 3")}, {Shell("app", "true")})), absl::OkStatus());
  ASSERT_TRUE(RunUntilLogged("u1 failed"));
  EXPECT_THAT(log_, ElementsAre("+init", "-init:3", "u1 failed"));
}

TEST_F(LocalRuntimeTest, AProgramThatCannotRunSaysWhy) {
  StartRuntime();
  Container missing = Shell("app", "");
  missing.command = {"/no/such/program"};
  ASSERT_EQ(runtime_->AddPod(MakePod({}, {missing})), absl::OkStatus());
  ASSERT_TRUE(RunUntilLogged("u1 failed"));
  EXPECT_THAT(log_, Contains("-app:127"));
  EXPECT_THAT(details_, Contains("execute /no/such/program: No such file or directory"));
  EXPECT_THAT(StatusOf("app").message, HasSubstr("execute /no/such/program"));
}

TEST_F(LocalRuntimeTest, ARefusedCgroupIsTriedAgain) {
  StartRuntime();
  refusals_ = 2;
  ASSERT_EQ(runtime_->AddPod(MakePod({}, {Shell("app", "true")})), absl::OkStatus());
  sd_event_run(loop_, 1'000'000);
  EXPECT_EQ(StatusOf("app").phase, ContainerPhase::kBackOff);
  EXPECT_THAT(StatusOf("app").message, HasSubstr("CPUs are still shared"));
  ASSERT_TRUE(RunUntilLogged("u1 succeeded"));
  EXPECT_EQ(StatusOf("app").restarts, 0);
}

TEST_F(LocalRuntimeTest, StopTermsThenKillsAfterTheGracePeriod) {
  StartRuntime();
  ASSERT_EQ(runtime_->AddPod(MakePod(
                {SidecarShell("mesh", "trap 'echo bye; exit 0' TERM; while :; do sleep 0.01; done")},
                {Shell("deaf", "trap '' TERM; echo ready; while :; do sleep 1; done")}, RestartPolicy::kAlways, 1)),
            absl::OkStatus());
  ASSERT_TRUE(RunUntil([&] { return Output("deaf") == "ready"; }));
  const absl::Time begin = absl::Now();
  ASSERT_EQ(runtime_->StopPod("u1"), absl::OkStatus());
  ASSERT_TRUE(RunUntilLogged("u1 stopped"));
  EXPECT_THAT(log_, Contains("-deaf:137"));
  EXPECT_GE(absl::Now() - begin, absl::Milliseconds(950));
  EXPECT_FALSE(*IsPopulated(*own_));
  EXPECT_FALSE(std::filesystem::exists(files_.path() + "/state/containers/u1"));
  EXPECT_FALSE(std::filesystem::exists(files_.path() + "/logs/default_p_u1"));
}

TEST_F(LocalRuntimeTest, WhatTheMainProcessLeavesBehindIsKilled) {
  StartRuntime();
  ASSERT_EQ(runtime_->AddPod(MakePod({}, {Shell("app", "setsid sleep 60 & exit 0")})), absl::OkStatus());
  ASSERT_TRUE(RunUntilLogged("u1 succeeded"));
  EXPECT_FALSE(*IsPopulated(*own_));
}

TEST_F(LocalRuntimeTest, ANewRuntimeAdoptsWhatRunsAndRunsNoInitContainerTwice) {
  const auto pod =
      MakePod({Shell("init", "true")}, {Shell("app", "while [ ! -e " + files_.path() + "/go ]; do sleep 0.01; done")},
              RestartPolicy::kOnFailure);
  StartRuntime();
  ASSERT_EQ(runtime_->AddPod(pod), absl::OkStatus());
  ASSERT_TRUE(RunUntilLogged("+app"));
  const pid_t pid = StatusOf("app").pid;
  const uint64_t cgroup = StatusOf("app").cgroup_id;
  runtime_.reset();  // as if it were killed
  EXPECT_EQ(kill(pid, 0), 0);
  log_.clear();
  StartRuntime();
  ASSERT_EQ(runtime_->AddPod(pod), absl::OkStatus());
  EXPECT_TRUE(absl::IsAlreadyExists(runtime_->AddPod(pod)));
  sd_event_run(loop_, 100'000);
  EXPECT_EQ(StatusOf("app").phase, ContainerPhase::kRunning);
  EXPECT_EQ(StatusOf("app").pid, pid);
  EXPECT_EQ(StatusOf("app").cgroup_id, cgroup);
  EXPECT_EQ(StatusOf("app").restarts, 0);
  files_.Set("go", "");
  ASSERT_TRUE(RunUntilLogged("u1 succeeded"));
  EXPECT_THAT(log_, ElementsAre("-app:0", "u1 succeeded"));
  EXPECT_EQ(*runtime_->EndedAs(*pod), PodResult::kSucceeded);
  ASSERT_EQ(runtime_->DropOldRecords({}), absl::OkStatus());
  EXPECT_EQ(*runtime_->EndedAs(*pod), std::nullopt);
}

// The process is another's child, as every container is to the agent after the one that started it.
TEST_F(LocalRuntimeTest, TheExitOfAnotherAgentsChildIsUnknown) {
  const auto pod = MakePod({}, {Shell("app", "while [ ! -e " + files_.path() + "/go ]; do sleep 0.01; done")});
  const pid_t agent = fork();
  if (agent == 0) {
    loop_ = nullptr;
    sd_event_new(&loop_);
    StartRuntime();
    const bool ok = runtime_->AddPod(pod).ok() && RunUntilLogged("+app");
    _exit(ok ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(agent, &status, 0), agent);
  ASSERT_EQ(status, 0);
  StartRuntime();
  ASSERT_EQ(runtime_->AddPod(pod), absl::OkStatus());
  sd_event_run(loop_, 100'000);
  EXPECT_EQ(StatusOf("app").phase, ContainerPhase::kRunning);
  files_.Set("go", "");
  ASSERT_TRUE(RunUntilLogged("u1 failed"));
  EXPECT_THAT(log_, ElementsAre("-app:?", "u1 failed"));
}

TEST_F(LocalRuntimeTest, WhatEndedWhileNoAgentRanIsNotTakenForRunning) {
  const auto pod = MakePod({}, {Shell("app", "sleep 60")}, RestartPolicy::kAlways);
  StartRuntime();
  ASSERT_EQ(runtime_->AddPod(pod), absl::OkStatus());
  ASSERT_TRUE(RunUntilLogged("+app"));
  const pid_t pid = StatusOf("app").pid;
  runtime_.reset();
  kill(pid, SIGKILL);
  ASSERT_EQ(waitpid(pid, nullptr, 0), pid);
  log_.clear();
  StartRuntime();
  ASSERT_EQ(runtime_->AddPod(pod), absl::OkStatus());
  // A reaped process may count in its cgroup a moment longer: until then the container is ending, without a process.
  ASSERT_TRUE(RunUntil([&] { return StatusOf("app").phase == ContainerPhase::kRunning && StatusOf("app").pid != 0; }));
  EXPECT_NE(StatusOf("app").pid, pid);
  EXPECT_EQ(StatusOf("app").restarts, 1);
}

TEST_F(LocalRuntimeTest, RefusesWhatItCannotRun) {
  StartRuntime();
  Container image_only;
  image_only.name = "web";
  image_only.image = "nginx";
  const auto pod = MakePod({}, {image_only});
  EXPECT_TRUE(absl::IsInvalidArgument(runtime_->AddPod(pod)));
  EXPECT_THAT(std::string(LocalRuntime::Check(*pod).message()), HasSubstr("no command in web"));
  EXPECT_THAT(LocalRuntime::Notice(*pod), HasSubstr("web (nginx)"));
  Pod outside = *MakePod({}, {Shell("app", "true")});
  outside.uid = "../../etc";
  EXPECT_TRUE(absl::IsInvalidArgument(runtime_->AddPod(std::make_shared<const Pod>(outside))));
}

}  // namespace
}  // namespace podfence
