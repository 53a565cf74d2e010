// A real Prometheus scrapes the agent's HTTP server and answers queries about what it got.

#include "tests/integration/prometheus.h"

#include <memory>

#include "agent/server/http_server.h"
#include "metrics/exporter.h"

namespace podfence {
namespace {

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
