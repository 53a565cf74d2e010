#include "agent/nri/messages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "nri.pb.h"

namespace podfence {
namespace {

using testing::ElementsAre;
using testing::Pair;

NriResources EveryResource() {
  return {.cpus = "0-3",
          .mems = "0",
          .cpu_quota = -1,
          .cpu_period = 100'000,
          .cpu_shares = 2048,
          .memory_limit = int64_t{1} << 40,
          .memory_reservation = 5,
          .memory_swap = 6,
          .pids_limit = 7,
          .hugepage_limits = {{"2MB", uint64_t{1} << 21}},
          .unified = {{"memory.high", "max"}}};
}

TEST(NriMessagesTest, UpdatesComeBackAsTheyWent) {
  const std::vector<NriContainerUpdate> updates = {{.id = "a", .resources = EveryResource(), .ignore_failure = true},
                                                   {.id = "b", .resources = {.cpus = "4"}, .ignore_failure = false}};
  EXPECT_EQ(ParseNriUpdates(EncodeNriUpdates(updates)).value(), updates);
  EXPECT_TRUE(ParseNriUpdates("").value().empty());
}

// Zero that is said differs from nothing said.
TEST(NriMessagesTest, ZeroIsSaid) {
  const std::vector<NriContainerUpdate> updates = {{.id = "a", .resources = {.cpu_quota = 0, .memory_limit = 0}}};
  EXPECT_EQ(ParseNriUpdates(EncodeNriUpdates(updates)).value(), updates);
}

TEST(NriMessagesTest, CreateReplyHasTheReferencesFieldNumbers) {
  NriCreateReply reply;
  reply.adjustment.annotations["k"] = "v";
  reply.adjustment.resources.cpus = "1";
  reply.adjustment.cgroups_path = "/p";
  nri::CreateContainerResponse message;
  ASSERT_TRUE(message.ParseFromString(EncodeNriCreateReply(reply)));
  EXPECT_EQ(message.adjust().annotations().at("k"), "v");
  EXPECT_EQ(message.adjust().linux().resources().cpu().cpus(), "1");
  EXPECT_EQ(message.adjust().linux().cgroups_path(), "/p");
  EXPECT_EQ(EncodeNriCreateReply({}), "");
  // adjust 1 { linux 6 { resources 2 { cpu 2 { cpus 6 } } } }
  NriCreateReply small;
  small.adjustment.resources.cpus = "1";
  const std::string wire = EncodeNriCreateReply(small);
  EXPECT_NE(wire.find("\x12\x03\x32\x01\x31"), std::string::npos);
}

TEST(NriMessagesTest, EventHasPodContainerAndWantedResources) {
  nri::EventRequest message;
  nri::PodSandbox& pod = *message.mutable_pod();
  pod.set_id("s1");
  pod.set_name("web");
  pod.set_uid("u1");
  pod.set_namespace_("ns1");
  (*pod.mutable_labels())["l"] = "1";
  (*pod.mutable_annotations())["a"] = "2";
  pod.set_runtime_handler("runc");
  pod.set_pid(12);
  pod.mutable_linux()->set_cgroup_parent("/kubepods/podu1");
  pod.mutable_linux()->set_cgroups_path("/kubepods/podu1/s1");
  pod.mutable_linux()->mutable_pod_resources()->mutable_cpu()->mutable_quota()->set_value(400'000);
  nri::Container& container = *message.mutable_container();
  container.set_id("c1");
  container.set_pod_sandbox_id("s1");
  container.set_name("app");
  container.set_state(3);
  container.set_pid(34);
  container.set_created_at(1);
  container.set_started_at(2);
  container.mutable_linux()->set_cgroups_path("/kubepods/podu1/c1");
  container.mutable_linux()->mutable_resources()->mutable_cpu()->mutable_shares()->set_value(1024);
  message.mutable_linux_resources()->mutable_memory()->mutable_limit()->set_value(99);

  const absl::StatusOr<NriEventRequest> event = ParseNriEvent(NriEvent::kUpdateContainer, message.SerializeAsString());
  ASSERT_TRUE(event.ok());
  EXPECT_EQ(event->pod, (NriPod{.id = "s1",
                                .name = "web",
                                .uid = "u1",
                                .ns = "ns1",
                                .labels = {{"l", "1"}},
                                .annotations = {{"a", "2"}},
                                .runtime_handler = "runc",
                                .cgroup_parent = "/kubepods/podu1",
                                .cgroups_path = "/kubepods/podu1/s1",
                                .pid = 12,
                                .pod_resources = NriResources{.cpu_quota = 400'000},
                                .pod_overhead = std::nullopt,
                                .resources = std::nullopt}));
  EXPECT_EQ(event->container, (NriContainer{.id = "c1",
                                            .pod_id = "s1",
                                            .name = "app",
                                            .state = NriContainerState::kRunning,
                                            .labels = {},
                                            .annotations = {},
                                            .pid = 34,
                                            .cgroups_path = "/kubepods/podu1/c1",
                                            .resources = {.cpu_shares = 1024},
                                            .created_at = 1,
                                            .started_at = 2}));
  EXPECT_EQ(event->resources, NriResources{.memory_limit = 99});
}

TEST(NriMessagesTest, UpdatePodSandboxHasOverheadAndResources) {
  nri::UpdatePodSandboxRequest message;
  message.mutable_pod()->set_uid("u");
  message.mutable_overhead_linux_resources()->mutable_cpu()->mutable_quota()->set_value(1);
  message.mutable_linux_resources()->mutable_cpu()->mutable_quota()->set_value(2);
  const absl::StatusOr<NriEventRequest> event = ParseNriEvent(NriEvent::kUpdatePodSandbox, message.SerializeAsString());
  ASSERT_TRUE(event.ok());
  EXPECT_EQ(event->pod.uid, "u");
  EXPECT_EQ(event->overhead->cpu_quota, 1);
  EXPECT_EQ(event->resources->cpu_quota, 2);
}

TEST(NriMessagesTest, ValidationKeepsTheOwnersThatMatter) {
  nri::ValidateContainerAdjustmentRequest message;
  message.mutable_pod()->set_uid("u");
  message.mutable_container()->set_id("c");
  message.mutable_adjust()->mutable_linux()->mutable_resources()->mutable_cpu()->set_cpus("2-3");
  message.add_update()->set_container_id("other");
  nri::FieldOwners& owners = (*message.mutable_owners()->mutable_owners())["c"];
  (*owners.mutable_simple())[21] = "90-podfence";
  (*owners.mutable_simple())[6] = "10-env";
  message.add_plugins()->set_name("podfence");
  message.mutable_plugins(0)->set_index("90");
  const absl::StatusOr<NriValidation> validation = ParseNriValidation(message.SerializeAsString());
  ASSERT_TRUE(validation.ok());
  EXPECT_EQ(validation->pod.uid, "u");
  EXPECT_EQ(validation->container.id, "c");
  EXPECT_EQ(validation->adjustment.resources.cpus, "2-3");
  EXPECT_EQ(validation->updates.at(0).id, "other");
  EXPECT_THAT(validation->owners, ElementsAre(Pair("c", ElementsAre(Pair(NriField::kCpusetCpus, "90-podfence")))));
  EXPECT_THAT(validation->plugins, ElementsAre(NriPluginInstance{.name = "podfence", .index = "90"}));
}

TEST(NriMessagesTest, UnknownStatesAndFieldsAreNoErrors) {
  nri::EventRequest message;
  message.mutable_container()->set_state(77);
  const std::string future("\xfa\x06\x03xyz", 6);  // field 111
  const absl::StatusOr<NriEventRequest> event =
      ParseNriEvent(NriEvent::kStartContainer, message.SerializeAsString() + future);
  ASSERT_TRUE(event.ok());
  EXPECT_EQ(event->container.state, NriContainerState::kUnknown);
}

TEST(NriMessagesTest, BytesThatAreNoMessageAreErrors) {
  const std::string broken = "\x0a\xff\xff\xff\x7f";
  EXPECT_EQ(ParseNriConfigure(broken).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ParseNriSynchronize(broken).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ParseNriEvent(NriEvent::kCreateContainer, broken).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ParseNriEvent(NriEvent::kUpdatePodSandbox, broken).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ParseNriStateChange(broken).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ParseNriValidation(broken).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ParseNriUpdates(broken).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(NriMessagesTest, ValidationReply) {
  EXPECT_EQ(EncodeNriValidationReply(absl::OkStatus()), "");
  nri::ValidateContainerAdjustmentResponse reply;
  ASSERT_TRUE(reply.ParseFromString(EncodeNriValidationReply(absl::AbortedError("cpuset taken"))));
  EXPECT_TRUE(reply.reject());
  EXPECT_EQ(reply.reason(), "cpuset taken");
}

}  // namespace
}  // namespace podfence
