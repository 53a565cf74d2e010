#include "agent/server/http_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <future>
#include <iterator>
#include <thread>

#include "agent/core/text.h"
#include "agent/server/snapshot_json.h"

namespace podfence {
namespace {

using ::testing::HasSubstr;

Snapshot FullSnapshot() {
  Snapshot snapshot;
  snapshot.version = "1.2.3";
  snapshot.mode = "local";
  snapshot.time = 1000.5;
  snapshot.monotonic = 12.25;
  snapshot.started = 900;
  snapshot.machine.name = "test";
  snapshot.machine.nodes = {{.id = 0,
                             .memory = 1 << 30,
                             .distances = {10},
                             .hugepages = {},
                             .cores = {{.socket = 0, .l3 = 0, .threads = {0, 1}}}}};
  snapshot.machine.offline = {5};
  snapshot.policy.reserved = {{"cpu", Quantity::FromInt(1)}};
  snapshot.policy.reserved_memory = {{.numa_node = 0, .limits = {{"memory", *Quantity::Parse("1Gi")}}}};
  snapshot.reserved_cpus = {0};
  snapshot.state.shared_cpus = {0};
  ContainerView container;
  container.name = "main";
  container.kind = "app";
  container.phase = "running";
  container.assignment = "node_exclusive";
  container.cpus = container.effective_cpus = {1};
  container.mems = NumaSet({0});
  container.promised_cpus = 1;
  container.cpu_seconds = 3.5;
  container.throttling = {
      {.cgroup = "podfence", .limited = true, .periods = 2, .throttled_periods = 1, .throttled_seconds = 0.5}};
  container.foreign_seconds = {1, 2, 3, 4, 5};
  container.escaped_seconds = 0.25;
  container.irq_seconds = 0.5;
  container.run_queue = {.waits = Histogram({1}), .p50_seconds = 0.1, .p999_seconds = 0.9};
  snapshot.pods = {{.uid = "u", .containers = {container}}};
  snapshot.rejected = {{.pod = "default/x", .source = "x.yaml", .reason = "Invalid", .message = "m"}};
  snapshot.probes = {{.name = "sched_switch", .running = true, .hook = "h", .runs = 7, .run_seconds = 0.5}};
  snapshot.findings = {{.kind = "intrusion",
                        .pod = "default/x",
                        .container = "main",
                        .cgroup = "/c",
                        .file = "f",
                        .cpu = 3,
                        .expected = "e",
                        .seen = "s",
                        .foreign_class = "host",
                        .by = FindingActor{.pid = 7, .comm = "sh", .cgroup = "user.slice"},
                        .duration_seconds = 0.5,
                        .repaired = true,
                        .message = "m",
                        .since = 2,
                        .last_seen = 3,
                        .count = 2,
                        .active = true}};
  snapshot.verification = {.state = "findings", .reasons = {{.what = "w", .reason = "r"}}};
  snapshot.repair_seconds = Histogram({1, 2});
  snapshot.repair_seconds.Observe(1.5);
  snapshot.totals.run_queue.emplace("exclusive", Histogram({1}));
  snapshot.collectors = {{.name = "kernel", .up = true, .duration_seconds = 0.1, .errors = 4}};
  snapshot.totals.foreign_seconds = {5, 4, 3, 2, 1};
  snapshot.totals.interrupts = {{.cpu = 1, .hard_seconds = 0.5, .soft_seconds = 0.25}};
  snapshot.finding_totals = {{"drift", 2}};
  snapshot.counters.Allocations(Resource::kCpu, Source::kPod) = 5;
  snapshot.decisions = {2, 1};
  return snapshot;
}

TEST(SnapshotJsonTest, EveryFieldComesBack) {
  const nlohmann::json json = SnapshotToJson(FullSnapshot());
  const absl::StatusOr<Snapshot> back = SnapshotFromJson(json);
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(SnapshotToJson(*back), json);
  EXPECT_EQ(back->pods[0].containers[0].foreign_seconds[4], 5);
  EXPECT_EQ(back->pods[0].containers[0].irq_seconds, 0.5);
  EXPECT_EQ(back->pods[0].containers[0].softirq_seconds, std::nullopt) << "not measured is null, and not 0";
  EXPECT_EQ(back->totals.interrupts.at(0).soft_seconds, 0.25);
  EXPECT_EQ(back->findings, FullSnapshot().findings);
  EXPECT_EQ(back->repair_seconds, FullSnapshot().repair_seconds);
  EXPECT_EQ(back->pods[0].containers[0].run_queue->p999_seconds, 0.9);
  EXPECT_EQ(back->policy.reserved_memory[0].limits.at("memory").ToString(), "1Gi");
}

TEST(SnapshotJsonTest, FindingsHaveEveryKeyByItsStableName) {
  EXPECT_EQ(FindingsToJson(FullSnapshot()), nlohmann::json::parse(R"({
    "time": 1000.5, "state": "findings", "reasons": [{"what": "w", "reason": "r"}], "findings": [{
      "kind": "intrusion", "pod": "default/x", "container": "main", "cgroup": "/c", "file": "f", "cpu": 3,
      "expected": "e", "seen": "s", "class": "host", "by": {"pid": 7, "comm": "sh", "cgroup": "user.slice"},
      "duration_seconds": 0.5, "repaired": true, "message": "m", "since": 2.0, "last_seen": 3.0, "count": 2,
      "active": true}]})"));
  const nlohmann::json bare = FindingToJson({.kind = "misfit"});
  for (const char* key : {"cpu", "by", "duration_seconds"}) EXPECT_TRUE(bare.at(key).is_null()) << key;
}

TEST(SnapshotJsonTest, AWrongShapeIsAnErrorThatNamesTheKey) {
  nlohmann::json json = SnapshotToJson(FullSnapshot());
  json.erase("probes");
  EXPECT_THAT(std::string(SnapshotFromJson(json).status().message()), HasSubstr("probes"));
  json = SnapshotToJson(FullSnapshot());
  json["pods"][0]["containers"][0]["cpus"] = "9-1";
  EXPECT_TRUE(absl::IsInvalidArgument(SnapshotFromJson(json).status()));
}

class HttpServerTest : public ::testing::Test {
 protected:
  void Start(std::shared_ptr<const Snapshot> snapshot) {
    snapshot_ = std::move(snapshot);
    absl::StatusOr<std::unique_ptr<HttpServer>> server =
        HttpServer::Start("127.0.0.1", 0,
                          {.snapshot = [this] { return snapshot_; },
                           .render_metrics = [](const Snapshot& s) { return "version " + s.version + "\n"; },
                           .explain = [](std::string_view pod) -> absl::StatusOr<nlohmann::json> {
                             if (pod != "default/x") return absl::NotFoundError(Cat("no decision on ", pod));
                             return nlohmann::json({{"pod", pod}});
                           }});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    client_ = std::make_unique<httplib::Client>("127.0.0.1", server_->port());
  }
  httplib::Result Get(const std::string& path) { return client_->Get(path); }

