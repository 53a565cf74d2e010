// Podfence's NRI plugin against the NRI code that containerd and CRI-O run.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "agent/nri/plugin.h"
#include "tests/nri/go_runtime.h"

namespace podfence {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

struct LoopUnref {
  void operator()(sd_event* loop) const { sd_event_unref(loop); }
};

std::unique_ptr<sd_event, LoopUnref> NewLoop() {
  sd_event* loop = nullptr;
  EXPECT_GE(sd_event_new(&loop), 0);
  return std::unique_ptr<sd_event, LoopUnref>(loop);
}

json PodJson() {
  return {{"id", "s1"},
          {"name", "web"},
          {"uid", "u1"},
          {"namespace", "shop"},
          {"labels", {{"app", "web"}}},
          {"annotations", {{"note", "zażółć"}}},
          {"linux",
           {{"cgroupParent", "/kubepods/podu1"},
            {"podResources", {{"cpu", {{"quota", {{"value", "400000"}}}, {"period", {{"value", "100000"}}}}}}}}}};
}

json ContainerJson(const std::string& name) {
  return {
      {"id", "c-" + name},
      {"podSandboxId", "s1"},
      {"name", name},
      {"state", "CONTAINER_CREATED"},
      {"env", {"A=1"}},
      {"linux",
       {{"cgroupsPath", "/kubepods/podu1/c-" + name}, {"resources", {{"cpu", {{"shares", {{"value", "2048"}}}}}}}}}};
}

json Of(const std::string& container) { return {{"pod", PodJson()}, {"container", ContainerJson(container)}}; }

class AdaptationTest : public testing::Test {
 protected:
  void SetUp() override {
    const GoRuntime::Program& program = GoRuntime::Build();
    if (!program.missing.empty()) GTEST_SKIP() << program.missing;
    ASSERT_EQ(program.errors, "");
    options_.socket = runtime_.socket();
    options_.reconnect_min = absl::Milliseconds(10);
    options_.reconnect_max = absl::Milliseconds(100);
    const auto pod = [this](const char* name) {
      return [this, name](const NriPod& subject) {
        log_.push_back(std::string(name) + " " + subject.uid);
        return verdict_;
      };
    };
    const auto container = [this](const char* name) {
      return [this, name](const NriPod&, const NriContainer& subject) {
        log_.push_back(std::string(name) + " " + subject.name);
        return verdict_;
      };
    };
    handlers_.on_configure = [this](const std::string& name, const std::string& version) {
      log_.push_back("configure " + name + " " + version);
    };
    handlers_.on_synchronize = [this](const std::vector<NriPod>& pods, const std::vector<NriContainer>& containers) {
      pods_ = pods;
      containers_ = containers;
      return std::vector<NriContainerUpdate>{{.id = "container-0", .resources = {.cpus = "0-1"}}};
    };
    handlers_.run_pod_sandbox = [this](const NriPod& subject) {
      pod_ = subject;
      return verdict_;
    };
    handlers_.stop_pod_sandbox = pod("stop-pod");
    handlers_.remove_pod_sandbox = pod("remove-pod");
    handlers_.post_update_pod_sandbox = pod("post-update-pod");
    handlers_.update_pod_sandbox = [this](const NriPod&, const auto& overhead, const auto& resources) {
      log_.push_back("update-pod " + std::to_string(overhead.value().cpu_quota.value()) + " " +
                     std::to_string(resources.value().cpu_quota.value()));
      return verdict_;
    };
    handlers_.create_container = [this](const NriPod&, const NriContainer& subject) { return Create(subject); };
    handlers_.validate_adjustment = [this](const NriValidation& validation) {
      validation_ = validation;
      return rejection_;
    };
    handlers_.post_create_container = container("post-create");
    handlers_.start_container = container("start");
    handlers_.post_start_container = container("post-start");
    handlers_.post_update_container = container("post-update");
    handlers_.remove_container = container("remove");
    handlers_.update_container = [this](const NriPod&, const NriContainer& subject, const NriResources& wanted) {
      wanted_ = wanted;
      return std::vector<NriContainerUpdate>{{.id = subject.id, .resources = {.cpu_quota = -1}},
                                             {.id = "c-other", .resources = {.cpus = "5"}}};
    };
    handlers_.stop_container = [this](const NriPod&, const NriContainer& subject) {
      log_.push_back("stop " + subject.name);
      return std::vector<NriContainerUpdate>{{.id = "c-other", .resources = {.cpus = "0-5"}}};
    };
    handlers_.on_connected = [this] { log_.push_back("connected"); };
    handlers_.on_disconnected = [this](const absl::Status&) { log_.push_back("lost"); };
  }

