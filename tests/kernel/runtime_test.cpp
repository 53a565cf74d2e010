// The local runtime on a kernel with every controller: the fence holds from the first instruction on.
#include <gmock/gmock.h>
#include <sched.h>

#include <filesystem>
#include <optional>

#include "absl/time/clock.h"
#include "agent/cgroup/control.h"
#include "agent/cgroup/descriptor_limit.h"
#include "agent/cgroup/files.h"
#include "agent/core/text.h"
#include "agent/runtime/local.h"

namespace podfence {
namespace {

using testing::HasSubstr;

class KernelRuntimeTest : public testing::Test {
 protected:
  void SetUp() override {
    absl::StatusOr<Cgroup> root = OpenHierarchy("/sys/fs/cgroup");
    ASSERT_TRUE(root.ok()) << root.status();
    root_.emplace(*std::move(root));
    ASSERT_EQ(EnableControllers(*root_), absl::OkStatus());
    own_.emplace(*root_->CreateChild("runtime-test"));
    ASSERT_EQ(EnableControllers(*own_), absl::OkStatus());
    ASSERT_GE(sd_event_new(&loop_), 0);
    RuntimeCallbacks callbacks;
    callbacks.prepare_cgroup = [this](const std::string&, const std::string& name) -> absl::StatusOr<Cgroup> {
      absl::StatusOr<Cgroup> cgroup = own_->CreateChild(name);
      if (!cgroup.ok()) return cgroup.status();
      if (absl::Status status = WriteCpus(*cgroup, {2, 3}); !status.ok()) return status;
      if (absl::Status status = WriteMems(*cgroup, NumaSet{0}); !status.ok()) return status;
      return cgroup;
    };
    callbacks.find_cgroup = [this](const std::string&, const std::string& name) { return own_->OpenChild(name); };
    callbacks.on_started = [](const std::string&, const std::string&) {};
    callbacks.on_exited = [](const std::string&, const std::string&, const ExitStatus&) {};
    callbacks.on_pod_terminal = [this](const std::string&, PodResult phase) { phase_ = phase; };
    callbacks.on_pod_stopped = [this](const std::string&) { stopped_ = true; };
    LocalRuntimeOptions options;
    options.state_dir = "/tmp/runtime-test/state";
    options.log_dir = "/tmp/runtime-test/logs";
    absl::StatusOr<std::unique_ptr<LocalRuntime>> runtime = LocalRuntime::Create(loop_, options, callbacks);
    ASSERT_TRUE(runtime.ok()) << runtime.status();
    runtime_ = *std::move(runtime);
  }
  void TearDown() override {
    runtime_.reset();
    sd_event_unref(loop_);
    own_.reset();
    EXPECT_EQ(root_->KillAndRemoveChild("runtime-test", absl::Seconds(10)), absl::OkStatus());
    std::filesystem::remove_all("/tmp/runtime-test");
  }
  std::shared_ptr<const Pod> MakePod(const std::string& script) {
    Pod pod;
    pod.uid = "u";
    pod.name = "p";
    pod.restart_policy = RestartPolicy::kNever;
    pod.termination_grace_period_seconds = 1;
    pod.containers.resize(1);
    pod.containers[0].name = "app";
    pod.containers[0].command = {"/bin/sh", "-c", script};
    return std::make_shared<const Pod>(std::move(pod));
  }
  template <typename Done>
  bool RunUntil(Done&& done) {
    const absl::Time deadline = absl::Now() + absl::Seconds(60);
    while (!done() && absl::Now() < deadline) sd_event_run(loop_, 50'000);
    return done();
  }
  static std::string Log() { return ReadSmallFile("/tmp/runtime-test/logs/default_p_u/app.log").value_or(""); }

  std::optional<Cgroup> root_;
  std::optional<Cgroup> own_;
  sd_event* loop_ = nullptr;
  std::unique_ptr<LocalRuntime> runtime_;
  std::optional<PodResult> phase_;
  bool stopped_ = false;
};

TEST_F(KernelRuntimeTest, TheProcessIsFencedWhateverTheAgentsOwnAffinity) {
  cpu_set_t before;
  ASSERT_EQ(sched_getaffinity(0, sizeof(before), &before), 0);
  cpu_set_t agents;  // overlaps the container's: it would be kept as its restriction
  CPU_ZERO(&agents);
  CPU_SET(0, &agents);
  CPU_SET(2, &agents);
  ASSERT_EQ(sched_setaffinity(0, sizeof(agents), &agents), 0);
  EXPECT_EQ(runtime_->AddPod(MakePod("cat /proc/self/cgroup; grep allowed_list /proc/self/status")), absl::OkStatus());
  EXPECT_TRUE(RunUntil([&] { return phase_.has_value(); }));
  ASSERT_EQ(sched_setaffinity(0, sizeof(before), &before), 0);
  EXPECT_EQ(phase_, PodResult::kSucceeded);
  EXPECT_THAT(Log(), HasSubstr("0::/runtime-test/app\n"));
  EXPECT_THAT(Log(), HasSubstr("Cpus_allowed_list:\t2-3\n"));
  EXPECT_THAT(Log(), HasSubstr("Mems_allowed_list:\t0\n"));
}

TEST_F(KernelRuntimeTest, TheAgentsOwnLimitOfDescriptorsIsNotInherited) {
  const rlimit before = DescriptorLimitBefore();
  ASSERT_LT(before.rlim_cur, before.rlim_max);
  RaiseDescriptorLimit();
  EXPECT_EQ(runtime_->AddPod(MakePod("ulimit -n")), absl::OkStatus());
  EXPECT_TRUE(RunUntil([&] { return phase_.has_value(); }));
  EXPECT_THAT(Log(), HasSubstr(Cat(before.rlim_cur, "\n")));
}

TEST_F(KernelRuntimeTest, AForkBombOfSleepersEndsAtOnceAfterTheGracePeriod) {
  ASSERT_EQ(runtime_->AddPod(MakePod("trap '' TERM; for i in 1 2 3 4 5 6 7 8; do (trap '' TERM; setsid sleep 600) & "
                                     "done; echo ready; wait")),
            absl::OkStatus());
  ASSERT_TRUE(RunUntil([&] { return Log() == "ready\n"; }));
  ASSERT_EQ(runtime_->StopPod("u"), absl::OkStatus());
  EXPECT_TRUE(RunUntil([&] { return stopped_; }));
  EXPECT_FALSE(*IsPopulated(*own_));
}

}  // namespace
}  // namespace podfence
