#include "agent/preflight.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/capability.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <memory>
#include <type_traits>
#include <vector>

#include "agent/cgroup/unique_fd.h"
#include "agent/preflight_plugins.h"
#include "tests/unit/cgroup/cgroup_tree.h"

namespace podfence {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using CheckState = PreflightCheck::State;

class PreflightTest : public testing::Test {
 protected:
  PreflightTest()
      : tree_({Dir("kubelet", {File("config.yaml", "cpuManagerPolicy: none")}),
               Dir("opt", {Dir("nri", {Dir("plugins", {})})}), Dir("run", {Dir("dbus", {})})}) {
    config_.machine = "numa:2(memory=8GiB) core:4 pu:2";
    config_.nri_socket_path = "/nri.sock";
    config_.state_directory = "/state";
    config_.kubelet_state_directory = "/kubelet";
    config_.cgroup_hierarchy = "/cgroup";
    options_.root = tree_.path();
    options_.kubelet_config = "/kubelet/config.yaml";
  }
  PreflightCheck Find(const std::string& name) {
    const std::vector<PreflightCheck> checks = Preflight(config_, options_);
    const auto found = std::ranges::find(checks, name, &PreflightCheck::name);
    EXPECT_NE(found, checks.end()) << name;
    return found == checks.end() ? PreflightCheck{} : *found;
  }
  bool Has(const std::string& name) {
    const std::vector<PreflightCheck> checks = Preflight(config_, options_);
    return std::ranges::find(checks, name, &PreflightCheck::name) != checks.end();
  }
  UniqueFd Listen(const std::string& name) {
    UniqueFd fd(socket(AF_UNIX, SOCK_STREAM, 0));
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    const std::string path = tree_.path() + "/" + name;
    EXPECT_LT(path.size(), sizeof(address.sun_path));
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    EXPECT_EQ(bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(listen(fd.get(), 1), 0);
    return fd;
  }
  CgroupTree tree_;
  Config config_;
  PreflightOptions options_;
};

TEST_F(PreflightTest, TheKubeletsOwnManagersStandInTheWay) {
  EXPECT_EQ(Find("kubelet").state, CheckState::kOk);
  tree_.Set("kubelet/config.yaml", "cpuManagerPolicy: static");
  EXPECT_EQ(Find("kubelet").state, CheckState::kFailed);
  EXPECT_THAT(Find("kubelet").remedy, HasSubstr("cpuManagerPolicy: none"));
  tree_.Set("kubelet/config.yaml", "memoryManagerPolicy: Static");
  EXPECT_EQ(Find("kubelet").state, CheckState::kFailed);
  tree_.Set("kubelet/config.yaml", "cpuManagerPolicy: [");
  EXPECT_EQ(Find("kubelet").state, CheckState::kWarning) << "what cannot be read is said";
  tree_.Remove("kubelet/config.yaml");
  EXPECT_EQ(Find("kubelet").state, CheckState::kWarning);
  EXPECT_THAT(Find("kubelet").found, HasSubstr("unknown"));
  EXPECT_THAT(Find("kubelet").remedy, HasSubstr("--kubelet-config"));
}

TEST_F(PreflightTest, StateOfAnEarlierPolicyStandsInTheWay) {
  tree_.Set("kubelet/cpu_manager_state", R"({"policyName":"static","defaultCpuSet":"0-3"})");
  EXPECT_EQ(Find("kubelet state").state, CheckState::kFailed);
  EXPECT_THAT(Find("kubelet state").remedy, HasSubstr("remove"));
  tree_.Set("kubelet/cpu_manager_state", R"({"policyName":"none"})");
  EXPECT_FALSE(Has("kubelet state"));
  // As newer kubelets have it.
  tree_.Set("kubelet/cpu_manager_state",
            R"({"data":"{\"policyName\":\"static\",\"defaultCpuSet\":\"0-3\"}","dataChecksum":270902611})");
  EXPECT_EQ(Find("kubelet state").state, CheckState::kFailed);
  tree_.Set("kubelet/cpu_manager_state", R"({"policyName":)");
  EXPECT_EQ(Find("kubelet state").state, CheckState::kWarning) << "what cannot be read is said";
}

TEST_F(PreflightTest, StateTellsOfManagersThatAreOnWithoutAConfiguration) {
  options_.kubelet_config = "/elsewhere/config.yaml";
  config_.kubelet_state_directory = "/data";
  EXPECT_EQ(Find("kubelet state").state, CheckState::kWarning);
  EXPECT_THAT(Find("kubelet state").remedy, HasSubstr("kubeletStateDirectory"));
  tree_.Add(tree_.path(), {Dir("data", {File("cpu_manager_state", R"({"policyName":"none"})"),
                                        File("memory_manager_state", R"({"policyName":"Static"})")})});
  EXPECT_EQ(Find("kubelet state").state, CheckState::kFailed);
  EXPECT_THAT(Find("kubelet state").remedy,
              AllOf(HasSubstr("memoryManagerPolicy: None"), HasSubstr("/data/memory_manager_state")));
  tree_.Set("data/memory_manager_state", R"({"policyName":"None"})");
  EXPECT_FALSE(Has("kubelet state"));
}

TEST_F(PreflightTest, PodsMustBeAtTheTopOfTheHierarchy) {
  for (const std::string mode : {"manage", "audit"}) {
    config_.mode = mode;
    for (const char* text : {"cgroupRoot: /", "cgroupRoot: ''", "cgroupRoot: null", "cgroupsPerQOS: true"}) {
      tree_.Set("kubelet/config.yaml", text);
      EXPECT_FALSE(Has("kubelet cgroups")) << mode << " " << text;
    }
    tree_.Set("kubelet/config.yaml", "cgroupRoot: /kubelet");
    EXPECT_EQ(Find("kubelet cgroups").state, CheckState::kFailed);
    EXPECT_THAT(Find("kubelet cgroups").found, HasSubstr("cgroupRoot /kubelet"));
    EXPECT_THAT(Find("kubelet cgroups").remedy, HasSubstr("cgroupRoot: /"));
    tree_.Set("kubelet/config.yaml", "cgroupsPerQOS: false");
    EXPECT_EQ(Find("kubelet cgroups").state, CheckState::kFailed);
    tree_.Remove("kubelet/config.yaml");
    EXPECT_EQ(Find(mode == "audit" ? "kubelet configuration" : "kubelet").state, CheckState::kWarning);
  }
}

TEST_F(PreflightTest, ReservationsShouldBeTheKubelets) {
  EXPECT_EQ(Find("reservations").state, CheckState::kWarning);
  EXPECT_THAT(Find("reservations").found,
              HasSubstr("reserves 0 CPUs and 100Mi of memory, podfence.yaml 500m CPUs and 612Mi of memory"));
  tree_.Set("kubelet/config.yaml",
            "kubeReserved: {cpu: 200m, memory: 256Mi}\nsystemReserved: {cpu: 300m, memory: 256Mi}");
  EXPECT_EQ(Find("reservations").state, CheckState::kOk) << "their sum is what counts";
  // 1% of 16 GiB; CPUs that are named count instead of amounts.
  tree_.Set("kubelet/config.yaml",
            "evictionHard: {memory.available: 1%, nodefs.available: 10%}\nreservedSystemCPUs: 0,8\n"
            "systemReserved: {cpu: 300m}");
  EXPECT_THAT(Find("reservations").found, HasSubstr("reserves 2 CPUs and 171798688 of memory"));
  config_.policy.reserved_system_cpus = "0-1";
  config_.system_reserved.clear();
  config_.eviction_hard = {{"memory.available", "1%"}};
  EXPECT_EQ(Find("reservations").state, CheckState::kOk);
  tree_.Set("kubelet/config.yaml", "systemReserved: {cpu: much}");
  EXPECT_EQ(Find("reservations").state, CheckState::kWarning);
  EXPECT_THAT(Find("reservations").found, HasSubstr("config.yaml:1"));
  tree_.Remove("kubelet/config.yaml");
  EXPECT_FALSE(Has("reservations")) << "that it cannot be read is said";
  config_.mode = "audit";
  EXPECT_FALSE(Has("reservations")) << "the kubelet decides by its own";
}

TEST_F(PreflightTest, QuotasShouldBeAsTheKubeletHasThem) {
  for (const char* mode : {"manage", "audit"}) {
    config_.mode = mode;
    config_.cpu_cfs_quota = true;
    config_.cpu_cfs_quota_period = absl::Milliseconds(100);
    for (const char* text : {"kind: KubeletConfiguration", "cpuCFSQuotaPeriod: 100ms", "cpuCFSQuota: true"}) {
      tree_.Set("kubelet/config.yaml", text);
      EXPECT_FALSE(Has("kubelet quotas")) << mode << " " << text;
    }
    tree_.Set("kubelet/config.yaml", "cpuCFSQuotaPeriod: 5ms");
    EXPECT_EQ(Find("kubelet quotas").state, CheckState::kWarning);
    EXPECT_THAT(Find("kubelet quotas").found, HasSubstr("cpuCFSQuotaPeriod 5ms, and 100ms here"));
    config_.cpu_cfs_quota_period = absl::Milliseconds(5);
    EXPECT_FALSE(Has("kubelet quotas"));
    tree_.Set("kubelet/config.yaml", "kind: KubeletConfiguration");
    EXPECT_THAT(Find("kubelet quotas").found, HasSubstr("cpuCFSQuotaPeriod 100ms, and 5ms here"));
    tree_.Set("kubelet/config.yaml", "cpuCFSQuota: false");
    EXPECT_EQ(Find("kubelet quotas").state, CheckState::kWarning);
    EXPECT_THAT(Find("kubelet quotas").found, HasSubstr("cpuCFSQuota false, and true here"));
    config_.cpu_cfs_quota = false;
    EXPECT_FALSE(Has("kubelet quotas"));
  }
}

TEST_F(PreflightTest, ThePolicyMustFitTheMachine) {
  for (const char* mode : {"manage", "local"}) {
    config_.mode = mode;
    config_.policy = Config().policy;
    EXPECT_EQ(Find("policy").state, CheckState::kOk) << Find("policy").found;
    config_.policy.reserved_system_cpus = "0,99";
    EXPECT_EQ(Find("policy").state, CheckState::kFailed);
    EXPECT_THAT(Find("policy").found, HasSubstr("99"));
    EXPECT_THAT(Find("policy").remedy, HasSubstr("podfence.yaml"));
    config_.policy = Config().policy;
    config_.policy.cpu_manager_policy_options = {{"full-pcpus-only", "perhaps"}};
    EXPECT_EQ(Find("policy").state, CheckState::kFailed);
    config_.policy = Config().policy;
    config_.policy.reserved_memory = {
        {.numa_node = 5, .limits = {{"memory", Quantity::FromInt(1 << 30, Quantity::Format::kBinarySI)}}}};
    EXPECT_EQ(Find("policy").state, CheckState::kFailed);
  }
  config_.mode = "audit";
  EXPECT_FALSE(Has("policy")) << "another decides";
}

TEST_F(PreflightTest, ARuntimeMustListen) {
  EXPECT_EQ(Find("NRI").state, CheckState::kFailed);
  const UniqueFd listener = Listen("nri.sock");
  EXPECT_EQ(Find("NRI").state, CheckState::kOk);
}

TEST_F(PreflightTest, UnderTheSystemdDriverTheBusIsWanted) {
  const std::vector<PreflightCheck> checks = Preflight(config_, options_);
  EXPECT_EQ(std::ranges::count(checks, "systemd", &PreflightCheck::name), 0) << "the cgroupfs driver";
  tree_.Set("kubelet/config.yaml", "cgroupDriver: systemd");
  EXPECT_EQ(Find("systemd").state, CheckState::kWarning);
  EXPECT_THAT(Find("systemd").remedy, HasSubstr("/run/dbus"));
  const UniqueFd listener = Listen("run/dbus/system_bus_socket");
  EXPECT_EQ(Find("systemd").state, CheckState::kOk);
  // The kubelet has it from the runtime.
  tree_.Set("kubelet/config.yaml", "cpuManagerPolicy: none");
  std::filesystem::create_directories(tree_.path() + "/cgroup/kubepods.slice");
  EXPECT_EQ(Find("systemd").state, CheckState::kOk);
}

TEST_F(PreflightTest, OtherPluginsAreNamed) {
  EXPECT_EQ(Find("other NRI plugins").state, CheckState::kOk);
  tree_.Set("opt/nri/plugins/10-balloons", "");
  EXPECT_EQ(Find("other NRI plugins").state, CheckState::kWarning);
  EXPECT_THAT(Find("other NRI plugins").found, HasSubstr("10-balloons"));
}

TEST_F(PreflightTest, ConnectedPluginsAreCounted) {
  const std::string head = "Num       RefCount Protocol Flags    Type St Inode Path\n";
  const std::string accepted = "000000001399d8a3: 00000003 00000000 00000000 0001 03 88457 ";
  tree_.Add(tree_.path(), {Dir("proc", {Dir("1", {Dir("net", {File("unix", head)})}), Dir("sys", {}),
                                        Dir("20", {Dir("net", {File("unix", head)})}), Dir("21", {Dir("net", {})}),
                                        Dir("30", {Dir("net", {File("unix", head)}), File("comm", "podfence")})}),
                           Dir("state", {})});
  std::filesystem::create_hard_link(tree_.path() + "/proc/20/net/unix", tree_.path() + "/proc/21/net/unix");
  config_.nri_socket_path = "/var/run/nri/nri.sock";
  // The listener, a connection that nobody has accepted, one to another socket, and one of a client.
  tree_.Set("proc/1/net/unix", head +
                                   "00000000ba23debd: 00000002 00000000 00010000 0001 01 88455 /run/nri/nri.sock\n"
                                   "00000000817c3de6: 00000003 00000000 00000000 0001 02     0 /run/nri/nri.sock\n" +
                                   accepted + "/run/containerd/containerd.sock\n" +
                                   "0000000088e13988: 00000003 00000000 00000000 0001 03  1073");
  EXPECT_EQ(Find("other NRI plugins").state, CheckState::kOk);
  // A namespace of two processes, and that of an agent.
  tree_.Set("proc/20/net/unix", head + accepted + "/run/nri/nri.sock\n" + accepted + "/var/run/nri/nri.sock");
  tree_.Set("proc/30/net/unix", head + accepted + "/run/nri/nri.sock");
  EXPECT_EQ(Find("other NRI plugins").state, CheckState::kWarning);
  EXPECT_EQ(Find("other NRI plugins").found, "3 other plugins are connected to /var/run/nri/nri.sock");
  EXPECT_THAT(Find("other NRI plugins").remedy, HasSubstr("balloons"));
  tree_.Set("state/lock", "30");
  EXPECT_THAT(Find("other NRI plugins").found, HasSubstr("2 other plugins")) << "one is the agent's own";
  tree_.Set("proc/30/comm", "another");
  EXPECT_THAT(Find("other NRI plugins").found, HasSubstr("3 other plugins")) << "the agent has ended";
  tree_.Set("opt/nri/plugins/10-balloons", "");
  EXPECT_THAT(Find("other NRI plugins").found, AllOf(HasSubstr("10-balloons"), HasSubstr("3 other plugins")));
}

TEST_F(PreflightTest, TheKernelTellsOfConnectedPlugins) {
  const UniqueFd listener = Listen("nri.sock");
  const std::string path = tree_.path() + "/nri.sock";
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  std::vector<UniqueFd> ends;
  for (int plugins = 1; plugins <= 2; ++plugins) {
    ends.emplace_back(socket(AF_UNIX, SOCK_STREAM, 0));
    ASSERT_EQ(connect(ends.back().get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(CountOtherPlugins("/proc", path, 0), plugins - 1) << "not accepted yet";
    ends.emplace_back(accept(listener.get(), nullptr, nullptr));
    EXPECT_EQ(CountOtherPlugins("/proc", path, 0), plugins);
  }
  EXPECT_EQ(CountOtherPlugins("/proc", path, getpid()), 1);
}

TEST_F(PreflightTest, ToAuditTheKubeletsManagersMustBeOn) {
  config_.mode = "audit";
  EXPECT_EQ(Find("kubelet").state, CheckState::kFailed);
  EXPECT_THAT(Find("kubelet").found, HasSubstr("cpu_manager_state: is not there"));
  tree_.Set("kubelet/cpu_manager_state", R"({"policyName":"none","defaultCpuSet":""})");
  tree_.Set("kubelet/memory_manager_state", R"({"policyName":"None","machineState":{}})");
  EXPECT_EQ(Find("kubelet").state, CheckState::kFailed);
  EXPECT_THAT(Find("kubelet").remedy, HasSubstr("cpuManagerPolicy: static"));
  tree_.Set("kubelet/cpu_manager_state", R"({"policyName":"static","defaultCpuSet":"0-3"})");
  EXPECT_EQ(Find("kubelet").state, CheckState::kOk);
  const std::vector<PreflightCheck> checks = Preflight(config_, options_);
  for (const char* name : {"NRI", "state directory", "cpuset partitions"}) {
    EXPECT_EQ(std::ranges::count(checks, name, &PreflightCheck::name), 0) << name << " is not needed";
  }
  EXPECT_THAT(Find("capabilities").found, Not(HasSubstr("SYS_NICE")));
}

TEST_F(PreflightTest, TheRemedyOfCgroupsStandsWhereRemediesStand) {
  tree_.Add(tree_.path(), {Dir("cgroup", {Dir("cpuset", {})})});
  EXPECT_THAT(Find("cgroup v2").found, AllOf(HasSubstr("is not cgroup v2"), Not(HasSubstr("oot with"))));
  EXPECT_THAT(Find("cgroup v2").remedy, HasSubstr("systemd.unified_cgroup_hierarchy=1"));
  tree_.Remove("cgroup");
  EXPECT_THAT(Find("cgroup v2").remedy, HasSubstr("cgroupHierarchy"));
}

TEST_F(PreflightTest, CapabilitiesAreThoseThatTheChartGives) {
  using Capabilities = std::unique_ptr<std::remove_pointer_t<cap_t>, int (*)(void*)>;
  const Capabilities before(cap_get_proc(), cap_free);
  const Capabilities paused(cap_dup(before.get()), cap_free);
  ASSERT_EQ(cap_clear_flag(paused.get(), CAP_EFFECTIVE), 0);
  ASSERT_EQ(cap_set_proc(paused.get()), 0);
  const PreflightCheck all = Find("capabilities");
  config_.fence_host = false;
  const PreflightCheck without_host = Find("capabilities");
  config_.mode = "audit";
  const PreflightCheck audit = Find("capabilities");
  ASSERT_EQ(cap_set_proc(before.get()), 0);
  for (const char* name : {"CAP_BPF", "CAP_PERFMON", "CAP_SYS_NICE", "CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"}) {
    EXPECT_THAT(all.found, HasSubstr(name));
  }
  EXPECT_EQ(all.state, CheckState::kFailed);
  EXPECT_EQ(without_host.state, CheckState::kWarning);
  EXPECT_THAT(without_host.found, Not(HasSubstr("SYS_NICE")));
  EXPECT_THAT(audit.found, AllOf(HasSubstr("CAP_PERFMON"), Not(HasSubstr("DAC_OVERRIDE"))));
}

TEST(PreflightProbesTest, WhatIsFoundOtherwiseIsSaid) {
  EXPECT_EQ(CheckProbes({{.name = "writes", .attached = true}, {.name = "off", .wanted = false}}).state,
            CheckState::kOk);
  const PreflightCheck other = CheckProbes(
      {{.name = "writes", .attached = true}, {.name = "moves", .reason = "no BTF", .fallback = "sweep: not who"}});
  EXPECT_EQ(other.state, CheckState::kWarning);
  EXPECT_EQ(other.found, "1 attach; not: moves: no BTF; instead sweep: not who");
  EXPECT_THAT(other.remedy, HasSubstr("found all the same"));
  EXPECT_THAT(CheckProbes({{.name = "moves", .reason = "no BTF"}}).remedy, HasSubstr("not seen"));
}

TEST_F(PreflightTest, TheExitCodeIsOfWhatFailed) {
  EXPECT_EQ(Find("cgroup v2").state, CheckState::kFailed) << "there is none in this tree";
  EXPECT_EQ(Find("state directory").state, CheckState::kOk);
  EXPECT_EQ(PreflightExitCode(Preflight(config_, options_)), 1);
  EXPECT_EQ(PreflightExitCode({{.name = "a", .state = CheckState::kWarning, .found = "", .remedy = ""}}), 0);
}

}  // namespace
}  // namespace podfence
