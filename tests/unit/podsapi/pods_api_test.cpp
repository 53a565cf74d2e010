#include "agent/podsapi/pods_api.h"

#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdio>
#include <deque>
#include <fstream>
#include <mutex>

#include "agent/core/text.h"
#include "agent/kubernetes/pod_source.h"
#include "agent/podsapi/pod_message.h"
#include "core_v1.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "pods_api.grpc.pb.h"
#include "tests/unit/kubernetes/loop.h"

namespace podfence {
namespace {

using ::testing::HasSubstr;
using v1alpha1::WatchPodsEvent;

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::string Message(const std::string& uid, const std::string& phase = "Running") {
  core_v1::Pod pod;
  pod.mutable_metadata()->set_name("pod-" + uid);
  pod.mutable_metadata()->set_namespace_("ns");
  pod.mutable_metadata()->set_uid(uid);
  core_v1::Container& container = *pod.mutable_spec()->add_containers();
  container.set_name("c");
  container.set_image("i");
  pod.mutable_status()->set_phase(phase);
  return pod.SerializeAsString();
}

WatchPodsEvent Event(v1alpha1::EventType type, const std::string& pod = "") {
  WatchPodsEvent event;
  event.set_type(type);
  event.set_pod(pod);
  return event;
}

TEST(PodJsonFromMessage, SaysWhatTheJsonOfTheSamePodSays) {
  const absl::StatusOr<nlohmann::json> json =
      PodJsonFromMessage(ReadFile(PODFENCE_SOURCE_DIR "/tests/data/pods/v1_pod.pb"));
  ASSERT_TRUE(json.ok()) << json.status();
  const absl::StatusOr<PodObject> from_message = ParsePodObject(*json);
  const absl::StatusOr<PodObject> from_json =
      ParsePodObject(nlohmann::json::parse(ReadFile(PODFENCE_SOURCE_DIR "/tests/data/pods/v1_pod.json")));
  ASSERT_TRUE(from_message.ok()) << from_message.status();
  ASSERT_TRUE(from_json.ok()) << from_json.status();
  ASSERT_NE(from_message->pod, nullptr) << from_message->error;
  EXPECT_TRUE(SameForTheNode(*from_message, *from_json));
  EXPECT_EQ(from_message->resource_version, from_json->resource_version);
}

TEST(PodJsonFromMessage, TellsOfAResize) {
  core_v1::Pod pod;
  ASSERT_TRUE(pod.ParseFromString(ReadFile(PODFENCE_SOURCE_DIR "/tests/data/pods/v1_pod.pb")));
  core_v1::PodCondition& condition = *pod.mutable_status()->add_conditions();
  condition.set_type("PodResizePending");
  condition.set_status("True");
  EXPECT_TRUE(ParsePodObject(*PodJsonFromMessage(pod.SerializeAsString()))->resizing);
}

TEST(PodJsonFromMessage, IsUtf8WhateverThePodsStringsAre) {
  core_v1::Pod pod;
  ASSERT_TRUE(pod.ParseFromString(Message("a")));
  pod.mutable_spec()->mutable_containers(0)->set_image("i\xff");
  (*pod.mutable_metadata()->mutable_annotations())["note"] = "\xc3\x28";
  const absl::StatusOr<nlohmann::json> json = PodJsonFromMessage(pod.SerializeAsString());
  ASSERT_TRUE(json.ok()) << json.status();
  EXPECT_EQ(json->at("spec").at("containers").at(0).at("image"), "i\uFFFD") << "as the API server's JSON has it";
  EXPECT_EQ(json->at("metadata").at("annotations").at("note"), "\uFFFD(");
}

TEST(PodJsonFromMessage, RefusesWhatIsNoPod) {
  EXPECT_FALSE(PodJsonFromMessage("\x0a\xff garbage").ok());
  // An empty message is a pod without a name, which the reader of pods refuses.
  EXPECT_FALSE(ParsePodObject(*PodJsonFromMessage("")).ok());
}

// A kubelet: what is put in goes out on the one watch that is open.
class FakeKubelet final : public v1alpha1::Pods::Service {
 public:
  grpc::Status WatchPods(grpc::ServerContext* context, const v1alpha1::WatchPodsRequest*,
                         grpc::ServerWriter<WatchPodsEvent>* out) override {
    std::unique_lock lock(mutex_);
    ++watches_;
    if (!refuse_.ok()) return refuse_;
    events_.clear();
    for (const WatchPodsEvent& event : initial_) out->Write(event);
    const int generation = generation_;
    while (!context->IsCancelled() && generation == generation_) {
      while (!events_.empty()) {
        out->Write(events_.front());
        events_.pop_front();
      }
      changed_.wait_for(lock, std::chrono::milliseconds(5));
    }
    return {grpc::StatusCode::RESOURCE_EXHAUSTED, "watch client channel closed"};
  }

