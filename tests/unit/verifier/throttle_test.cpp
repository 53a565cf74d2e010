// The scheduler's throttling account against the kernel's own cpu.stat, on the kernel of the machine that builds: it
// may throttle by task (e1fad12dcb66 and later), which the guests' kernels do not. In a cpu cgroup of the test's own.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <thread>

#include "agent/core/text.h"
#include "agent/verifier/iterator.h"
#include "agent/verifier/libbpf.h"
#include "bpf/podfence_bpf.h"
#include "bpf/task_bandwidth.skel.h"

namespace podfence {
namespace {

using namespace std::chrono_literals;

void DestroyTaskBandwidth(podfence_task_bandwidth* object) { podfence_task_bandwidth__destroy(object); }

// The cpu controller of cgroup v1, or of v2 where the root passes it on.
struct Controller {
  std::string root;
  bool v1 = false;
};
Controller FindController() {
  if (std::filesystem::exists("/sys/fs/cgroup/cpu/cpu.cfs_quota_us") ||
      std::filesystem::exists("/sys/fs/cgroup/cpu/cgroup.procs")) {
    return {.root = "/sys/fs/cgroup/cpu", .v1 = true};
  }
  std::ifstream file("/sys/fs/cgroup/cgroup.subtree_control");
  for (std::string word; file >> word;) {
    if (word == "cpu") return {.root = "/sys/fs/cgroup", .v1 = false};
  }
  return {};
}

bool Write(const std::string& path, const std::string& value) {
  std::ofstream file(path);
  file << value << std::flush;
  return file.good();
}

std::map<std::string, uint64_t> Stat(const std::string& group) {
  std::map<std::string, uint64_t> stat;
  std::ifstream file(group + "/cpu.stat");
  std::string name;
  for (uint64_t value = 0; file >> name >> value;) stat[name] = value;
  return stat;
}

class ThrottleTest : public testing::Test {
 protected:
  void SetUp() override {
    const Controller controller = FindController();
    if (controller.root.empty()) GTEST_SKIP() << "no cpu controller of cgroup v1, and none that v2's root passes on";
    v1_ = controller.v1;
    group_ = Cat(controller.root, "/podfence-test-", getpid());
    std::error_code error;
    if (!std::filesystem::create_directory(group_, error)) {
      GTEST_SKIP() << "cannot make a cgroup in " << controller.root << ": " << error.message();
    }
    made_ = true;
    const bool limited =
        v1_ ? Write(group_ + "/cpu.cfs_period_us", "20000") && Write(group_ + "/cpu.cfs_quota_us", "5000")
            : Write(group_ + "/cpu.max", "5000 20000");
    if (!limited) GTEST_SKIP() << "the kernel has no CFS bandwidth (CONFIG_CFS_BANDWIDTH), or refuses it in " << group_;
    pid_ = fork();
    if (pid_ == 0) {
      raise(SIGSTOP);
      const volatile bool forever = true;
      while (forever) {
      }
    }
    waitpid(pid_, nullptr, WUNTRACED);
    ASSERT_TRUE(Write(group_ + "/cgroup.procs", std::to_string(pid_)));
    const LibbpfLog log;
    object_.reset(podfence_task_bandwidth__open());
    ASSERT_NE(object_, nullptr);
    object_->rodata->wanted_pid = static_cast<__u32>(pid_);
    if (const int failed = podfence_task_bandwidth__load(object_.get()); failed != 0) {
      GTEST_SKIP() << log.Error("load BPF program iter/task", failed);
    }
    link_.reset(bpf_program__attach(object_->progs.task_bandwidth));
    if (link_ == nullptr) GTEST_SKIP() << log.Error("attach BPF program iter/task", errno);
  }

  void TearDown() override {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
    if (!made_) return;
    int result = -1;
    for (int i = 0; i < 100 && result != 0; ++i) {
      result = rmdir(group_.c_str());
      if (result != 0) std::this_thread::sleep_for(10ms);
    }
    EXPECT_EQ(result, 0) << "cannot remove " << group_;
  }

  podfence_bandwidth ReadKernel() {
    auto records = RunIterator<podfence_bandwidth>(link_.get(), "task_bandwidth");
    EXPECT_TRUE(records.ok() && records->size() == 1) << records.status();
    return records.ok() && records->size() == 1 ? records->front() : podfence_bandwidth{};
  }

  bool v1_ = false;
  bool made_ = false;
  std::string group_;
  pid_t pid_ = -1;
  std::unique_ptr<podfence_task_bandwidth, FreeWith<DestroyTaskBandwidth>> object_;
  LinkPtr link_;
};

TEST_F(ThrottleTest, TheAccountIsThatOfCpuStat) {
  EXPECT_EQ(ReadKernel().throttled_periods, 0U);
  kill(pid_, SIGCONT);
  for (int i = 0; i < 6000 && Stat(group_)["nr_throttled"] < 10; ++i) std::this_thread::sleep_for(10ms);
  kill(pid_, SIGSTOP);
  // The accounts stand still once the task is off its CPU and the last period is over.
  std::map<std::string, uint64_t> before;
  std::map<std::string, uint64_t> after;
  podfence_bandwidth kernel = {};
  for (int i = 0; i < 100; ++i) {
    before = Stat(group_);
    std::this_thread::sleep_for(50ms);
    kernel = ReadKernel();
    after = Stat(group_);
    if (before == after) break;
  }
  ASSERT_EQ(before, after) << "the group never came to rest";
  printf("nr_throttled %u of %u periods, %llu ns\n", kernel.throttled_periods, kernel.periods, kernel.throttled_ns);
  EXPECT_GE(kernel.throttled_periods, 10U);
  EXPECT_EQ(kernel.quota_ns, 5000000U);
  EXPECT_EQ(kernel.period_ns, 20000000U);
  EXPECT_EQ(kernel.periods, after["nr_periods"]);
  EXPECT_EQ(kernel.throttled_periods, after["nr_throttled"]);
  if (v1_) {
    EXPECT_EQ(kernel.throttled_ns, after["throttled_time"]);
  } else {
    EXPECT_EQ(kernel.throttled_ns / 1000, after["throttled_usec"]);
  }
}

}  // namespace
}  // namespace podfence
