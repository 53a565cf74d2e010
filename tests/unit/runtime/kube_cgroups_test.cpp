#include "agent/runtime/kube_cgroups.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace podfence {
namespace {

using testing::HasSubstr;

TEST(KubeCgroupsTest, CgroupfsDriver) {
  const auto guaranteed = ParsePodCgroup("/kubepods/pod4f-1");
  ASSERT_TRUE(guaranteed.ok()) << guaranteed.status();
  EXPECT_EQ(guaranteed->top, "kubepods");
  EXPECT_EQ(guaranteed->class_path, "");
  EXPECT_EQ(guaranteed->path, "pod4f-1");
  EXPECT_FALSE(guaranteed->systemd);
  const auto burstable = ParsePodCgroup("/kubepods/burstable/pod4f-1");
  ASSERT_TRUE(burstable.ok()) << burstable.status();
  EXPECT_EQ(burstable->class_path, "burstable");
  EXPECT_EQ(burstable->path, "burstable/pod4f-1");
  EXPECT_EQ(*CgroupPathOf("/kubepods/pod4f-1/abc"), "kubepods/pod4f-1/abc");
  EXPECT_EQ(CgroupsPathInGroup("/kubepods/pod4f-1/abc", *guaranteed, "pod4f-1/containers.quota-shared"),
            "/kubepods/pod4f-1/containers.quota-shared/abc");
}

TEST(KubeCgroupsTest, APodsPathIsWhatTheKubeletTellsTheRuntime) {
  const auto path = [](QosClass qos, bool systemd) { return PodCgroupPath("4f-1", qos, systemd); };
  EXPECT_EQ(path(QosClass::kGuaranteed, false), ParsePodCgroup("/kubepods/pod4f-1")->path);
  EXPECT_EQ(path(QosClass::kBurstable, false), ParsePodCgroup("/kubepods/burstable/pod4f-1")->path);
  EXPECT_EQ(path(QosClass::kGuaranteed, true), ParsePodCgroup("kubepods-pod4f_1.slice")->path);
  EXPECT_EQ(path(QosClass::kBestEffort, true), ParsePodCgroup("kubepods-besteffort-pod4f_1.slice")->path);
}

TEST(KubeCgroupsTest, AContainersCgroupCarriesItsId) {
  for (const char* name : {"abc", "crio-abc", "crio-abc.scope", "cri-containerd-abc.scope"}) {
    EXPECT_TRUE(IsContainerCgroup(name, "abc")) << name;
  }
  for (const char* name : {"abcd", "xabc", "crio-conmon-abc.scope", "abc-x", "", ".scope"}) {
    EXPECT_FALSE(IsContainerCgroup(name, "abc")) << name;
  }
}

TEST(KubeCgroupsTest, SystemdDriver) {
  const auto guaranteed = ParsePodCgroup("kubepods-pod4f_1.slice");
  ASSERT_TRUE(guaranteed.ok()) << guaranteed.status();
  EXPECT_EQ(guaranteed->top, "kubepods.slice");
  EXPECT_EQ(guaranteed->class_path, "");
  EXPECT_EQ(guaranteed->path, "kubepods-pod4f_1.slice");
  EXPECT_TRUE(guaranteed->systemd);
  const auto burstable = ParsePodCgroup("kubepods-burstable-pod4f_1.slice");
  ASSERT_TRUE(burstable.ok()) << burstable.status();
  EXPECT_EQ(burstable->class_path, "kubepods-burstable.slice");
  EXPECT_EQ(burstable->path, "kubepods-burstable.slice/kubepods-burstable-pod4f_1.slice");
  const auto by_path = ParsePodCgroup("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod4f_1.slice");
  ASSERT_TRUE(by_path.ok()) << by_path.status();
  EXPECT_EQ(by_path->path, burstable->path);
  EXPECT_EQ(*CgroupPathOf("kubepods-pod4f_1.slice:cri-containerd:abc"),
            "kubepods.slice/kubepods-pod4f_1.slice/cri-containerd-abc.scope");
  const std::string group = "kubepods-pod4f_1.slice/kubepods-pod4f_1-shared.slice";
  const std::string nested = CgroupsPathInGroup("kubepods-pod4f_1.slice:cri-containerd:abc", *guaranteed, group);
  EXPECT_EQ(nested, "kubepods-pod4f_1-shared.slice:cri-containerd:abc");
  EXPECT_EQ(*CgroupPathOf(nested), "kubepods.slice/" + group + "/cri-containerd-abc.scope");
}

TEST(KubeCgroupsTest, RefusesWhatIsNoPodsCgroup) {
  for (const char* bad :
       {"", "kubepods", "/kubepods", "/kubepods/", "/kubepods/a/b/c", "/kubepods//pod1", "/kubepods/../pod1",
        "/system.slice/x", ".slice", "kubepods-.slice", "-kubepods.slice", "kubepods.slice", "/kubelet/kubepods/pod1",
        "/kubepods-pod1.slice", "/kubepods.slice/kubepods-burstable-pod1.slice", "/kubepods.slice/kubepods-.slice"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParsePodCgroup(bad).status())) << bad;
  }
  EXPECT_THAT(ParsePodCgroup("/kubelet/kubepods/pod1").status().message(), HasSubstr("cgroupRoot"));
  for (const char* bad :
       {"", "a:b", "a.slice:b:", "a.slice::c", "a.slice:b:c:d", "x:b:c", "a.slice:../b:c", "/a/../b"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(CgroupPathOf(bad).status())) << bad;
  }
}

}  // namespace
}  // namespace podfence
