#include "agent/pods/pod_object.h"

#include <fstream>

#include "agent/core/text.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace podfence {
namespace {

using nlohmann::json;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Key;
using ::testing::Not;

// As Kubernetes' own types write it (tests/data/pods/README.md).
json Shipped() {
  std::ifstream file(PODFENCE_SOURCE_DIR "/tests/data/pods/v1_pod.json");
  return json::parse(file);
}

json Minimal(const json& patch = json::object()) {
  json pod = {{"metadata", {{"name", "p"}, {"namespace", "ns"}, {"uid", "u-1"}, {"resourceVersion", "3"}}},
              {"spec", {{"containers", {{{"name", "c"}, {"image", "i"}}}}}}};
  pod.merge_patch(patch);
  return pod;
}

PodObject Parsed(const json& pod) {
  absl::StatusOr<PodObject> object = ParsePodObject(pod);
  EXPECT_TRUE(object.ok()) << object.status();
  return object.ok() ? *std::move(object) : PodObject();
}

const json kMirror = {{"metadata",
                       {{"annotations",
                         {{"kubernetes.io/config.hash", "0123abcd"},
                          {"kubernetes.io/config.mirror", "0123abcd"},
                          {"kubernetes.io/config.source", "file"}}},
                        {"ownerReferences", {{{"kind", "Node"}, {"name", "n1"}}}}}}};

TEST(ParsePodObject, ReadsAPodOfTheApi) {
  const PodObject object = Parsed(Shipped());
  EXPECT_EQ(object.uid, "5d2c0c3a-1111-4222-8333-944444444444");
  EXPECT_EQ(object.api_uid, object.uid);
  EXPECT_EQ(object.FullName(), "prod/db-0");
  EXPECT_EQ(object.node_name, "node-1");
  EXPECT_EQ(object.source, "api");
  EXPECT_FALSE(object.is_mirror);
  EXPECT_EQ(object.resource_version, "4711");
  EXPECT_EQ(object.phase, PodPhase::kRunning);
  EXPECT_EQ(object.created, absl::FromCivil(absl::CivilSecond(2026, 5, 1, 11, 0, 0), absl::UTCTimeZone()));
  EXPECT_EQ(object.deleted, absl::FromCivil(absl::CivilSecond(2026, 5, 1, 12, 0, 30), absl::UTCTimeZone()));
  EXPECT_THAT(object.ephemeral_containers, ElementsAre("debug"));
  EXPECT_THAT(object.statuses, ElementsAre(ContainerStatus{"proxy", "containerd://aa", ContainerState::kRunning, 0},
                                           ContainerStatus{"db", "containerd://bb", ContainerState::kTerminated, 3},
                                           ContainerStatus{"debug", "", ContainerState::kWaiting, 0}));
  ASSERT_NE(object.pod, nullptr) << object.error;
  EXPECT_EQ(object.pod->qos, QosClass::kGuaranteed);
  EXPECT_EQ(object.pod->resources->limits.at("cpu").Value(), 4);
  EXPECT_EQ(object.pod->overhead.at("cpu").MilliValue(), 250);
  EXPECT_EQ(object.pod->termination_grace_period_seconds, 7);
  EXPECT_TRUE(IsSidecar(object.pod->init_containers.at(0)));
  EXPECT_EQ(object.pod->containers.at(0).resources.limits.at("cpu").MilliValue(), 2500);
}

TEST(ParsePodObject, KeepsNothingThatOnlyARuntimeNeeds) {
  json pod = Shipped();
  pod["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] = "{}";
  const PodObject object = Parsed(pod);
  ASSERT_NE(object.pod, nullptr);
  EXPECT_THAT(object.pod->containers.at(0).command, IsEmpty());
  EXPECT_THAT(object.pod->containers.at(0).env, IsEmpty());
  EXPECT_THAT(object.pod->annotations, Contains(Key("note")));
  EXPECT_THAT(object.pod->annotations, Not(Contains(Key(HasSubstr("last-applied")))));
}

TEST(ParsePodObject, AMirrorStandsForTheStaticPod) {
  const PodObject object = Parsed(Minimal(kMirror));
  EXPECT_TRUE(object.is_mirror);
  EXPECT_TRUE(object.is_static());
  EXPECT_EQ(object.uid, "0123abcd");
  EXPECT_EQ(object.api_uid, "u-1");
  ASSERT_NE(object.pod, nullptr);
  EXPECT_EQ(object.pod->uid, "0123abcd");
}

TEST(ParsePodObject, TheMirrorAnnotationAloneMakesNoMirror) {
  json patch = kMirror;
  patch["metadata"]["ownerReferences"] = {{{"kind", "ReplicaSet"}, {"name", "n1"}}};
  const PodObject object = Parsed(Minimal(patch));
  EXPECT_FALSE(object.is_mirror);
  EXPECT_FALSE(object.is_static());
  EXPECT_EQ(object.uid, "u-1");
}

TEST(ParsePodObject, TheKubeletsOwnPodsSayWhereTheyAreFrom) {
  json patch = {{"metadata",
                 {{"resourceVersion", nullptr},
                  {"creationTimestamp", nullptr},
                  {"annotations", {{"kubernetes.io/config.source", "file"}, {"kubernetes.io/config.hash", "u-1"}}}}}};
  const PodObject object = Parsed(Minimal(patch));
  EXPECT_EQ(object.source, "file");
  EXPECT_TRUE(object.is_static());
  EXPECT_EQ(object.created, std::nullopt);
  EXPECT_EQ(object.phase, PodPhase::kPending);
}

TEST(ParsePodObject, ABadPodIsSomebodyWithAnError) {
  const PodObject object = Parsed(Minimal(
      {{"status", {{"phase", "Failed"}}},
       {"spec", {{"containers", {{{"name", "c"}, {"image", "i"}, {"resources", {{"limits", {{"cpu", "5x"}}}}}}}}}}}));
  EXPECT_EQ(object.pod, nullptr);
  EXPECT_EQ(object.uid, "u-1");
  EXPECT_TRUE(object.is_terminal());
  EXPECT_EQ(object.error.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(object.error.message()),
              HasSubstr("pod ns/p (UID u-1): spec.containers[0].resources.limits.cpu: quantity \"5x\""));
}

TEST(ParsePodObject, WhatTheApiWouldRefuseIsAnError) {
  const PodObject object = Parsed(Minimal({{"spec", {{"containers", json::array()}}}}));
  EXPECT_EQ(object.pod, nullptr);
  EXPECT_THAT(std::string(object.error.message()), HasSubstr("pod ns/p (UID u-1): spec.containers: Required value"));
}

TEST(ParsePodObject, NobodyIsNoPod) {
  for (const char* key : {"name", "namespace", "uid"}) {
    EXPECT_FALSE(ParsePodObject(Minimal({{"metadata", {{key, nullptr}}}})).ok()) << key;
    EXPECT_FALSE(ParsePodObject(Minimal({{"metadata", {{key, 5}}}})).ok()) << key;
  }
  for (const json& other : {json(), json(5), json::array(), json{{"metadata", 5}}, json{{"metadata", json::array()}}}) {
    EXPECT_FALSE(ParsePodObject(other).ok()) << other;
  }
  const absl::Status path = ParsePodObject(Minimal({{"metadata", {{"uid", "../../etc"}}}})).status();
  EXPECT_THAT(std::string(path.message()), HasSubstr("pod ns/p has the UID \"../../etc\""));
}

TEST(ParsePodObject, StrangeKindsOfKnownFieldsBreakNothing) {
  const PodObject object = Parsed(Minimal({{"status", {{"phase", "Dreaming"}, {"containerStatuses", "x"}}},
                                           {"spec", {{"ephemeralContainers", 5}, {"somethingNew", {{"a", 1}}}}}}));
  EXPECT_EQ(object.phase, PodPhase::kUnknown);
  EXPECT_NE(object.pod, nullptr);
  json deep = json::array();
  for (int i = 0; i < 1000; ++i) deep = json::array({std::move(deep)});
  EXPECT_THAT(std::string(Parsed(Minimal({{"spec", {{"deep", deep}}}})).error.message()), HasSubstr("nested"));
}

TEST(ParsePodObject, AResizeThatIsNotMadeYet) {
  EXPECT_FALSE(Parsed(Shipped()).resizing);
  const auto with = [](const json& status) {
    json pod = Shipped();
    pod.merge_patch({{"status", status}});
    return Parsed(pod);
  };
  const auto condition = [&](const char* type, const char* status) {
    return with({{"conditions", {{{"type", "Ready"}, {"status", "True"}}, {{"type", type}, {"status", status}}}}});
  };
  EXPECT_TRUE(condition("PodResizePending", "True").resizing);
  EXPECT_TRUE(condition("PodResizeInProgress", "True").resizing);
  EXPECT_FALSE(condition("PodResizeInProgress", "False").resizing);
  EXPECT_FALSE(condition("PodScheduled", "True").resizing);
  EXPECT_TRUE(with({{"resize", "Deferred"}}).resizing) << "before Kubernetes 1.33";
  EXPECT_FALSE(SameForTheNode(with({{"resize", "Deferred"}}), Parsed(Shipped())));
}

TEST(SameForTheNode, SeesAllButTheVersion) {
  const PodObject object = Parsed(Shipped());
  json newer = Shipped();
  newer["metadata"]["resourceVersion"] = "4712";
  newer["status"]["conditions"][0]["lastProbeTime"] = "2026-05-01T11:00:00Z";
  EXPECT_TRUE(SameForTheNode(object, Parsed(newer)));
  for (const json& patch :
       {json{{"status", {{"phase", "Failed"}}}}, json{{"metadata", {{"deletionTimestamp", nullptr}}}},
        json{{"spec", {{"resources", {{"limits", {{"cpu", "5"}}}}}}}}, json{{"metadata", {{"labels", {{"a", "b"}}}}}},
        json{{"status", {{"containerStatuses", json::array()}}}},
        json{{"spec", {{"ephemeralContainers", {{{"name", "more"}}}}}}}, json{{"spec", {{"nodeName", "other"}}}}}) {
    json other = Shipped();
    other.merge_patch(patch);
    EXPECT_FALSE(SameForTheNode(object, Parsed(other))) << patch;
  }
}

}  // namespace
}  // namespace podfence
