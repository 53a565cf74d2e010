#include "agent/nri/service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "agent/nri/events.h"
#include "nri.pb.h"

namespace podfence {
namespace {

std::string Configure(const std::string& name, const std::string& version, const std::string& nri) {
  nri::ConfigureRequest message;
  message.set_runtime_name(name);
  message.set_runtime_version(version);
  message.set_nri_version(nri);
  return message.SerializeAsString();
}

NriHandlers EveryHandler() {
  NriHandlers handlers;
  const auto pod = [](const NriPod&) { return absl::OkStatus(); };
  const auto container = [](const NriPod&, const NriContainer&) { return absl::OkStatus(); };
  handlers.run_pod_sandbox = handlers.stop_pod_sandbox = handlers.remove_pod_sandbox = pod;
  handlers.post_update_pod_sandbox = pod;
  handlers.update_pod_sandbox = [](const NriPod&, const auto&, const auto&) { return absl::OkStatus(); };
  handlers.create_container = [](const NriPod&, const NriContainer&) { return NriCreateReply{}; };
  handlers.validate_adjustment = [](const NriValidation&) { return absl::OkStatus(); };
  handlers.post_create_container = handlers.start_container = handlers.post_start_container = container;
  handlers.post_update_container = handlers.remove_container = container;
  handlers.stop_container = [](const NriPod&, const NriContainer&) { return std::vector<NriContainerUpdate>{}; };
  handlers.update_container = [](const NriPod&, const NriContainer&, const NriResources&) {
    return std::vector<NriContainerUpdate>{};
  };
  return handlers;
}

class ServiceTest : public testing::Test {
 protected:
  NriService Service(std::string old_runtime = "") { return {&handlers_, &statistics_, std::move(old_runtime)}; }
  uint32_t Mask(const std::string& payload, std::string old_runtime = "") {
    NriService service = Service(std::move(old_runtime));
    nri::ConfigureResponse reply;
    EXPECT_TRUE(reply.ParseFromString(service.Answer("Configure", payload).value()));
    EXPECT_EQ(static_cast<uint32_t>(reply.events()), service.events());
    return service.events();
  }

