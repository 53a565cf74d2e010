#include "agent/kubernetes/pod_source.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "agent/core/text.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/kubernetes/fake_api.h"
#include "tests/unit/kubernetes/loop.h"

namespace podfence {
namespace {

using ::testing::HasSubstr;

// A feed that does nothing until it is stopped.
class IdleFeed final : public PodFeed {
 public:
  std::string Name() const override { return "nothing"; }
  void Run(PodSink&) override {
    while (!stopped_) std::this_thread::yield();
  }
  void Refresh() override {}
  void Stop() override { stopped_ = true; }

 private:
  std::atomic<bool> stopped_ = false;
};

PodFeedFactory Idle() {
  return [](const std::string&, const RetryDelays&) -> absl::StatusOr<std::unique_ptr<PodFeed>> {
    return std::make_unique<IdleFeed>();
  };
}

class PodSourceTest : public testing::Test {
 protected:
  PodSourceTest() {
    unsetenv("KUBERNETES_SERVICE_HOST");
    unsetenv("KUBERNETES_SERVICE_PORT");
    options_.node_name = "n1";
    options_.api_server_token_file = TempPath("no-token");
    options_.pods_api_socket = TempPath("no-socket");
    options_.retry = {.first = absl::Milliseconds(20), .longest = absl::Milliseconds(100)};
    options_.poll_interval = absl::Milliseconds(100);
  }

  absl::StatusOr<std::unique_ptr<PodSource>> Make() {
    return PodSource::Create(
        loop_.get(), options_,
        {.on_changed = [this](const std::vector<PodChange>&) { ++changes_; }, .on_synced = [this] { ++synced_; }});
  }
  std::string Chosen() {
    const absl::StatusOr<std::unique_ptr<PodSource>> source = Make();
    return source.ok() ? (*source)->status().kind : source.status().ToString();
  }

