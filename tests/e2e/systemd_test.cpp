// Podfence on a node under the systemd driver, in a guest whose process 1 is systemd: it has notes of its own of what
// the cgroups are held to.

#include <gmock/gmock.h>
#include <signal.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <iostream>

#include "agent/core/text.h"
#include "tests/e2e/node_fixture.h"
#include "tests/e2e/node_runtime.h"

namespace podfence {
namespace {

constexpr char kDrift[] = "podfence_findings_total{kind=\"drift\"}";

class SystemdTest : public NodeTest {
 protected:
  void SetUp() override {
    NodeTest::SetUp();
    if (!std::filesystem::exists("/run/systemd/system")) {
      GTEST_SKIP() << "systemd is not process 1 of this guest: SYSTEMD=1 tests/e2e/run";
    }
  }

  // ml-workload of the examples, running and fenced, and systemd told of it.
  void StartExample(const std::string& more = "") {
    StartRuntime();
    StartAgent(Cat("topologyManagerScope: container\n", more));
    StartKubelet();
    ASSERT_FALSE(HasFatalFailure());
    AddExamplePod("ml-workload");
    ASSERT_TRUE(AwaitRunning("ml-workload")) << PodStatus("ml-workload").dump(1) << Log("podfence");
    training_ = CgroupOf("ml-workload", "ml-training");
    sidecar_ = CgroupOf("ml-workload", "service-mesh-sidecar");
    ASSERT_NE(training_, "");
    pod_ = training_.substr(0, training_.rfind('/'));
    ASSERT_TRUE(AwaitProperty(pod_, "CPUQuotaPerSecUSec", "infinity")) << Log("podfence");
    ASSERT_TRUE(AwaitProperty(sidecar_, "CPUQuotaPerSecUSec", "1s"));
  }

  // The name of a cgroup's unit.
  static std::string UnitOf(const std::string& cgroup) { return cgroup.substr(cgroup.rfind('/') + 1); }
  static std::string Property(const std::string& cgroup, const std::string& name) {
    FILE* pipe = popen(Cat("systemctl show --value -p ", name, " ", UnitOf(cgroup)).c_str(), "r");
    char line[1000] = "";
    if (pipe == nullptr || fgets(line, sizeof(line), pipe) == nullptr) ADD_FAILURE() << "systemctl show " << cgroup;
    if (pipe != nullptr) pclose(pipe);
    std::string text = line;
    text.resize(std::min(text.size(), text.find('\n')));
    return text;
  }
  static bool AwaitProperty(const std::string& cgroup, const std::string& name, const std::string& value) {
    return Await([&] { return Property(cgroup, name) == value; }, absl::Seconds(20));
  }
  static bool AwaitFile(const std::string& cgroup, const std::string& file, const std::string& value) {
    return Await([&] { return ReadCgroup(cgroup, file) == value; }, absl::Seconds(20));
  }
  static void Run(const std::string& command) { EXPECT_EQ(system(command.c_str()), 0) << command; }

  void ExpectPromise() {
    const uint64_t throttled = ThrottledUsec(training_);
    const double got = MedianCpus(training_, 3, absl::Seconds(3));
    std::cout << "ml-training: " << got << " of 3 CPUs\n";
    EXPECT_GE(got, 0.98 * 3);
    EXPECT_EQ(ThrottledUsec(training_), throttled) << "at itself or above";
    EXPECT_EQ(ReadCgroup(training_, "cpuset.cpus.partition"), "root");
    EXPECT_EQ(ReadCgroup(pod_, "cpu.max"), "max 100000");
    EXPECT_EQ(ReadCgroup(sidecar_, "cpu.max"), "100000 100000");
  }
  // Whether a change of that file was found, and by whom.
  bool AwaitDrift(const std::string& cgroup, const std::string& file, const std::string& writer) {
    return Await(
        [&] {
          const std::vector<FindingView> findings = AgentNow().findings;
          return std::ranges::any_of(findings, [&](const FindingView& finding) {
            return finding.kind == "drift" && finding.cgroup.ends_with(cgroup) && finding.file == file && finding.by &&
                   finding.by->comm == writer;
          });
        },
        absl::Seconds(20));
  }

