// The lab guest is what the other guest tests take it for: a NUMA node with cgroup v2 as an agent meets it.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <sstream>
#include <string>

namespace podfence {
namespace {

std::string Read(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  std::string content = text.str();
  while (!content.empty() && content.back() == '\n') content.pop_back();
  return content;
}

TEST(GuestTest, HasTwoNumaNodesWithTheirCpusAndDistance) {
  const std::string base = "/sys/devices/system/node/";
  EXPECT_EQ(Read(base + "online"), "0-1");
  EXPECT_EQ(Read(base + "node0/cpulist"), "0-11");
  EXPECT_EQ(Read(base + "node1/cpulist"), "12-23");
  EXPECT_EQ(Read(base + "node0/distance"), "10 21");
  EXPECT_EQ(Read(base + "node1/distance"), "21 10");
}

TEST(GuestTest, HasHyperthreadsInPairsAndTwoSockets) {
  const std::string cpu = "/sys/devices/system/cpu/cpu";
  EXPECT_EQ(Read(cpu + "0/topology/thread_siblings_list"), "0-1");
  EXPECT_EQ(Read(cpu + "23/topology/thread_siblings_list"), "22-23");
  EXPECT_EQ(Read(cpu + "0/topology/physical_package_id"), "0");
  EXPECT_EQ(Read(cpu + "12/topology/physical_package_id"), "1");
}

TEST(GuestTest, HandsEveryControllerDown) {
  const std::string controllers = Read("/sys/fs/cgroup/cgroup.controllers");
  EXPECT_EQ(Read("/sys/fs/cgroup/cgroup.subtree_control"), controllers);
  for (const char* controller : {"cpuset", "cpu", "memory"}) {
    EXPECT_NE((" " + controllers + " ").find(std::string(" ") + controller + " "), std::string::npos) << controllers;
  }
}

TEST(GuestTest, KeepsProcessesOutOfTheRootCgroup) {
  EXPECT_EQ(Read("/proc/self/cgroup"), "0::/init.scope");
  EXPECT_EQ(Read("/proc/1/cgroup"), "0::/init.scope");
}

TEST(GuestTest, OffersBpfAndTypeInformation) {
  EXPECT_EQ(access("/sys/kernel/btf/vmlinux", R_OK), 0);
  EXPECT_EQ(access("/sys/kernel/tracing/events", X_OK), 0);
  struct stat status {};
  EXPECT_EQ(stat("/sys/fs/bpf", &status), 0);
}

TEST(GuestTest, HasItsStaticAddress) {
  EXPECT_EQ(Read("/sys/class/net/lo/operstate"), "unknown");
  EXPECT_NE(Read("/proc/net/fib_trie").find("10.0.2.15"), std::string::npos);
}

}  // namespace
}  // namespace podfence