  Loop loop_;
  PodSourceOptions options_;
  int changes_ = 0;
  int synced_ = 0;
};

TEST_F(PodSourceTest, AutoTakesTheFirstThatIsThere) {
  options_.pods_api = Idle();
  EXPECT_EQ(Chosen(), "kubelet");
  // The environment alone is no access to the API: every pod has it, a token not.
  setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1", 1);
  setenv("KUBERNETES_SERVICE_PORT", "1", 1);
  EXPECT_EQ(Chosen(), "kubelet");
  std::ofstream(options_.api_server_token_file) << "token";
  EXPECT_EQ(Chosen(), "apiserver");
  // A socket that nobody listens on is left over.
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  options_.pods_api_socket.copy(address.sun_path, sizeof address.sun_path - 1);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  EXPECT_EQ(Chosen(), "apiserver");
  ASSERT_EQ(listen(fd, 1), 0);
  EXPECT_EQ(Chosen(), "podsapi");
  options_.pods_api = nullptr;
  EXPECT_EQ(Chosen(), "apiserver");
  close(fd);
  std::remove(options_.pods_api_socket.c_str());
  std::remove(options_.api_server_token_file.c_str());
}

TEST_F(PodSourceTest, AutoHearsAnUrlAlsoABadOne) {
  options_.api_server = "http://127.0.0.1:1";
  EXPECT_EQ(Chosen(), "apiserver");
  options_.api_server = "127.0.0.1:1";
  EXPECT_THAT(Chosen(), HasSubstr("apiServer: \"127.0.0.1:1\" does not begin with http"));
}

TEST_F(PodSourceTest, WhatCannotBeOfferedIsSaid) {
  options_.source = "podsapi";
  EXPECT_THAT(Chosen(), HasSubstr("built without the kubelet's Pods API"));
  options_.source = "apiserver";
  EXPECT_THAT(Chosen(), HasSubstr("set apiServer, or KUBERNETES_SERVICE_HOST"));
  options_.api_server = "http://127.0.0.1:1";
  options_.node_name = "";
  EXPECT_THAT(Chosen(), HasSubstr("needs nodeName"));
  options_.source = "kubelet";
  options_.kubelet_pods_url = "x";
  EXPECT_THAT(Chosen(), HasSubstr("kubeletPodsURL: "));
  options_.source = "etcd";
  EXPECT_THAT(Chosen(), HasSubstr("podSource \"etcd\" is unknown"));
}

class KubeletPodsTest : public PodSourceTest {
 protected:
  KubeletPodsTest() {
    options_.source = "kubelet";
    options_.kubelet_pods_url = kubelet_.url() + "/pods";
  }
  void Answer(const std::vector<nlohmann::json>& pods) {
    kubelet_.Answer([body = ListJson(pods, "")](const FakeApi::Seen& seen) {
      return seen.path == "/pods" ? FakeApi::Reply{200, body} : FakeApi::Reply{404, ""};
    });
  }
  FakeApi kubelet_;
};

TEST_F(KubeletPodsTest, IsReadAgainAndAgainAndToldOnlyWhenItChanged) {
  Answer({PodJson("a", "uid-a", "1")});
  const absl::StatusOr<std::unique_ptr<PodSource>> source = Make();
  ASSERT_TRUE(source.ok()) << source.status();
  ASSERT_TRUE(loop_.RunUntil([&] { return kubelet_.seen().size() >= 4; }));
  EXPECT_EQ(changes_, 1);
  EXPECT_EQ(synced_, 1);
  EXPECT_EQ((*source)->status().lists, 1u);
  const absl::Time before = *(*source)->status().last_sync;
  Answer({PodJson("b", "uid-b", "2")});
  ASSERT_TRUE(loop_.RunUntil([&] { return changes_ == 2; }));
  EXPECT_NE((*source)->cache().Find("uid-b"), nullptr);
  EXPECT_EQ((*source)->cache().Find("uid-a"), nullptr);
  EXPECT_GT(*(*source)->status().last_sync, before);
}

TEST_F(KubeletPodsTest, RefreshReadsItNow) {
  Answer({});
  options_.poll_interval = absl::Hours(1);
  const absl::StatusOr<std::unique_ptr<PodSource>> source = Make();
  ASSERT_TRUE(source.ok()) << source.status();
  ASSERT_TRUE(loop_.RunUntil([&] { return (*source)->synced(); }));
  Answer({PodJson("a", "uid-a", "1")});
  (*source)->Refresh();
  ASSERT_TRUE(loop_.RunUntil([&] { return changes_ == 1; }));
  // A runtime that shows unknown pods in a loop is no flood of requests.
  const size_t asked = kubelet_.seen().size();
  const absl::Time end = absl::Now() + absl::Milliseconds(550);
  loop_.RunUntil([&] {
    (*source)->Refresh();
    return absl::Now() > end;
  });
  EXPECT_LE(kubelet_.seen().size() - asked, 7u);
}

TEST_F(KubeletPodsTest, GarbageIsNoEmptyNode) {
  Answer({PodJson("a", "uid-a", "1")});
  const absl::StatusOr<std::unique_ptr<PodSource>> source = Make();
  ASSERT_TRUE(source.ok()) << source.status();
  ASSERT_TRUE(loop_.RunUntil([&] { return (*source)->synced(); }));
  kubelet_.Answer([](const FakeApi::Seen&) { return FakeApi::Reply{200, "{}"}; });
  ASSERT_TRUE(loop_.RunUntil([&] { return (*source)->status().failures > 0; }));
  EXPECT_NE((*source)->cache().Find("uid-a"), nullptr);
  EXPECT_THAT(std::string((*source)->status().last_error.message()), HasSubstr("/pods: is no v1.PodList"));
  Answer({PodJson("a", "uid-a", "1")});
  ASSERT_TRUE(loop_.RunUntil([&] { return (*source)->status().up; }));
  EXPECT_EQ((*source)->status().reconnects, 1u);
}

TEST_F(KubeletPodsTest, ForbiddenNamesTheRule) {
  kubelet_.Answer([](const FakeApi::Seen&) { return FakeApi::Reply{403, "Forbidden (user=x, verb=get)"}; });
  const absl::StatusOr<std::unique_ptr<PodSource>> source = Make();
  ASSERT_TRUE(source.ok()) << source.status();
  ASSERT_TRUE(loop_.RunUntil([&] { return (*source)->status().failures > 0; }));
  EXPECT_THAT(std::string((*source)->status().last_error.message()), HasSubstr("get on nodes/pods"));
}

}  // namespace
}  // namespace podfence
