#include "agent/handover.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <future>
#include <string>

#include "agent/runtime_book_json.h"

namespace podfence {
namespace {

using testing::HasSubstr;

class HandoverTest : public testing::Test {
 protected:
  HandoverTest() {
    std::string name = testing::TempDir() + "handover.XXXXXX";
    EXPECT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
    EXPECT_GE(sd_event_new(&loop_), 0);
  }
  void TearDown() override {
    server_.reset();
    sd_event_unref(loop_);
    std::filesystem::remove_all(directory_);
  }

  void Listen() {
    absl::StatusOr<std::unique_ptr<HandoverServer>> server =
        HandoverServer::Listen(loop_, directory_,
                               {.give = [this] { return Give(); },
                                .given = [this](pid_t successor) { successor_ = successor; },
                                .take_back = [](const Handover&) {}});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }

  absl::StatusOr<Handover> Give() {
    ++asked_;
    if (asked_ <= busy_) return absl::UnavailableError("a call is in progress");
    if (!refusal_.ok()) return refusal_;
    Handover handover{.lock = UniqueFd(open((directory_ + "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)),
                      .nri = NriSession{.socket = UniqueFd(ours_.Release()),
                                        .runtime_name = "containerd",
                                        .runtime_version = "v2.4.2",
                                        .nri_version = "0.12.3",
                                        .request_timeout = absl::Seconds(2),
                                        .events = 0x2fff,
                                        .last_stream = 41,
                                        .next_stream = 7},
                      .book = book_};
    return handover;
  }

  // The other side asks while this one's loop runs.
  absl::StatusOr<Handover> Ask() {
    std::future<absl::StatusOr<Handover>> asked =
        std::async(std::launch::async, [this] { return AskForHandover(directory_, absl::Seconds(5)); });
    while (asked.wait_for(std::chrono::seconds(0)) != std::future_status::ready) sd_event_run(loop_, 10000);
    return asked.get();
  }

  std::string directory_;
  sd_event* loop_ = nullptr;
  std::unique_ptr<HandoverServer> server_;
  RuntimeBook book_;
  UniqueFd ours_;
  absl::Status refusal_;
  int busy_ = 0;
  int asked_ = 0;
  pid_t successor_ = 0;
};

NriPod Sandbox() {
  return {.id = "s1",
          .name = "ml",
          .uid = "u1",
          .ns = "default",
          .cgroup_parent = "/kubepods/podu1",
          .cgroups_path = "/kubepods/podu1/s1"};
}

NriContainer Training() {
  return {.id = "c1",
          .pod_id = "s1",
          .name = "training",
          .state = NriContainerState::kRunning,
          .pid = 77,
          .cgroups_path = "/kubepods/podu1/c1",
          .started_at = 5};
}

TEST_F(HandoverTest, PassesTheConnectionAndWhatTheRuntimeTold) {
  ASSERT_TRUE(book_.PutSandbox(Sandbox()).ok());
  ASSERT_TRUE(book_.PutContainer(Sandbox(), Training(), "/kubepods/podu1/u1-shared/c1").ok());
  int pair[2] = {-1, -1};
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
  ours_ = UniqueFd(pair[0]);
  const UniqueFd runtime(pair[1]);
  busy_ = 2;
  Listen();
  absl::StatusOr<Handover> handover = Ask();
  ASSERT_TRUE(handover.ok()) << handover.status();
  EXPECT_EQ(asked_, 3) << "it asks again while the other side is busy";
  EXPECT_EQ(successor_, getpid());
  ASSERT_TRUE(handover->nri.has_value());
  EXPECT_EQ(handover->nri->runtime_version, "v2.4.2");
  EXPECT_EQ(handover->nri->request_timeout, absl::Seconds(2));
  EXPECT_EQ(handover->nri->events, 0x2fffU);
  EXPECT_EQ(handover->nri->last_stream, 41U);
  EXPECT_EQ(handover->nri->next_stream, 7U);
  // The socket is the runtime's other end, the lock a file that is open.
  ASSERT_EQ(write(runtime.get(), "x", 1), 1);
  char byte = 0;
  EXPECT_EQ(read(handover->nri->socket.get(), &byte, 1), 1);
  EXPECT_EQ(byte, 'x');
  EXPECT_GE(fcntl(handover->lock.get(), F_GETFD), 0);
  const RuntimeBook::Container* training = handover->book.Find("u1", "training");
  ASSERT_NE(training, nullptr);
  EXPECT_EQ(training->nri.id, "c1");
  EXPECT_EQ(training->nri.pid, 77U);
  EXPECT_EQ(training->path, "podu1/u1-shared/c1");
  EXPECT_EQ(training->phase, ContainerPhase::kRunning);
  EXPECT_EQ(training->starts, 1);
  EXPECT_TRUE(handover->book.Find("u1")->guaranteed());
  EXPECT_EQ(handover->book.Find("u1")->pause_path, "podu1/s1");
}

TEST_F(HandoverTest, TheReasonOfARefusalIsTold) {
  refusal_ = absl::InternalError("copy the lock: too many open files");
  Listen();
  const absl::Status status = Ask().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("too many open files"));
  EXPECT_EQ(successor_, 0);
}

TEST_F(HandoverTest, NobodyIsThere) {
  EXPECT_EQ(AskForHandover(directory_, absl::Seconds(5)).status().code(), absl::StatusCode::kNotFound);
  Listen();
  server_.reset();
  EXPECT_EQ(AskForHandover(directory_, absl::Seconds(5)).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(HandoverTest, AnAgentThatHangsIsWaitedForWithABound) {
  Listen();
  EXPECT_EQ(AskForHandover(directory_, absl::Milliseconds(100)).status().code(), absl::StatusCode::kDeadlineExceeded);
}

TEST(RuntimeBookJsonTest, WhatIsNoBookIsAnErrorWithItsPlace) {
  const auto message = [](const char* text) {
    return std::string(BookFromJson(nlohmann::json::parse(text)).status().message());
  };
  EXPECT_THAT(message(R"({"u1": 3})"), HasSubstr("told"));
  EXPECT_THAT(message(R"({"u1": {"id": "s"}})"), HasSubstr("'name' not found"));
  EXPECT_THAT(message(R"({"u1": {"id": "s", "name": "n", "namespace": "d", "cgroup_parent": "nowhere", "pause": "",
                                 "sandbox": true, "containers": {}}})"),
              HasSubstr("pod u1: "));
  EXPECT_THAT(message(R"({"u1": {"id": "s", "name": "n", "namespace": "d", "cgroup_parent": "/kubepods/podu1",
                                 "pause": "", "sandbox": true, "containers": {"app": {"phase": 9}}}})"),
              HasSubstr("no phase 9"));
}

}  // namespace
}  // namespace podfence
