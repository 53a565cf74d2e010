// Podfence on a node whose kubelet has its managers off.

#include <gmock/gmock.h>

#include <iostream>

#include "tests/e2e/node_fixture.h"

namespace podfence {
namespace {

class ManageTest : public NodeTest {
 protected:
  void StartNode(const std::string& policy) {
    StartContainerd();
    StartAgent(policy);
    StartKubelet();
    ASSERT_FALSE(HasFatalFailure());
  }

  // What the exclusive container of an example pod gets, and that nothing and nobody held it up.
  void ExpectPromise(const std::string& pod, const std::string& container, double cpus) {
    const std::string cgroup = CgroupOf(pod, container);
    ASSERT_NE(cgroup, "");
    const double got = MedianCpus(cgroup, 3, absl::Seconds(10));
    std::cout << pod << '/' << container << ": " << got << " of " << cpus << " CPUs\n";
    EXPECT_GE(got, 0.98 * cpus) << cgroup;
    EXPECT_EQ(ThrottledUsec(cgroup), 0u) << "at itself or above";
    EXPECT_EQ(ReadCgroup(cgroup, "cpuset.cpus.partition"), "root");
  }
};

TEST_F(ManageTest, TheExampleWithAContainerScope) {
  StartNode("topologyManagerScope: container\n");
  AddExamplePod("ml-workload");
  ASSERT_TRUE(AwaitRunning("ml-workload")) << PodStatus("ml-workload").dump(1);
  ExpectPromise("ml-workload", "ml-training", 3);
  const std::string sidecar = CgroupOf("ml-workload", "service-mesh-sidecar");
  EXPECT_LE(MedianCpus(sidecar, 1, absl::Seconds(5)), 1.02) << "the pod's limit less the exclusive CPUs";
  EXPECT_EQ(ReadCgroup(sidecar, "cpu.max"), "100000 100000");
  const std::map<std::string, double> series = Scrape();
  EXPECT_EQ(series.at("podfence_foreign_run_seconds_total{class=\"container\"}"), 0);
  EXPECT_EQ(series.at("podfence_foreign_run_seconds_total{class=\"host\"}"), 0);
  EXPECT_EQ(series.at("podfence_exclusive_throttled_seconds_total"), 0);
  EXPECT_EQ(
      series.at("resource_manager_container_assignments{assignment_type=\"node_exclusive\",resource_name=\"cpu\"}"), 1);
}

}  // namespace
}  // namespace podfence