  absl::StatusOr<NriCreateReply> Create(const NriContainer& subject) {
    container_ = subject;
    std::this_thread::sleep_for(slow_);
    if (!verdict_.ok()) return verdict_;
    NriCreateReply reply;
    reply.adjustment.annotations["podfence/cpus"] = "2-3";
    reply.adjustment.resources.cpus = "2-3";
    reply.adjustment.resources.mems = "0";
    reply.adjustment.resources.cpu_quota = -1;
    reply.adjustment.cgroups_path = "/kubepods/podu1/shared/" + subject.id;
    reply.updates.push_back({.id = "c-other", .resources = {.cpus = "4"}});
    return reply;
  }

  void Connect() {
    absl::StatusOr<std::unique_ptr<NriPlugin>> plugin = NriPlugin::Create(loop_.get(), options_, handlers_);
    ASSERT_TRUE(plugin.ok()) << plugin.status();
    plugin_ = *std::move(plugin);
    synced_ = runtime_.Await("synced");
    ASSERT_FALSE(synced_.is_null()) << plugin_->connection().last_error;
    ASSERT_TRUE(Registered());
  }
  bool Registered() {
    return runtime_.Until([&] { return plugin_->connection().state == NriState::kRegistered; });
  }
  std::string Refusal(const json& answer) { return answer.value("error", ""); }