  NriHandlers handlers_ = EveryHandler();
  NriStatistics statistics_;
};

TEST_F(ServiceTest, SubscribesToWhatTheRuntimeKnows) {
  EXPECT_EQ(Mask(Configure("containerd", "v2.4.2", "v0.12.3")), 0x3FFFU);
  EXPECT_EQ(Mask(Configure("whoever", "", "v0.12.0")), 0x3FFFU);
  EXPECT_EQ(Mask(Configure("containerd", "v2.2.0", "")), 0x3FFFU);
  EXPECT_EQ(Mask(Configure("containerd", "3.0.0-beta.1+unknown", "")), 0x3FFFU);
  EXPECT_EQ(Mask(Configure("cri-o", "1.35.0", "")), 0x3FFFU);
  EXPECT_EQ(Mask(Configure("containerd", "2.1.9", "")), 0x7FFU);
  EXPECT_EQ(Mask(Configure("containerd", "1.7.27", "")), 0x7FFU);
  EXPECT_EQ(Mask(Configure("cri-o", "1.34.9", "")), 0x7FFU);
  EXPECT_EQ(Mask(Configure("containerd", "", "")), 0x7FFU);
  EXPECT_EQ(Mask(Configure("containerd", "2", "")), 0x7FFU);
  EXPECT_EQ(Mask(Configure("other", "9.9", "")), 0x7FFU);
  EXPECT_EQ(Mask(Configure("containerd", "v2.2.0", ""), "containerd v2.2.0"), 0x7FFU);
}

TEST_F(ServiceTest, SubscribesToWhatThereIsAHandlerFor) {
  handlers_ = {};
  handlers_.create_container = [](const NriPod&, const NriContainer&) { return NriCreateReply{}; };
  handlers_.validate_adjustment = [](const NriValidation&) { return absl::OkStatus(); };
  EXPECT_EQ(Mask(Configure("", "", "v0.12.0")),
            NriBit(NriEvent::kCreateContainer) | NriBit(NriEvent::kValidateContainerAdjustment));
}

TEST_F(ServiceTest, SynchronizesInParts) {
  std::pair<size_t, size_t> seen;
  handlers_.on_synchronize = [&](const std::vector<NriPod>& pods, const std::vector<NriContainer>& containers) {
    seen = {pods.size(), containers.size()};
    return std::vector<NriContainerUpdate>{{.id = "c", .resources = {.cpus = "0"}}};
  };
  NriService service = Service();
  nri::SynchronizeRequest part;
  part.add_pods();
  part.add_pods();
  part.set_more(true);
  nri::SynchronizeResponse reply;
  ASSERT_TRUE(reply.ParseFromString(service.Answer("Synchronize", part.SerializeAsString()).value()));
  EXPECT_TRUE(reply.more());
  EXPECT_EQ(reply.update_size(), 0);
  EXPECT_TRUE(service.accepted());
  EXPECT_FALSE(service.synchronized());
  EXPECT_EQ(seen.first, 0U);
  part.Clear();
  part.add_containers();
  ASSERT_TRUE(reply.ParseFromString(service.Answer("Synchronize", part.SerializeAsString()).value()));
  EXPECT_FALSE(reply.more());
  EXPECT_EQ(reply.update(0).container_id(), "c");
  EXPECT_TRUE(service.synchronized());
  EXPECT_EQ(seen, (std::pair<size_t, size_t>(2, 1)));
}

TEST_F(ServiceTest, FailedSynchronizationEndsTheConnection) {
  handlers_.on_synchronize = [](const auto&, const auto&) -> absl::StatusOr<std::vector<NriContainerUpdate>> {
    return absl::UnavailableError("pods are not known yet");
  };
  NriService service = Service();
  EXPECT_EQ(service.Answer("Synchronize", "").status(), absl::UnavailableError("pods are not known yet"));
  EXPECT_EQ(service.failure(), absl::UnavailableError("pods are not known yet"));
  EXPECT_FALSE(service.synchronized());
}

TEST_F(ServiceTest, SynchronizationIsBounded) {
  NriService service = Service();
  nri::SynchronizeRequest part;
  part.add_pods()->set_name(std::string(size_t{4} << 20, 'x'));
  part.set_more(true);
  const std::string payload = part.SerializeAsString();
  absl::StatusOr<std::string> reply;
  size_t parts = 0;
  do {
    reply = service.Answer("Synchronize", payload);
  } while (reply.ok() && ++parts < 100);
  EXPECT_EQ(reply.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(parts, NriService::kMaxSynchronize / payload.size());
  EXPECT_FALSE(service.failure().ok());
}

TEST_F(ServiceTest, OldStateChangeReachesTheSameHandlers) {
  std::vector<std::string> seen;
  handlers_.start_container = [&](const NriPod& pod, const NriContainer& container) {
    seen.push_back(pod.uid + "/" + container.name);
    return absl::OkStatus();
  };
  handlers_.run_pod_sandbox = [&](const NriPod& pod) {
    seen.push_back(pod.uid);
    return absl::FailedPreconditionError("TopologyAffinityError");
  };
  NriService service = Service();
  nri::StateChangeEvent change;
  change.set_event(6);
  change.mutable_pod()->set_uid("u");
  change.mutable_container()->set_name("app");
  EXPECT_TRUE(service.Answer("StateChange", change.SerializeAsString()).ok());
  change.set_event(1);
  EXPECT_EQ(service.Answer("StateChange", change.SerializeAsString()).status(),
            absl::FailedPreconditionError("TopologyAffinityError"));
  change.set_event(99);  // of the future
  EXPECT_TRUE(service.Answer("StateChange", change.SerializeAsString()).ok());
  EXPECT_THAT(seen, testing::ElementsAre("u/app", "u"));
  EXPECT_EQ(statistics_.at("StartContainer").calls, 1U);
  EXPECT_EQ(statistics_.at("RunPodSandbox").failures, 1U);
}

// A runtime takes code 12 for "this plugin has no such call".
TEST_F(ServiceTest, HandlersErrorIsNeverUnimplemented) {
  handlers_.start_container = [](const NriPod&, const NriContainer&) { return absl::UnimplementedError("cannot"); };
  NriService service = Service();
  EXPECT_EQ(service.Answer("StartContainer", "").status(), absl::InternalError("cannot"));
  EXPECT_EQ(service.Answer("Nonsense", "").status().raw_code(), 12);
  EXPECT_EQ(statistics_.count("Nonsense"), 0U);
}

TEST_F(ServiceTest, RejectionIsAReplyAndCountsAsFailure) {
  handlers_.validate_adjustment = [](const NriValidation&) { return absl::AbortedError("cpuset set by 99-other"); };
  NriService service = Service();
  nri::ValidateContainerAdjustmentResponse reply;
  ASSERT_TRUE(reply.ParseFromString(service.Answer("ValidateContainerAdjustment", "").value()));
  EXPECT_TRUE(reply.reject());
  EXPECT_EQ(reply.reason(), "cpuset set by 99-other");
  EXPECT_EQ(statistics_.at("ValidateContainerAdjustment").failures, 1U);
}

TEST_F(ServiceTest, EveryEventHasItsName) {
  for (int number = 1; number <= 14; ++number) {
    const auto event = static_cast<NriEvent>(number);
    EXPECT_EQ(NriEventOf(NriMethodOf(event)), event);
  }
  EXPECT_EQ(NriMethodOf(static_cast<NriEvent>(15)), "");
  EXPECT_EQ(NriEventOf("Configure"), std::nullopt);
}

TEST(NriStatisticsTest, HistogramIsByPowersOfTwo) {
  NriCallStatistics statistics;
  statistics.Add(absl::ZeroDuration(), false);
  statistics.Add(absl::Microseconds(1), false);
  statistics.Add(absl::Microseconds(1023), true);
  statistics.Add(absl::Microseconds(1024), false);
  statistics.Add(absl::Hours(1), false);
  EXPECT_EQ(statistics.log2_us[0], 1U);
  EXPECT_EQ(statistics.log2_us[1], 1U);
  EXPECT_EQ(statistics.log2_us[10], 1U);
  EXPECT_EQ(statistics.log2_us[11], 1U);
  EXPECT_EQ(statistics.log2_us.back(), 1U);
  EXPECT_EQ(statistics.calls, 5U);
  EXPECT_EQ(statistics.failures, 1U);
  EXPECT_EQ(statistics.max, absl::Hours(1));
}

}  // namespace
}  // namespace podfence
