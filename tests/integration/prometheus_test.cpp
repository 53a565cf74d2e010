// A real Prometheus scrapes the agent's HTTP server and answers queries about what it got.

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <httplib.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "agent/core/text.h"
#include "agent/server/http_server.h"
#include "metrics/exporter.h"

namespace podfence {
namespace {

constexpr char kPrometheus[] = "/usr/bin/prometheus";

int FreePort() {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  EXPECT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), size), 0);
  EXPECT_EQ(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), 0);
  close(fd);
  return ntohs(address.sin_port);
}

// Prometheus as a process of its own, on a folder that goes with it.
class Prometheus {
 public:
  explicit Prometheus(int target) : port_(FreePort()) {
    char name[] = "/tmp/podfence-prometheus.XXXXXX";
    folder_ = mkdtemp(name);
    std::ofstream(folder_ + "/prometheus.yml")
        << "global: {scrape_interval: 1s}\nscrape_configs:\n  - job_name: podfence\n    static_configs:\n"
        << "      - targets: [\"127.0.0.1:" << target << "\"]\n";
    pid_ = fork();
    if (pid_ == 0) {
      const int log = open((folder_ + "/log").c_str(), O_WRONLY | O_CREAT, 0600);
      dup2(log, STDERR_FILENO);
      execl(kPrometheus, kPrometheus, Cat("--config.file=", folder_, "/prometheus.yml").c_str(),
            Cat("--storage.tsdb.path=", folder_, "/data").c_str(),
            Cat("--web.listen-address=127.0.0.1:", port_).c_str(), nullptr);
      _exit(127);
    }
  }
  ~Prometheus() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    std::filesystem::remove_all(folder_);
  }

  // The value of an instant query that has one result; polls, since a scrape must come first.
  double Query(const std::string& query) const {
    httplib::Client client("127.0.0.1", port_);
    for (int tries = 0; tries < 120; ++tries) {
      const httplib::Result answer = client.Get("/api/v1/query", httplib::Params{{"query", query}}, httplib::Headers{});
      if (answer && answer->status == 200) {
        const nlohmann::json result = nlohmann::json::parse(answer->body)["data"]["result"];
        if (result.size() == 1) return std::stod(result[0]["value"][1].get<std::string>());
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(500));
    }
    std::ifstream log(folder_ + "/log");
    ADD_FAILURE() << query << ": no answer; Prometheus' log:\n" << log.rdbuf();
    return -1;
  }

 private:
  int port_;
  std::string folder_;
  pid_t pid_ = -1;
};

TEST(PrometheusTest, ScrapesAndAnswers) {
  if (access(kPrometheus, X_OK) != 0) GTEST_SKIP() << kPrometheus << " (package prometheus) is not installed";
  auto snapshot = std::make_shared<Snapshot>();
  snapshot->version = "1.2.3";
  snapshot->counters.Allocations(Resource::kCpu, Source::kPod) = 5;
  snapshot->counters.Assignments(Resource::kMemory, Assignment::kPodExclusive) = 2;
  const auto server = HttpServer::Start(
      "127.0.0.1", 0,
      {.snapshot = [&] { return snapshot; },
       .render_metrics = [](const Snapshot& s) { return RenderMetrics(s, ReadProcessUsage()); },
       .explain = [](std::string_view) -> absl::StatusOr<nlohmann::json> { return absl::NotFoundError("none"); }});
  ASSERT_TRUE(server.ok()) << server.status();
  const Prometheus prometheus((*server)->port());
  EXPECT_EQ(prometheus.Query("up{job=\"podfence\"}"), 1);
  EXPECT_EQ(prometheus.Query("resource_manager_allocations_total{resource_name=\"cpu\",source=\"pod\"}"), 5);
  EXPECT_EQ(prometheus.Query("sum(resource_manager_container_assignments)"), 2);
  EXPECT_EQ(prometheus.Query("count(podfence_findings_total)"), 12);
}

}  // namespace
}  // namespace podfence