  void Initial(std::vector<WatchPodsEvent> events) {
    const std::lock_guard lock(mutex_);
    initial_ = std::move(events);
  }
  void Send(const WatchPodsEvent& event) {
    const std::lock_guard lock(mutex_);
    events_.push_back(event);
  }
  void DropWatch() {
    const std::lock_guard lock(mutex_);
    ++generation_;
  }
  void Refuse(const grpc::Status& status) {
    const std::lock_guard lock(mutex_);
    refuse_ = status;
  }
  int watches() {
    const std::lock_guard lock(mutex_);
    return watches_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<WatchPodsEvent> initial_;
  std::deque<WatchPodsEvent> events_;
  grpc::Status refuse_;
  int generation_ = 0;
  int watches_ = 0;
};

class PodsApiTest : public testing::Test {
 public:
  PodsApiTest() : socket_(Cat(testing::TempDir(), "podfence-pods-api-", getpid(), ".sock")) {}
  ~PodsApiTest() override {
    source_.reset();
    StopKubelet();
  }

 protected:
  void StartKubelet() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort(Cat("unix://", socket_), grpc::InsecureServerCredentials());
    builder.RegisterService(&kubelet_);
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
  }
  void StopKubelet() {
    if (server_ == nullptr) return;
    kubelet_.DropWatch();
    server_->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(2));
    server_.reset();
    std::remove(socket_.c_str());
  }
  void Start() {
    PodSourceOptions options;
    options.source = "podsapi";
    options.pods_api_socket = socket_;
    options.pods_api = MakePodsApiFeed;
    options.retry = {.first = absl::Milliseconds(20), .longest = absl::Milliseconds(100)};
    absl::StatusOr<std::unique_ptr<PodSource>> source = PodSource::Create(loop_.get(), options, {});
    ASSERT_TRUE(source.ok()) << source.status();
    source_ = *std::move(source);
  }
  bool Until(const std::function<bool()>& so) { return loop_.RunUntil(so); }
  bool Knows(const std::string& uid) const { return source_->cache().Find(uid) != nullptr; }

