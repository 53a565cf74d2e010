#include "agent/nri/plugin.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "nri.pb.h"
#include "tests/unit/nri/fake_runtime.h"

namespace podfence {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

std::string Configure() {
  nri::ConfigureRequest message;
  message.set_runtime_name("containerd");
  message.set_runtime_version("v2.2.0");
  message.set_request_timeout(2000);
  return message.SerializeAsString();
}

std::string Event(const std::string& uid, const std::string& container) {
  nri::EventRequest message;
  message.mutable_pod()->set_uid(uid);
  message.mutable_container()->set_name(container);
  return message.SerializeAsString();
}

struct LoopUnref {
  void operator()(sd_event* loop) const { sd_event_unref(loop); }
};

std::unique_ptr<sd_event, LoopUnref> NewLoop() {
  sd_event* loop = nullptr;
  EXPECT_GE(sd_event_new(&loop), 0);
  return std::unique_ptr<sd_event, LoopUnref>(loop);
}

class NriPluginTest : public testing::Test {
 protected:
  NriPluginTest() {
    options_.socket = runtime_.socket();
    options_.reconnect_min = absl::Milliseconds(2);
    options_.reconnect_max = absl::Milliseconds(20);
    handlers_.create_container = [this](const NriPod& pod,
                                        const NriContainer& container) -> absl::StatusOr<NriCreateReply> {
      log_.push_back("create " + pod.uid + "/" + container.name);
      if (container.name == "bad") return absl::ResourceExhaustedError("TopologyAffinityError: no node fits");
      NriCreateReply reply;
      reply.adjustment.resources.cpus = "2-3";
      return reply;
    };
    handlers_.validate_adjustment = [](const NriValidation&) { return absl::OkStatus(); };
    handlers_.on_configure = [this](const std::string& name, const std::string& version) {
      log_.push_back("configure " + name + " " + version);
    };
    handlers_.on_connected = [this] { log_.push_back("connected"); };
    handlers_.on_disconnected = [this](const absl::Status& reason) { log_.push_back("lost " + reason.ToString()); };
  }

  void Start() {
    absl::StatusOr<std::unique_ptr<NriPlugin>> plugin = NriPlugin::Create(loop_.get(), options_, handlers_);
    ASSERT_TRUE(plugin.ok()) << plugin.status();
    plugin_ = *std::move(plugin);
  }
  void StartRegistered() {
    runtime_.Listen();
    Start();
    ASSERT_TRUE(runtime_.AcceptAndRegister(Configure()));
    ASSERT_EQ(plugin_->connection().state, NriState::kRegistered);
    log_.clear();
  }
  bool Until(NriState state) {
    return runtime_.Until([&] { return plugin_->connection().state == state; });
  }