  std::shared_ptr<const Snapshot> snapshot_;
  std::unique_ptr<HttpServer> server_;
  std::unique_ptr<httplib::Client> client_;
};

TEST_F(HttpServerTest, ServesEveryRoute) {
  Start(std::make_shared<const Snapshot>(FullSnapshot()));
  EXPECT_EQ(Get("/-/healthy")->status, 200);
  EXPECT_EQ(Get("/-/ready")->status, 200);
  EXPECT_EQ(Get("/metrics")->body, "version 1.2.3\n");
  EXPECT_THAT(Get("/metrics")->get_header_value("Content-Type"), HasSubstr("version=0.0.4"));
  EXPECT_EQ(nlohmann::json::parse(Get("/api/v1/state")->body), SnapshotToJson(FullSnapshot()));
  EXPECT_EQ(nlohmann::json::parse(Get("/api/v1/findings")->body), FindingsToJson(FullSnapshot()));
  EXPECT_THAT(Get("/")->body, HasSubstr("href=\"/metrics\""));
  EXPECT_EQ(Get("/api/v1/explain?pod=default%2Fx")->status, 200);
  EXPECT_EQ(Get("/api/v1/explain?pod=y")->status, 404);
  EXPECT_EQ(Get("/api/v1/explain")->status, 400);
  EXPECT_EQ(Get("/nowhere")->status, 404);
  EXPECT_EQ(client_->Post("/api/v1/state")->status, 404) << "read-only";
  EXPECT_EQ(client_->Post("/api/v1/state", "x", "text/plain")->status, 413) << "no body is read";
}

TEST_F(HttpServerTest, IsHealthyButNotReadyBeforeTheFirstSnapshot) {
  Start(nullptr);
  EXPECT_EQ(Get("/-/healthy")->status, 200);
  for (const char* path : {"/-/ready", "/metrics", "/api/v1/state", "/api/v1/findings"})
    EXPECT_EQ(Get(path)->status, 503) << path;
}

TEST_F(HttpServerTest, AnswersManyAtOnce) {
  Start(std::make_shared<const Snapshot>(FullSnapshot()));
  std::atomic<int> good = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      httplib::Client client("127.0.0.1", server_->port());
      for (int j = 0; j < 10; ++j) {
        const httplib::Result result = client.Get("/api/v1/state");
        if (result && result->status == 200) ++good;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(good, 80);
}

// Whoever connects and sends nothing, or sends slowly.
class IdlePeer {
 public:
  explicit IdlePeer(int port) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0) << strerror(errno);
  }
  IdlePeer(const IdlePeer&) = delete;
  ~IdlePeer() { close(fd_); }