  const std::string socket_;
  FakeKubelet kubelet_;
  std::unique_ptr<grpc::Server> server_;
  Loop loop_;
  std::unique_ptr<PodSource> source_;
};

TEST_F(PodsApiTest, FollowsTheKubelet) {
  kubelet_.Initial({Event(v1alpha1::ADDED, Message("a")), Event(v1alpha1::ADDED, Message("b")),
                    Event(v1alpha1::INITIAL_SYNC_COMPLETE)});
  StartKubelet();
  Start();
  ASSERT_TRUE(Until([&] { return source_->synced(); }));
  EXPECT_TRUE(Knows("a") && Knows("b"));
  EXPECT_TRUE(source_->status().up);
  kubelet_.Send(Event(v1alpha1::ADDED, Message("c")));
  kubelet_.Send(Event(v1alpha1::MODIFIED, Message("a", "Failed")));
  kubelet_.Send(Event(v1alpha1::DELETED, Message("b")));
  ASSERT_TRUE(Until([&] { return Knows("c") && !Knows("b"); }));
  EXPECT_TRUE(source_->cache().Find("a")->is_terminal());
  EXPECT_EQ(source_->status().kind, "podsapi");
}

TEST_F(PodsApiTest, IsNotSyncedBeforeTheKubeletSaysSo) {
  kubelet_.Initial({Event(v1alpha1::ADDED, Message("a"))});
  StartKubelet();
  Start();
  ASSERT_TRUE(Until([&] { return kubelet_.watches() == 1; }));
  const absl::Time end = absl::Now() + absl::Milliseconds(200);
  Until([&] { return absl::Now() > end; });
  EXPECT_FALSE(source_->synced());
  EXPECT_FALSE(Knows("a"));
  kubelet_.Send(Event(v1alpha1::INITIAL_SYNC_COMPLETE));
  ASSERT_TRUE(Until([&] { return Knows("a"); }));
}

TEST_F(PodsApiTest, AnEndedWatchBeginsWithEverything) {
  kubelet_.Initial({Event(v1alpha1::ADDED, Message("a")), Event(v1alpha1::INITIAL_SYNC_COMPLETE)});
  StartKubelet();
  Start();
  ASSERT_TRUE(Until([&] { return Knows("a"); }));
  kubelet_.Initial({Event(v1alpha1::ADDED, Message("b")), Event(v1alpha1::INITIAL_SYNC_COMPLETE)});
  kubelet_.DropWatch();
  ASSERT_TRUE(Until([&] { return Knows("b") && !Knows("a"); }));
  EXPECT_EQ(source_->status().reconnects, 1u);
  EXPECT_EQ(source_->status().failures, 1u);
}

TEST_F(PodsApiTest, AKubeletThatIsNotThereYetOrRestartsIsWaitedFor) {
  kubelet_.Initial({Event(v1alpha1::ADDED, Message("a")), Event(v1alpha1::INITIAL_SYNC_COMPLETE)});
  Start();
  ASSERT_TRUE(Until([&] { return source_->status().failures >= 2; }));
  EXPECT_THAT(std::string(source_->status().last_error.message()), HasSubstr("feature gate PodsAPI"));
  StartKubelet();
  ASSERT_TRUE(Until([&] { return Knows("a"); }));
  StopKubelet();
  ASSERT_TRUE(Until([&] { return !source_->status().up; }));
  EXPECT_TRUE(Knows("a"));
  StartKubelet();
  ASSERT_TRUE(Until([&] { return source_->status().up; }));
}

TEST_F(PodsApiTest, AKubeletThatStartsOrIsTooOldIsSaid) {
  kubelet_.Refuse({grpc::StatusCode::FAILED_PRECONDITION, "Kubelet is initializing"});
  StartKubelet();
  Start();
  ASSERT_TRUE(Until([&] { return source_->status().failures > 0; }));
  EXPECT_THAT(std::string(source_->status().last_error.message()), HasSubstr("Kubelet is initializing"));
  kubelet_.Refuse({grpc::StatusCode::UNIMPLEMENTED, "unknown service v1alpha1.Pods"});
  ASSERT_TRUE(Until([&] {
    return source_->status().last_error.message().find("set podSource to apiserver") != absl::string_view::npos;
  }));
}

TEST_F(PodsApiTest, RefreshBeginsAnewButNotAllTheTime) {
  kubelet_.Initial({Event(v1alpha1::INITIAL_SYNC_COMPLETE)});
  StartKubelet();
  Start();
  ASSERT_TRUE(Until([&] { return source_->synced(); }));
  // A pod whose event the kubelet dropped.
  kubelet_.Initial({Event(v1alpha1::ADDED, Message("a")), Event(v1alpha1::INITIAL_SYNC_COMPLETE)});
  ASSERT_TRUE(Until([&] {
    source_->Refresh();
    return Knows("a");
  }));
  EXPECT_EQ(kubelet_.watches(), 2);
  EXPECT_EQ(source_->status().failures, 0u);
}

TEST_F(PodsApiTest, GarbageIsCountedAndWhatCannotBeTrustedEndsTheWatch) {
  kubelet_.Initial({Event(v1alpha1::ADDED, "\x0a\xff garbage"), Event(v1alpha1::INITIAL_SYNC_COMPLETE)});
  StartKubelet();
  Start();
  ASSERT_TRUE(Until([&] { return source_->synced(); }));
  EXPECT_EQ(source_->status().unreadable, 1u);
  kubelet_.Send(Event(v1alpha1::DELETED, "\x0a\xff garbage"));
  ASSERT_TRUE(Until([&] { return kubelet_.watches() == 2; }));
  EXPECT_EQ(source_->status().failures, 1u);
  EXPECT_FALSE(MakePodsApiFeed("relative", {}).ok());
}

TEST_F(PodsApiTest, EndsAtOnceWhileAWatchIsOpen) {
  kubelet_.Initial({Event(v1alpha1::INITIAL_SYNC_COMPLETE)});
  StartKubelet();
  Start();
  ASSERT_TRUE(Until([&] { return source_->synced(); }));
  const absl::Time begin = absl::Now();
  source_.reset();
  EXPECT_LT(absl::Now() - begin, absl::Seconds(2));
}

}  // namespace
}  // namespace podfence