  std::unique_ptr<sd_event, LoopUnref> loop_ = NewLoop();
  FakeRuntime runtime_{loop_.get()};
  NriOptions options_;
  NriHandlers handlers_;
  std::vector<std::string> log_;
  std::unique_ptr<NriPlugin> plugin_;
};

TEST_F(NriPluginTest, OptionsThatCannotBeAreNamed) {
  const auto message = [&] {
    return std::string(NriPlugin::Create(loop_.get(), options_, handlers_).status().message());
  };
  options_.index = "9";
  EXPECT_THAT(message(), HasSubstr("two digits"));
  options_.index = "90";
  options_.name = "pod fence";
  EXPECT_THAT(message(), HasSubstr("letters, digits"));
  options_.name = "podfence";
  options_.reconnect_max = absl::Milliseconds(1);
  EXPECT_THAT(message(), HasSubstr("reconnect_max"));
  options_.reconnect_max = absl::Seconds(1);
  options_.update_timeout = absl::ZeroDuration();
  EXPECT_THAT(message(), HasSubstr("timeouts"));
  options_.update_timeout = absl::Seconds(1);
  handlers_.create_container = nullptr;
  EXPECT_THAT(message(), HasSubstr("no handler"));
}

TEST_F(NriPluginTest, RegistersAndAnswers) {
  runtime_.Listen();
  Start();
  EXPECT_EQ(plugin_->connection().state, NriState::kDisconnected);
  ASSERT_TRUE(runtime_.AcceptAndRegister(Configure()));
  nri::RegisterPluginRequest request;
  ASSERT_THAT(runtime_.calls, SizeIs(1));
  ASSERT_TRUE(request.ParseFromString(runtime_.calls[0].substr(std::string("RegisterPlugin ").size())));
  EXPECT_EQ(request.plugin_name(), "podfence");
  EXPECT_EQ(request.plugin_idx(), "90");
  const NriConnection& connection = plugin_->connection();
  EXPECT_EQ(connection.state, NriState::kRegistered);
  EXPECT_EQ(connection.runtime_name, "containerd");
  EXPECT_EQ(connection.runtime_version, "v2.2.0");
  EXPECT_EQ(connection.request_timeout, absl::Seconds(2));
  EXPECT_TRUE(connection.validates);
  EXPECT_EQ(connection.registrations, 1U);

  nri::CreateContainerResponse reply;
  ASSERT_TRUE(reply.ParseFromString(runtime_.Call("CreateContainer", Event("u", "app")).value()));
  EXPECT_EQ(reply.adjust().linux().resources().cpu().cpus(), "2-3");
  EXPECT_EQ(runtime_.Call("CreateContainer", Event("u", "bad")).status(),
            absl::ResourceExhaustedError("TopologyAffinityError: no node fits"));
  EXPECT_EQ(runtime_.Call("Teleport", "").status().raw_code(), 12);
  EXPECT_TRUE(runtime_.Call("Shutdown", "").ok());
  EXPECT_THAT(log_, ElementsAre("configure containerd v2.2.0", "connected", "create u/app", "create u/bad"));
  EXPECT_EQ(plugin_->statistics().at("CreateContainer").calls, 2U);
  EXPECT_EQ(plugin_->statistics().at("CreateContainer").failures, 1U);
}

TEST_F(NriPluginTest, WaitsForARuntimeThatIsNotThere) {
  Start();
  ASSERT_TRUE(runtime_.Until([&] { return !plugin_->connection().last_error.ok(); }));
  EXPECT_EQ(plugin_->connection().last_error.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(plugin_->connection().last_error.message()), HasSubstr("is NRI on in the runtime"));
  runtime_.Listen();
  EXPECT_TRUE(runtime_.AcceptAndRegister(Configure()));
  EXPECT_TRUE(plugin_->connection().last_error.ok());
}

TEST_F(NriPluginTest, ComesBackAfterARestartOfTheRuntime) {
  StartRegistered();
  runtime_.StopListening();
  runtime_.Close();
  ASSERT_TRUE(Until(NriState::kDisconnected));
  EXPECT_THAT(log_, ElementsAre("lost UNAVAILABLE: the runtime closed the NRI connection"));
  EXPECT_FALSE(plugin_->connection().validates);
  runtime_.Listen();
  ASSERT_TRUE(runtime_.AcceptAndRegister(Configure()));
  EXPECT_EQ(plugin_->connection().registrations, 2U);
  EXPECT_TRUE(runtime_.Call("CreateContainer", Event("u", "app")).ok());
}

TEST_F(NriPluginTest, GivesItsConnectionToAnother) {
  StartRegistered();
  EXPECT_TRUE(runtime_.Call("CreateContainer", Event("u", "first")).ok());
  absl::StatusOr<NriSession> session = plugin_->Detach();
  ASSERT_TRUE(session.ok()) << session.status();
  EXPECT_EQ(plugin_->connection().state, NriState::kDisconnected);
  EXPECT_EQ(plugin_->Detach().status().code(), absl::StatusCode::kFailedPrecondition);
  runtime_.Post("CreateContainer", Event("u", "meanwhile"));  // waits in the socket
  log_.clear();
  absl::StatusOr<std::unique_ptr<NriPlugin>> next =
      NriPlugin::Resume(loop_.get(), options_, handlers_, *std::move(session));
  ASSERT_TRUE(next.ok()) << next.status();
  plugin_ = *std::move(next);
  EXPECT_EQ(plugin_->connection().state, NriState::kRegistered);
  EXPECT_EQ(plugin_->connection().runtime_version, "v2.2.0");
  EXPECT_TRUE(plugin_->connection().validates);
  EXPECT_TRUE(runtime_.Call("CreateContainer", Event("u", "second")).ok());
  EXPECT_FALSE(runtime_.Closed());
  EXPECT_THAT(log_, ElementsAre("connected", "create u/meanwhile", "create u/second"));
  // Streams go on where they were: the runtime refuses numbers that it has seen.
  size_t failed = 1;
  runtime_.answer = [](const TtrpcRequest&) { return std::string(); };
  ASSERT_TRUE(plugin_
                  ->UpdateContainers({{.id = "c", .resources = {}, .ignore_failure = false}},
                                     [&](const absl::StatusOr<std::vector<NriContainerUpdate>>& reply) {
                                       ASSERT_TRUE(reply.ok()) << reply.status();
                                       failed = reply->size();
                                     })
                  .ok());
  EXPECT_TRUE(runtime_.Until([&] { return failed == 0; }));
  // And a later end of the connection is followed by a registration.
  runtime_.Close();
  ASSERT_TRUE(Until(NriState::kDisconnected));
  EXPECT_TRUE(runtime_.AcceptAndRegister(Configure()));
}

TEST_F(NriPluginTest, GivesNothingAwayInTheMiddleOfACall) {
  StartRegistered();
  runtime_.Write(std::string_view("\0\0\0\1\0", 5));  // of a frame's header
  ASSERT_GT(sd_event_run(loop_.get(), 1000000), 0);
  EXPECT_EQ(plugin_->Detach().status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(plugin_->connection().state, NriState::kRegistered);
}

TEST_F(NriPluginTest, ASessionWithoutAnEventThatIsNeededIsNotResumed) {
  StartRegistered();
  absl::StatusOr<NriSession> session = plugin_->Detach();
  ASSERT_TRUE(session.ok()) << session.status();
  handlers_.start_container = [](const NriPod&, const NriContainer&) { return absl::OkStatus(); };
  const absl::StatusOr<std::unique_ptr<NriPlugin>> next =
      NriPlugin::Resume(loop_.get(), options_, handlers_, *std::move(session));
  EXPECT_EQ(next.status().code(), absl::StatusCode::kInvalidArgument) << next.status();
  EXPECT_TRUE(runtime_.Closed()) << "so that it can be registered anew";
}

// The agent stood still, the runtime gave up and went on without it: what is left in the socket must not be acted on.
TEST_F(NriPluginTest, CallsOfAClosedConnectionAreNotHandled) {
  StartRegistered();
  runtime_.Post("CreateContainer", Event("u", "app"));
  runtime_.Close();
  ASSERT_TRUE(Until(NriState::kDisconnected));
  EXPECT_THAT(log_, ElementsAre(HasSubstr("lost")));
}

TEST_F(NriPluginTest, GarbageEndsTheConnectionAndIsTriedAgain) {
  StartRegistered();
  runtime_.Write(std::string(4096, '\xff'));
  EXPECT_TRUE(runtime_.Closed());
  EXPECT_EQ(plugin_->connection().last_error.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(runtime_.AcceptAndRegister(Configure()));
}

TEST_F(NriPluginTest, PayloadThatIsNoMessageFailsItsCallAlone) {
  StartRegistered();
  EXPECT_EQ(runtime_.Call("CreateContainer", "\x0a\xff\xff\xff\x7f").status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(runtime_.Call("CreateContainer", Event("u", "app")).ok());
}

TEST_F(NriPluginTest, RefusedRegistrationIsToldAndTriedAgain) {
  runtime_.answer = [](const TtrpcRequest&) { return absl::InvalidArgumentError("invalid plugin name"); };
  runtime_.Listen();
  Start();
  ASSERT_TRUE(runtime_.Accept());
  EXPECT_TRUE(runtime_.Closed());
  EXPECT_THAT(std::string(plugin_->connection().last_error.message()),
              HasSubstr("refused to register the NRI plugin 90-podfence: invalid plugin name"));
  runtime_.answer = [](const TtrpcRequest&) { return std::string(); };
  EXPECT_TRUE(runtime_.AcceptAndRegister(Configure()));
}

// A runtime that does not know an event closes the connection after Configure.
TEST_F(NriPluginTest, AsksForOlderEventsAfterTwoRefusals) {
  runtime_.Listen();
  Start();
  const auto events = [&] {
    nri::ConfigureResponse reply;
    EXPECT_TRUE(runtime_.Accept());
    EXPECT_TRUE(reply.ParseFromString(runtime_.Call("Configure", Configure()).value()));
    runtime_.Close();
    return reply.events();
  };
  constexpr int kCreate = 1 << 3;
  constexpr int kValidate = 1 << 13;
  EXPECT_EQ(events(), kCreate | kValidate);
  EXPECT_EQ(events(), kCreate | kValidate);
  EXPECT_EQ(events(), kCreate);
  ASSERT_TRUE(runtime_.AcceptAndRegister(Configure()));
  EXPECT_FALSE(plugin_->connection().validates);
}

TEST_F(NriPluginTest, RegistrationHasADeadline) {
  options_.registration_timeout = absl::Milliseconds(20);
  runtime_.Listen();
  Start();
  ASSERT_TRUE(runtime_.Accept());
  EXPECT_TRUE(runtime_.Closed());
  EXPECT_EQ(plugin_->connection().last_error.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(log_, IsEmpty());
}

TEST_F(NriPluginTest, FailedSynchronizationIsTheReason) {
  int tries = 0;
  handlers_.on_synchronize = [&](const auto&, const auto&) -> absl::StatusOr<std::vector<NriContainerUpdate>> {
    if (++tries == 1) return absl::UnavailableError("pods are not known yet");
    return std::vector<NriContainerUpdate>{};
  };
  runtime_.Listen();
  Start();
  EXPECT_FALSE(runtime_.AcceptAndRegister(Configure()));
  runtime_.Close();  // as the reference does
  ASSERT_TRUE(Until(NriState::kDisconnected));
  EXPECT_EQ(plugin_->connection().last_error, absl::UnavailableError("pods are not known yet"));
  EXPECT_TRUE(runtime_.AcceptAndRegister(Configure()));
  EXPECT_THAT(log_, ElementsAre(HasSubstr("configure"), HasSubstr("configure"), "connected"));
}

class NriUpdateTest : public NriPluginTest {
 protected:
  absl::Status Update() {
    return plugin_->UpdateContainers({{.id = "c1", .resources = {.cpus = "0-1"}}},
                                     [this](absl::StatusOr<Updates> failed) { failed_ = std::move(failed); });
  }

  using Updates = std::vector<NriContainerUpdate>;
  std::optional<absl::StatusOr<Updates>> failed_;
};

TEST_F(NriUpdateTest, TellsWhatFailed) {
  StartRegistered();
  runtime_.answer = [](const TtrpcRequest& request) { return request.payload; };  // the same shape
  ASSERT_TRUE(Update().ok());
  EXPECT_FALSE(failed_.has_value());
  ASSERT_TRUE(runtime_.Until([&] { return failed_.has_value(); }));
  EXPECT_EQ(failed_->value(), (Updates{{.id = "c1", .resources = {.cpus = "0-1"}}}));
}

TEST_F(NriUpdateTest, GoesOutFromAHandlerWithoutWaiting) {
  handlers_.start_container = [this](const NriPod&, const NriContainer&) { return Update(); };
  StartRegistered();
  EXPECT_TRUE(runtime_.Call("StartContainer", Event("u", "app")).ok());
  ASSERT_TRUE(runtime_.Until([&] { return failed_.has_value(); }));
  EXPECT_THAT(failed_->value(), IsEmpty());
}

TEST_F(NriUpdateTest, HasADeadline) {
  options_.update_timeout = absl::Milliseconds(10);
  StartRegistered();
  runtime_.answer = [](const TtrpcRequest&) { return absl::UnknownError("too late anyway"); };
  ASSERT_TRUE(Update().ok());
  sd_event_run(loop_.get(), 0);  // sent, not answered: the runtime's end is only read below
  while (!failed_.has_value()) sd_event_run(loop_.get(), 100'000);
  EXPECT_EQ(failed_->status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(plugin_->connection().state, NriState::kRegistered);
}

TEST_F(NriUpdateTest, EndsWithTheConnection) {
  StartRegistered();
  ASSERT_TRUE(Update().ok());
  runtime_.Close();
  ASSERT_TRUE(runtime_.Until([&] { return failed_.has_value(); }));
  EXPECT_EQ(failed_->status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(Update().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(NriUpdateTest, RefusesWhatIsNoUpdate) {
  StartRegistered();
  const auto ignore = [](const auto&) {};
  EXPECT_EQ(plugin_->UpdateContainers({}, ignore).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(plugin_->UpdateContainers({{.id = ""}}, ignore).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(plugin_->UpdateContainers({{.id = std::string(2 << 20, 'x')}}, ignore).code(),
            absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace podfence