 private:
  int fd_;
};

TEST_F(HttpServerTest, IdlePeersHoldFewDescriptorsAndAreDropped) {
  Start(std::make_shared<const Snapshot>(FullSnapshot()));
  const auto descriptors = [] {
    const std::filesystem::directory_iterator all("/proc/self/fd");
    return std::distance(begin(all), end(all));
  };
  const auto before = descriptors();
  std::vector<std::unique_ptr<IdlePeer>> peers;
  for (int i = 0; i < 24; ++i) peers.push_back(std::make_unique<IdlePeer>(server_->port()));
  for (int i = 0; i < 10; ++i) {
    // One at each end, and of the server's no more than are served and wait.
    EXPECT_LE(descriptors() - before, 24 + 16);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  client_->set_read_timeout(60);
  const httplib::Result result = Get("/-/healthy");
  ASSERT_TRUE(result) << "it was not answered after those who came first were dropped";
  EXPECT_EQ(result->status, 200);
}

TEST_F(HttpServerTest, ItsPortIsFreeAtOnceWhileARequestIsInProgress) {
  std::promise<void> asked;
  std::promise<void> go_on;
  auto full = std::make_shared<const Snapshot>(FullSnapshot());
  absl::StatusOr<std::unique_ptr<HttpServer>> server = HttpServer::Start(
      "127.0.0.1", 0,
      {.snapshot =
           [&] {
             asked.set_value();
             go_on.get_future().wait();
             return full;
           },
       .render_metrics = [](const Snapshot& snapshot) { return Cat("version ", snapshot.version, "\n"); },
       .explain = {}});
  ASSERT_TRUE(server.ok()) << server.status();
  const int port = (*server)->port();
  std::future<std::string> answer = std::async(std::launch::async, [port] {
    const httplib::Result result = httplib::Client("127.0.0.1", port).Get("/metrics");
    return result ? result->body : httplib::to_string(result.error());
  });
  asked.get_future().wait();
  (*server)->StopListening();
  const auto next = HttpServer::Start("127.0.0.1", port, {});
  EXPECT_TRUE(next.ok()) << next.status();
  go_on.set_value();
  EXPECT_EQ(answer.get(), "version 1.2.3\n") << "it is answered all the same";
}

TEST_F(HttpServerTest, ATakenPortIsAnErrorThatNamesIt) {
  Start(nullptr);
  const auto second = HttpServer::Start("127.0.0.1", server_->port(), {});
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(std::to_string(server_->port())));
}

}  // namespace
}  // namespace podfence