  std::string pod_;
  std::string training_;
  std::string sidecar_;
};

TEST_F(SystemdTest, AReloadUndoesNothing) {
  StartExample();
  ExpectPromise();
  const std::string cpus = ReadCgroup(training_, "cpuset.cpus");
  const std::string pool = ReadCgroup("kubepods.slice/kubepods-besteffort.slice", "cpuset.cpus");
  EXPECT_EQ(CpuSet::Parse(cpus)->size(), 3);
  for (const std::string& cgroup : {pod_, training_, sidecar_, std::string("kubepods-besteffort.slice")}) {
    std::string allowed = Property(cgroup, "AllowedCPUs");
    std::ranges::replace(allowed, ' ', ',');
    const std::string file = cgroup.starts_with("kubepods.slice") ? ReadCgroup(cgroup, "cpuset.cpus") : pool;
    EXPECT_EQ(allowed, file) << cgroup;
  }
  const double drift = Scrape().at(kDrift);
  for (int i = 0; i < 2; ++i) Run("systemctl daemon-reload");
  ExpectPromise();  // for longer than until the next sweep
  EXPECT_EQ(ReadCgroup(training_, "cpuset.cpus"), cpus);
  EXPECT_EQ(ReadCgroup("kubepods.slice/kubepods-besteffort.slice", "cpuset.cpus"), pool);
  EXPECT_EQ(CpuStat(training_, "throttled_usec"), 0u) << "from its first instruction";
  EXPECT_EQ(Scrape().at("podfence_exclusive_throttled_seconds_total"), 0)
      << "nor at its ancestors since it was decided";
  EXPECT_EQ(Scrape().at(kDrift), drift) << "nothing had to be repaired\n" << Log("podfence");
}

TEST_F(SystemdTest, PropertiesThatOthersSetAreUndone) {
  StartExample();
  // As a resize of the pod does.
  Run(Cat("systemctl set-property --runtime ", UnitOf(pod_), " CPUQuota=200%"));
  EXPECT_TRUE(AwaitDrift(pod_, "cpu.max", "systemd")) << Log("podfence");
  EXPECT_TRUE(AwaitFile(pod_, "cpu.max", "max 100000"));
  EXPECT_TRUE(AwaitProperty(pod_, "CPUQuotaPerSecUSec", "infinity")) << "systemd is told again";
  const std::string cpus = ReadCgroup(sidecar_, "cpuset.cpus");
  const std::string allowed = Property(sidecar_, "AllowedCPUs");
  Run(Cat("systemctl set-property --runtime ", UnitOf(sidecar_), " AllowedCPUs=0-23"));
  EXPECT_TRUE(AwaitDrift(sidecar_, "cpuset.cpus", "systemd")) << Log("podfence");
  EXPECT_TRUE(AwaitFile(sidecar_, "cpuset.cpus", cpus));
  EXPECT_TRUE(AwaitProperty(sidecar_, "AllowedCPUs", allowed));
  // As the runtime does for UpdateContainerResources; it tells systemd and writes the files as well.
  const std::string scope = UnitOf(sidecar_);
  const std::string id = scope.substr(scope.rfind('-') + 1, 64);
  Run(Cat(RuntimeOfNode().oci, "update --cpu-period 100000 --cpu-quota 50000 ", id));
  EXPECT_TRUE(AwaitFile(sidecar_, "cpu.max", "100000 100000")) << Log("podfence");
  EXPECT_TRUE(AwaitProperty(sidecar_, "CPUQuotaPerSecUSec", "1s"));
  ExpectPromise();
}

TEST_F(SystemdTest, UninstalledItGivesSystemdsNotesBack) {
  StartExample("releaseOnExit: true\n");
  EXPECT_EQ(Property(training_, "CPUQuotaPerSecUSec"), "infinity");
  End("podfence", SIGTERM);
  EXPECT_EQ(Property(pod_, "CPUQuotaPerSecUSec"), "4s") << Log("podfence");
  EXPECT_EQ(Property(training_, "CPUQuotaPerSecUSec"), "3s");
  for (const std::string& cgroup : {pod_, training_, sidecar_, std::string("kubepods-besteffort.slice")}) {
    EXPECT_EQ(Property(cgroup, "AllowedCPUs"), "") << cgroup;
  }
  Run("systemctl daemon-reload");
  EXPECT_EQ(ReadCgroup(pod_, "cpu.max"), "400000 100000");
  EXPECT_EQ(ReadCgroup(training_, "cpu.max"), "300000 100000");
  EXPECT_THAT(ReadCgroup(training_, "cpuset.cpus"), testing::AnyOf("", "0-23"));
}

}  // namespace
}  // namespace podfence