  std::unique_ptr<sd_event, LoopUnref> loop_ = NewLoop();
  GoRuntime runtime_{loop_.get()};
  NriOptions options_;
  NriHandlers handlers_;
  // What the handlers answer, and what they were asked.
  absl::Status verdict_;
  absl::Status rejection_;
  std::chrono::milliseconds slow_{0};
  std::vector<std::string> log_;
  std::vector<NriPod> pods_;
  std::vector<NriContainer> containers_;
  NriPod pod_;
  NriContainer container_;
  NriResources wanted_;
  NriValidation validation_;
  json synced_;
  std::unique_ptr<NriPlugin> plugin_;
};

TEST_F(AdaptationTest, RegistersAndSynchronizes) {
  runtime_.Start({"-pods", "3"});
  Connect();
  const NriConnection& connection = plugin_->connection();
  EXPECT_EQ(connection.runtime_name, "containerd");
  EXPECT_EQ(connection.runtime_version, "v2.4.2");
  EXPECT_EQ(connection.nri_version, "v0.12.3");
  EXPECT_EQ(connection.request_timeout, absl::Seconds(2));
  EXPECT_TRUE(connection.validates);
  EXPECT_EQ(pods_.size(), 3U);
  EXPECT_EQ(pods_[2].uid, "uid-2");
  EXPECT_EQ(containers_.at(2).pod_id, "sandbox-2");
  EXPECT_EQ(containers_.at(2).state, NriContainerState::kRunning);
  ASSERT_EQ(synced_.size(), 1U);
  EXPECT_EQ(synced_[0].at("containerId"), "container-0");
  EXPECT_EQ(synced_[0].at("linux").at("resources").at("cpu").at("cpus"), "0-1");
  EXPECT_THAT(log_, ElementsAre("configure containerd v2.4.2", "connected"));
}

// More than ttrpc takes at once: the runtime sends it in parts.
TEST_F(AdaptationTest, SynchronizesInParts) {
  runtime_.Start({"-pods", "300", "-annotation", "40000"});
  Connect();
  EXPECT_EQ(pods_.size(), 300U);
  EXPECT_EQ(containers_.size(), 300U);
  EXPECT_EQ(pods_.back().annotations.at("filler").size(), 40000U);
  EXPECT_GT(plugin_->statistics().at("Synchronize").calls, 2U);
}

TEST_F(AdaptationTest, SandboxIsSeenAndRefused) {
  runtime_.Start();
  Connect();
  EXPECT_TRUE(runtime_.Relay("RunPodSandbox", {{"pod", PodJson()}}).contains("reply"));
  EXPECT_EQ(pod_.id, "s1");
  EXPECT_EQ(pod_.uid, "u1");
  EXPECT_EQ(pod_.ns, "shop");
  EXPECT_EQ(pod_.labels.at("app"), "web");
  EXPECT_EQ(pod_.annotations.at("note"), "zażółć");
  EXPECT_EQ(pod_.cgroup_parent, "/kubepods/podu1");
  EXPECT_EQ(pod_.pod_resources, (NriResources{.cpu_quota = 400'000, .cpu_period = 100'000}));
  verdict_ = absl::ResourceExhaustedError("TopologyAffinityError: no NUMA node has 4 free CPUs");
  EXPECT_THAT(Refusal(runtime_.Relay("RunPodSandbox", {{"pod", PodJson()}})),
              HasSubstr("TopologyAffinityError: no NUMA node has 4 free CPUs"));
}

TEST_F(AdaptationTest, CreateIsAdjustedAndValidated) {
  runtime_.Start();
  Connect();
  const json reply = runtime_.Relay("CreateContainer", Of("app")).at("reply");
  EXPECT_EQ(reply.at("adjust").at("annotations").at("podfence/cpus"), "2-3");
  const json& os = reply["adjust"].at("linux");
  EXPECT_EQ(os.at("cgroupsPath"), "/kubepods/podu1/shared/c-app");
  EXPECT_EQ(os.at("resources").at("cpu"), json::parse(R"({"quota":{"value":"-1"},"cpus":"2-3","mems":"0"})"));
  EXPECT_EQ(reply.at("update").at(0).at("containerId"), "c-other");
  EXPECT_EQ(reply["update"][0].at("linux").at("resources").at("cpu"), json::parse(R"({"cpus":"4"})"));
  EXPECT_EQ(container_.cgroups_path, "/kubepods/podu1/c-app");
  EXPECT_EQ(container_.resources.cpu_shares, 2048U);

  EXPECT_EQ(validation_.container.cgroups_path, "/kubepods/podu1/c-app");
  EXPECT_EQ(validation_.adjustment.resources.cpus, "2-3");
  EXPECT_EQ(validation_.adjustment.cgroups_path, "/kubepods/podu1/shared/c-app");
  EXPECT_EQ(validation_.updates.at(0).id, "c-other");
  EXPECT_EQ(validation_.owners.at("c-app").at(NriField::kCpusetCpus), "90-podfence");
  EXPECT_EQ(validation_.owners.at("c-other").at(NriField::kCpusetCpus), "90-podfence");
  EXPECT_THAT(validation_.plugins, ElementsAre(NriPluginInstance{.name = "podfence", .index = "90"}));

  rejection_ = absl::AbortedError("99-other set the cpuset");
  EXPECT_THAT(Refusal(runtime_.Relay("CreateContainer", Of("app"))), HasSubstr("99-other set the cpuset"));
  rejection_ = absl::OkStatus();
  verdict_ = absl::NotFoundError("the pod is not known yet");
  EXPECT_THAT(Refusal(runtime_.Relay("CreateContainer", Of("app"))), HasSubstr("the pod is not known yet"));
  verdict_ = absl::OkStatus();
  EXPECT_TRUE(runtime_.Relay("CreateContainer", Of("app")).contains("reply"));
  EXPECT_EQ(plugin_->connection().registrations, 1U);  // errors keep the connection
}

TEST_F(AdaptationTest, EveryOtherEventArrives) {
  runtime_.Start();
  Connect();
  log_.clear();
  for (const char* event : {"PostCreateContainer", "StartContainer", "PostStartContainer", "PostUpdateContainer"}) {
    EXPECT_TRUE(runtime_.Relay(event, Of("app")).contains("reply")) << event;
  }
  json update = Of("app");
  update["linuxResources"] = json::parse(R"({"cpu":{"quota":{"value":"200000"}}})");
  const json updates = runtime_.Relay("UpdateContainer", update).at("reply").at("update");
  EXPECT_EQ(wanted_, NriResources{.cpu_quota = 200'000});
  // The adaptation has the container itself at the end.
  ASSERT_EQ(updates.size(), 2U);
  EXPECT_EQ(updates[0].at("containerId"), "c-other");
  EXPECT_EQ(updates[1].at("containerId"), "c-app");
  EXPECT_EQ(updates[1].at("linux").at("resources").at("cpu").at("quota").at("value"), "-1");
  const json stopped = runtime_.Relay("StopContainer", Of("app")).at("reply");
  EXPECT_EQ(stopped.at("update").at(0).at("linux").at("resources").at("cpu").at("cpus"), "0-5");
  json resize = {{"pod", PodJson()}};
  resize["overheadLinuxResources"] = json::parse(R"({"cpu":{"quota":{"value":"1"}}})");
  resize["linuxResources"] = json::parse(R"({"cpu":{"quota":{"value":"2"}}})");
  EXPECT_TRUE(runtime_.Relay("UpdatePodSandbox", resize).contains("reply"));
  EXPECT_TRUE(runtime_.Relay("RemoveContainer", Of("app")).contains("reply"));
  for (const char* event : {"PostUpdatePodSandbox", "StopPodSandbox", "RemovePodSandbox"}) {
    EXPECT_TRUE(runtime_.Relay(event, {{"pod", PodJson()}}).contains("reply")) << event;
  }
  EXPECT_THAT(log_, ElementsAre("post-create app", "start app", "post-start app", "post-update app", "stop app",
                                "update-pod 1 2", "remove app", "post-update-pod u1", "stop-pod u1", "remove-pod u1"));
  verdict_ = absl::FailedPreconditionError("CPU 4 is still shared by c-other");
  EXPECT_THAT(Refusal(runtime_.Relay("StartContainer", Of("app"))), HasSubstr("CPU 4 is still shared by c-other"));
}

TEST_F(AdaptationTest, UpdatesByItself) {
  runtime_.Start();
  Connect();
  using Updates = std::vector<NriContainerUpdate>;
  std::optional<absl::StatusOr<Updates>> failed;
  const auto done = [&](absl::StatusOr<Updates> result) { failed = std::move(result); };
  const Updates updates = {{.id = "c1", .resources = {.cpus = "0-1"}, .ignore_failure = true},
                           {.id = "failing", .resources = {.cpu_quota = -1}}};
  ASSERT_TRUE(plugin_->UpdateContainers(updates, done).ok());
  const json seen = runtime_.Await("update");
  ASSERT_EQ(seen.size(), 2U);
  EXPECT_EQ(seen[0].at("ignoreFailure"), true);
  EXPECT_EQ(seen[0].at("linux").at("resources").at("cpu").at("cpus"), "0-1");
  ASSERT_TRUE(runtime_.Until([&] { return failed.has_value(); }));
  EXPECT_EQ(failed->value(), Updates{updates[1]});
  failed.reset();
  ASSERT_TRUE(plugin_->UpdateContainers({{.id = "refused"}}, done).ok());
  ASSERT_TRUE(runtime_.Until([&] { return failed.has_value(); }));
  EXPECT_THAT(std::string(failed->status().message()), HasSubstr("the runtime cannot"));
}

// As many frames as the runtime queues: it must not take that for too many.
TEST_F(AdaptationTest, LargeUpdatesFitTheRuntimesQueue) {
  runtime_.Start();
  Connect();
  std::vector<NriContainerUpdate> updates(3500, {.id = std::string(250, 'c'), .resources = {.cpus = "0-1"}});
  std::optional<absl::Status> done;
  ASSERT_TRUE(plugin_->UpdateContainers(updates, [&](const auto& failed) { done = failed.status(); }).ok());
  ASSERT_TRUE(runtime_.Until([&] { return done.has_value(); }));
  EXPECT_TRUE(done->ok()) << *done;
  EXPECT_EQ(runtime_.Await("update").size(), updates.size());
  EXPECT_EQ(plugin_->connection().registrations, 1U);
}

// What makes CreateContainer fail closed: the runtime drops a plugin that does not answer in time and goes on, but it
// asks it for its validation first, and there no answer is an error.
TEST_F(AdaptationTest, CreateFailsWhereThePluginIsTooSlow) {
  runtime_.Start({"-timeout", "1s"});
  Connect();
  slow_ = std::chrono::milliseconds(3000);
  EXPECT_THAT(Refusal(runtime_.Relay("CreateContainer", Of("app"))), HasSubstr("validator plugin 90-podfence failed"));
  slow_ = std::chrono::milliseconds(0);
  ASSERT_FALSE(runtime_.Await("synced").is_null());  // it came back by itself
  EXPECT_TRUE(runtime_.Relay("CreateContainer", Of("app")).contains("reply"));
  EXPECT_EQ(plugin_->connection().registrations, 2U);
  EXPECT_GE(plugin_->statistics().at("CreateContainer").max, absl::Milliseconds(3000));
}

TEST_F(AdaptationTest, RequiredPluginGuardsWhileItIsAway) {
  runtime_.Start({"-required", "podfence"});
  EXPECT_THAT(Refusal(runtime_.Relay("CreateContainer", Of("app"))), HasSubstr("podfence"));
  json tolerated = Of("app");
  tolerated["pod"]["annotations"]["tolerate-missing-plugins"] = "true";
  EXPECT_TRUE(runtime_.Relay("CreateContainer", tolerated).contains("reply"));
  Connect();
  EXPECT_TRUE(runtime_.Relay("CreateContainer", Of("app")).contains("reply"));
}

TEST_F(AdaptationTest, ComesBackAfterTheRuntime) {
  runtime_.Start();
  Connect();
  for (uint64_t registrations = 2; registrations <= 4; ++registrations) {
    runtime_.Stop();
    ASSERT_TRUE(runtime_.Until([&] { return plugin_->connection().state == NriState::kDisconnected; }));
    runtime_.Start();
    ASSERT_FALSE(runtime_.Await("synced").is_null());
    ASSERT_TRUE(Registered());
    EXPECT_EQ(plugin_->connection().registrations, registrations);
    EXPECT_TRUE(runtime_.Relay("CreateContainer", Of("app")).contains("reply"));
  }
}

}  // namespace
}  // namespace podfence
