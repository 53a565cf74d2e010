#include "metrics/exporter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <set>
#include <sstream>

#include "agent/core/text.h"

namespace podfence {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

Snapshot OnePod(bool per_pod) {
  Snapshot snapshot;
  snapshot.version = "1.2.3";
  snapshot.mode = "local";
  snapshot.started = 900;
  snapshot.per_pod_metrics = per_pod;
  snapshot.machine.nodes = {
      {.id = 0,
       .memory = 1 << 30,
       .distances = {10},
       .hugepages = {},
       .cores = {{.socket = 0, .l3 = 0, .threads = {0, 1}}, {.socket = 0, .l3 = 0, .threads = {2, 3}}}}};
  snapshot.reserved_cpus = {0};
  snapshot.state.shared_cpus = {0, 1};
  snapshot.state.nodes = {{.id = 0,
                           .assignments = 1,
                           .cells = NumaSet({0}),
                           .memory = {{.resource = "memory", .allocatable = 100, .free = 60, .reserved = 40}}}};
  auto pod = std::make_shared<Pod>();
  pod->name = "db";
  pod->uid = "u";
  const ContainerAllocation own{.name = "main",
                                .cpus = CpuSet({2, 3}),
                                .memory = {},
                                .cpu_isolation = Isolation::kContainer,
                                .memory_isolation = Isolation::kHost};
  snapshot.state.pods["u"] = {.pod = pod, .containers = {own}, .cpus = std::nullopt, .memory = {}};
  ContainerView container;
  container.name = "main";
  container.assignment = "node_exclusive";
  container.cpus = {2, 3};
  container.promised_cpus = 2;
  container.cpu_seconds = 7;
  snapshot.pods = {{.uid = "u", .containers = {container}}};
  snapshot.probes = {{.name = "sched_switch", .running = true, .runs = 5, .run_seconds = 0.25}};
  snapshot.collectors = {{.name = "kernel", .up = true, .duration_seconds = 0.125, .errors = 1}};
  snapshot.pods[0].containers[0].run_queue = {.waits = Histogram({0.001, 0.1})};
  snapshot.pods[0].containers[0].run_queue->waits.Observe(0.05);
  snapshot.findings = {{.kind = "drift", .message = "m", .active = true}};
  snapshot.verification.state = "findings";
  snapshot.repair_seconds = Histogram({0.01, 1});
  snapshot.repair_seconds.Observe(0.01);
  snapshot.repair_seconds.Observe(5);
  snapshot.totals.shared_throttled_seconds = 0.75;
  snapshot.totals.run_queue = {{"exclusive", Histogram({0.001})}, {"pod_shared", Histogram({0.001})}};
  snapshot.finding_totals = {{"drift", 3}};
  snapshot.nri = NriView{.connected = true,
                         .runtime = "containerd v2.4.2",
                         .fails_closed = true,
                         .registrations = 2,
                         .handlers = {{.method = "CreateContainer",
                                       .calls = 1,
                                       .failures = 1,
                                       .longest_seconds = 0.02,
                                       .seconds = Histogram({0.01, 0.1})}}};
  snapshot.nri->handlers[0].seconds.Observe(0.02);
  snapshot.pod_source = PodSourceView{.kind = "podsapi", .description = "", .up = true, .error = "", .failures = 4};
  snapshot.totals.foreign_seconds = {0, 0.5, 0, 0, 2};
  snapshot.totals.interrupts = {{.cpu = 2, .hard_seconds = 0.25, .soft_seconds = 0.5}};
  snapshot.counters.Allocations(Resource::kCpu, Source::kNode) = 2;
  snapshot.counters.Assignments(Resource::kMemory, Assignment::kPodShared) = 3;
  return snapshot;
}

std::string Render(const Snapshot& snapshot) {
  return RenderMetrics(snapshot, {.cpu_seconds = 1.5, .resident_bytes = 1 << 20, .open_fds = 9});
}

std::string ReadAll(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST(ExporterTest, TheWholeExpositionIsTheGoldenOne) {
  const std::string golden = Cat(PODFENCE_SOURCE_DIR, "/tests/data/metrics.golden");
  EXPECT_EQ(Render(OnePod(/*per_pod=*/true)), ReadAll(golden))
      << "where the change is meant, the new exposition belongs into tests/data/metrics.golden";
}

TEST(ExporterTest, TheReferenceCountersExistAtZeroFromTheStart) {
  const std::string text = Render(Snapshot());
  for (const char* resource : {"cpu", "memory"}) {
    for (const char* source : {"pod", "node"}) {
      for (const char* name : {"resource_manager_allocations_total", "resource_manager_allocation_errors_total"}) {
        EXPECT_THAT(text, HasSubstr(Cat(name, "{resource_name=\"", resource, "\",source=\"", source, "\"} 0\n")));
      }
    }
    for (const char* type : {"node_exclusive", "pod_exclusive", "pod_shared"}) {
      EXPECT_THAT(text, HasSubstr(Cat("resource_manager_container_assignments{resource_name=\"", resource,
                                      "\",assignment_type=\"", type, "\"} 0\n")));
    }
  }
}

TEST(ExporterTest, SeriesOfSingleContainersOnlyWhereAskedFor) {
  EXPECT_THAT(Render(OnePod(false)), Not(HasSubstr("podfence_container_")));
  EXPECT_THAT(Render(OnePod(true)), HasSubstr("podfence_container_cpu_seconds_total{namespace=\"default\",pod=\"db\""));
}

TEST(ExporterTest, AProbeThatIsTurnedOffIsNotOneThatTheKernelRefuses) {
  Snapshot snapshot = OnePod(false);
  snapshot.probes.push_back({.name = "refused", .running = false, .reason = "Operation not permitted"});
  snapshot.probes.push_back({.name = "interrupts", .reason = "off: measureInterrupts", .wanted = false});
  EXPECT_THAT(Render(snapshot), HasSubstr("podfence_probe_up{probe=\"refused\"} 0\n"));
  EXPECT_THAT(Render(snapshot), Not(HasSubstr("probe=\"interrupts\"")));
}

TEST(ExporterTest, OneStateOfTheVerificationIsTheCase) {
  Snapshot snapshot;
  EXPECT_THAT(Render(snapshot), HasSubstr("podfence_verification_state{state=\"clean\"} 0\n"
                                          "podfence_verification_state{state=\"findings\"} 0\n"
                                          "podfence_verification_state{state=\"unknown\"} 1\n"))
      << "before the first look";
  snapshot.verification.state = "clean";
  EXPECT_THAT(Render(snapshot), HasSubstr("podfence_verification_state{state=\"clean\"} 1\n"));
}

TEST(ExporterTest, EveryCpuIsInOnePool) {
  const std::string text = Render(OnePod(false));
  for (const auto& [pool, count] :
       {std::pair{"exclusive", 2}, {"pod_shared", 0}, {"node_shared", 1}, {"reserved", 1}}) {
    EXPECT_THAT(text, HasSubstr(Cat("podfence_cpus{numa_node=\"0\",pool=\"", pool, "\"} ", count, "\n")));
  }
}

TEST(ExporterTest, WhatNobodySharesOfABubbleIsStillThePods) {
  Snapshot snapshot = OnePod(false);
  snapshot.state.pods["u"].cpus = CpuSet({1, 2, 3});
  const std::string text = Render(snapshot);
  for (const auto& [pool, count] :
       {std::pair{"exclusive", 2}, {"pod_shared", 1}, {"node_shared", 0}, {"reserved", 1}}) {
    EXPECT_THAT(text, HasSubstr(Cat("podfence_cpus{numa_node=\"0\",pool=\"", pool, "\"} ", count, "\n")));
  }
}

// However many pods, findings and kinds there are, a node exports the same series.
TEST(ExporterTest, TheSeriesOfANodeAreBounded) {
  const auto series = [](const Snapshot& snapshot) {
    std::set<std::string> names;
    std::istringstream text(Render(snapshot));
    for (std::string line; std::getline(text, line);) {
      if (!line.starts_with('#')) names.insert(line.substr(0, line.rfind(' ')));
    }
    return names;
  };
  const Snapshot one = OnePod(false);
  Snapshot many = one;
  for (int i = 0; i < 100; ++i) {
    const std::string id = Cat("pod-", i);
    PodAllocation allocation = one.state.pods.at("u");
    auto pod = std::make_shared<Pod>(*allocation.pod);
    pod->name = pod->uid = id;
    allocation.pod = std::move(pod);
    many.state.pods[id] = std::move(allocation);
    many.pods.push_back({.uid = id, .containers = one.pods[0].containers});
    many.rejected.push_back({.pod = id, .source = id, .reason = id, .message = id});
    many.findings.push_back({.kind = id, .pod = id, .container = id, .message = id, .active = true});
    many.finding_totals[id] = 1;
  }
  EXPECT_EQ(series(many), series(one));
}

// Prometheus' own linter has nothing to say but that the reference's assignment counter lacks _total.
TEST(ExporterTest, PromtoolFindsNothingElse) {
  if (access("/usr/bin/promtool", X_OK) != 0) GTEST_SKIP() << "/usr/bin/promtool (package prometheus) is not installed";
  char name[] = "/tmp/podfence-metrics.XXXXXX";
  const int fd = mkstemp(name);
  ASSERT_GE(fd, 0);
  const std::string text = Render(OnePod(true));
  ASSERT_EQ(write(fd, text.data(), text.size()), static_cast<ssize_t>(text.size()));
  close(fd);
  FILE* promtool = popen(Cat("/usr/bin/promtool check metrics <", name, " 2>&1").c_str(), "r");
  ASSERT_NE(promtool, nullptr);
  std::string said;
  char buffer[4096];
  while (const size_t count = fread(buffer, 1, sizeof buffer, promtool)) said.append(buffer, count);
  pclose(promtool);
  unlink(name);
  EXPECT_EQ(said, "resource_manager_container_assignments counter metrics should have \"_total\" suffix\n");
}

}  // namespace
}  // namespace podfence
