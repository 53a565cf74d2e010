#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>

#include "agent/commands/api_client.h"
#include "agent/commands/commands.h"
#include "agent/commands/status_view.h"
#include "agent/core/text.h"
#include "agent/server/http_server.h"
#include "agent/server/snapshot_json.h"
#include "tests/unit/commands/shown.h"

namespace podfence {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

ContainerView Container(std::string name, std::string assignment, std::string_view cpus, double promised) {
  ContainerView view;
  view.name = std::move(name);
  view.kind = "app";
  view.phase = "running";
  view.assignment = std::move(assignment);
  view.cpus = view.effective_cpus = Cpus(cpus);
  view.mems = NumaSet{0};
  view.promised_cpus = promised;
  return view;
}

// A machine of 8 CPUs with one pod: an exclusive container and a sidecar.
Snapshot Example() {
  Snapshot snapshot;
  snapshot.version = "0.1.0";
  snapshot.mode = "local";
  snapshot.started = 1000;
  snapshot.time = 1190;
  snapshot.monotonic = 500;
  snapshot.machine.name = "test";
  NumaNode node{0, uint64_t{8} << 30, {10}, {}, {}};
  for (int cpu = 0; cpu < 4; ++cpu) node.cores.push_back({0, 0, {cpu, cpu + 4}});
  snapshot.machine.nodes.push_back(node);

  const auto pod = std::make_shared<Pod>();
  pod->uid = "db";
  pod->name = "database";
  pod->init_containers.resize(1);
  pod->init_containers[0].name = "exporter";
  pod->init_containers[0].restart_policy = RestartPolicy::kAlways;
  pod->containers.resize(1);
  pod->containers[0].name = "postgres";
  PodAllocation allocation;
  allocation.pod = pod;
  allocation.cpus = Cpus("1-2,5-6");
  allocation.containers.resize(2);
  allocation.containers[0] = {"exporter", Cpus("6"), {}, Isolation::kPod, Isolation::kHost};
  allocation.containers[1] = {"postgres", Cpus("1-2,5"), {}, Isolation::kContainer, Isolation::kHost};
  snapshot.state.pods["db"] = allocation;
  snapshot.state.shared_cpus = Cpus("0,3-4,7");

  ContainerView exporter = Container("exporter", "pod_shared", "6", 1);
  ContainerView postgres = Container("postgres", "pod_exclusive", "1-2,5", 3);
  postgres.cpu_seconds = 300;
  postgres.throttling = {{"/podfence/pod-db/postgres", false, 0, 0, 0},
                         {"/podfence/pod-db", false, 0, 0, 0},
                         {"/podfence", false, 0, 0, 0}};
  exporter.throttling = postgres.throttling;
  exporter.throttling[0] = {"/podfence/pod-db/exporter", true, 90, 4, 0.25};
  snapshot.pods = {{"db", {exporter, postgres}}};
  snapshot.decisions = {1, 0};
  return snapshot;
}

TEST(StatusView, HeadlineIsQuietWhenAllIsWell) {
  EXPECT_EQ(RenderHeadline(Example(), kPlain80),
            "podfence 0.1.0 (local), up 3 min: 1 pod, 2 containers, 1 admitted, 0 rejected\n");
}

TEST(StatusView, HeadlineNamesWhatMustBeLookedAt) {
  Snapshot snapshot = Example();
  snapshot.findings.resize(2);
  snapshot.findings[0].active = true;
  snapshot.invariant_violations = 2;
  snapshot.commit_errors = 1;
  snapshot.lost_events = 7;
  snapshot.rejected.resize(1);
  snapshot.collectors = {{"cgroup", true, 0.1, 5}, {"verifier", false, 0.1, 3}};
  EXPECT_THAT(RenderHeadline(snapshot, kPlain80), HasSubstr("\n"
                                                            "! 1 finding is active\n"
                                                            "! 1 pod is refused\n"
                                                            "! 2 decisions were withheld: they broke an invariant\n"
                                                            "! 1 commit of the state failed\n"
                                                            "! 7 events of the verifier were lost\n"
                                                            "! collector verifier fails (3 errors)\n"));
}

TEST(StatusView, ContainersSetWhatTheyGotBesideThePromise) {
  const Snapshot before = Example();
  Snapshot now = Example();
  now.monotonic += 10;
  now.pods[0].containers[0].cpu_seconds += 5;
  now.pods[0].containers[1].cpu_seconds += 29.7;
  EXPECT_EQ(RenderContainers(now, &before, kPlain80),
            " Container  CPUs   NUMA        Used  Promise  Throttled  Foreign\n"
            "default/database\n"
            " exporter   6      0           0.50      ≤ 1   250.0 ms        -\n"
            " postgres   1-2,5  0     2.97 99.0%        3          0        0\n");
  EXPECT_THAT(RenderContainers(now, nullptr, kPlain80),
              AllOf(HasSubstr("CPU time"), HasSubstr("329.7 s"), Not(HasSubstr("%"))));
}

TEST(StatusView, RatesNeedTheSameContainerTwice) {
  const Snapshot before = Example();
  Snapshot now = Example();
  now.monotonic += 10;
  now.pods[0].containers[1].cpu_seconds = 3;  // started anew
  EXPECT_THAT(RenderContainers(now, &before, {120, false}), Not(HasSubstr("%")));
  now = Example();  // the very same moment
  EXPECT_THAT(RenderContainers(now, &before, {120, false}), Not(HasSubstr("%")));
}

TEST(StatusView, ContainersShowWhatIsWrong) {
  Snapshot now = Example();
  ContainerView& postgres = now.pods[0].containers[1];
  postgres.effective_cpus = Cpus("0-7");
  postgres.foreign_seconds = {0.5, 0, 0, 0, 0.000004};
  postgres.escaped_seconds = 2;
  postgres.restarts = 1;
  postgres.throttling[1].throttled_periods = 3;
  postgres.throttling[1].throttled_seconds = 1.25;
  postgres.phase = "running";
  now.pods[0].containers[0].phase = "waiting";
  now.pods[0].containers[0].message = "back-off of 10 s";
  EXPECT_EQ(RenderContainers(now, nullptr, kPlain80),
            " Container  CPUs   NUMA  CPU time  Promise  Throttled   Foreign\n"
            "default/database\n"
            " exporter   6      0            -      ≤ 1   250.0 ms         -\n"
            "   waiting: back-off of 10 s\n"
            " postgres   1-2,5  0      300.0 s        3      1.2 s  500.0 ms\n"
            "   running, 1 restart\n"
            "   the kernel lets it run on 0-7\n"
            "   ran outside of its CPUs for 2.0 s\n"
            "   on its CPUs ran: container 500.0 ms, kthread_bound 4 us\n");
}

TEST(StatusView, InterruptsAreShownWhereTheyAreMeasured) {
  Snapshot now = Example();
  EXPECT_THAT(RenderContainers(now, nullptr, kPlain80), Not(HasSubstr("interrupts")));
  now.probes = {{.name = "interrupts", .reason = "off: measureInterrupts", .wanted = false}};
  EXPECT_THAT(RenderProbes(now, kPlain80), HasSubstr("interrupts  off    off: measureInterrupts"));
  now.pods[0].containers[1].irq_seconds = 0.012;
  now.pods[0].containers[1].softirq_seconds = 0;
  EXPECT_THAT(RenderContainers(now, nullptr, kPlain80), HasSubstr("   interrupts on its CPUs: hard 12.0 ms, soft 0\n"));
}

TEST(StatusView, ThrottlingShowsEveryAncestorOnce) {
  EXPECT_EQ(RenderThrottling(Example(), kPlain80),
            "Cgroup        Quota  Periods  Throttled      Time\n"
            "/podfence     none         0          0         0\n"
            "  pod-db      none         0          0         0\n"
            "    exporter  yes         90          4  250.0 ms\n"
            "    postgres  none         0          0         0\n");
  Snapshot many = Example();
  for (int i = 0; i < 50; ++i) {
    many.pods[0].containers[1].throttling.push_back({Cat("/other/", i), false, 0, 0, 0});
  }
  EXPECT_EQ(RenderThrottling(many, kPlain80),
            "Cgroup                     Quota  Periods  Throttled      Time\n"
            "/podfence/pod-db/exporter  yes         90          4  250.0 ms\n"
            "53 cgroups have no quota and no throttling\n");
}

TEST(StatusView, SectionsAreLeftOutWhenEmpty) {
  Snapshot now = Example();
  std::string text = RenderStatus(now, nullptr, kPlain80);
  EXPECT_THAT(text, AllOf(HasSubstr("│ 1 A │"), HasSubstr("\nContainers\n"), HasSubstr("\nCounters\n")));
  EXPECT_THAT(text, AllOf(Not(HasSubstr("\nFindings\n")), Not(HasSubstr("Refused")), Not(HasSubstr("\nProbes\n"))));

  now.findings = {
      {.kind = "drift",
       .pod = "default/database",
       .container = "postgres",
       .message = "cpuset.cpus was 0-7",
       .last_seen = 1100,
       .count = 3},
      {.kind = "intrusion", .message = "stress ran on CPU 1\033[2J", .last_seen = 1190, .count = 9, .active = true}};
  now.verification.reasons = {{"affinities (affinity_sweep)", "no BTF"}};
  now.rejected = {{"default/big", "big.yaml", "TopologyAffinityError", "needs 64 CPUs"}};
  now.probes = {{.name = "sched_switch",
                 .running = true,
                 .hook = "tp_btf",
                 .finds = "foreign time",
                 .runs = 1000,
                 .run_seconds = 0.00002},
                {.name = "affinity", .hook = "fentry", .finds = "who", .reason = "no BTF", .fallback = "sweep: late"}};
  text = RenderStatus(now, nullptr, {120, false});
  EXPECT_THAT(text, HasSubstr("intrusion  node                       stress ran on CPU 1?[2J      9     active\n"
                              "drift      default/database postgres  cpuset.cpus was 0-7          3   90 s ago\n"));
  EXPECT_THAT(text, HasSubstr("\nNot known\nWhat                         Why\n"
                              "affinities (affinity_sweep)  no BTF\n"));
  EXPECT_THAT(text, HasSubstr("default/big  TopologyAffinityError  needs 64 CPUs  big.yaml\n"));
  EXPECT_THAT(text, HasSubstr("sched_switch  up     tp_btf: foreign time       20 ns\n"
                              "affinity      down   no BTF                         -\n"));
  EXPECT_EQ(RenderProbeTable(now, {120, false}),
            "PROBE         HOOK    STATE  FINDS         REASON\n"
            "sched_switch  tp_btf  up     foreign time\n"
            "affinity      fentry  down   who           no BTF; instead sweep: late\n");
}

TEST(StatusView, CountersCarryTheReferencesNames) {
  Snapshot now = Example();
  now.counters.Allocations(Resource::kCpu, Source::kPod) = 3;
  now.counters.Errors(Resource::kMemory, Source::kNode) = 1;
  now.counters.Assignments(Resource::kMemory, Assignment::kPodShared) = 2;
  EXPECT_EQ(RenderCounters(now, kPlain80),
            "Counter                                   Of              cpu  memory\n"
            "resource_manager_allocations_total        pod               3       0\n"
            "resource_manager_allocations_total        node              0       0\n"
            "resource_manager_allocation_errors_total  pod               0       0\n"
            "resource_manager_allocation_errors_total  node              0       1\n"
            "resource_manager_container_assignments    node_exclusive    0       0\n"
            "resource_manager_container_assignments    pod_exclusive     0       0\n"
            "resource_manager_container_assignments    pod_shared        0       2\n");
}

Result Status(std::vector<std::string> arguments) {
  std::ostringstream out;
  std::ostringstream err;
  Invocation invocation{out, err};
  CLI::App app;
  AddStatusCommand(app, invocation);
  arguments.insert(arguments.begin(), "status");
  app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  return {invocation.exit_code, out.str(), err.str()};
}

class StatusCommand : public ::testing::Test {
 protected:
  // An agent's server that shows `snapshot`; its URL.
  std::string Serve(const std::shared_ptr<const Snapshot>& snapshot) {
    ServerSources sources;
    sources.snapshot = [snapshot] { return snapshot; };
    sources.render_metrics = [](const Snapshot&) { return std::string(); };
    sources.explain = [](std::string_view) { return absl::NotFoundError("no such pod"); };
    absl::StatusOr<std::unique_ptr<HttpServer>> server = HttpServer::Start("127.0.0.1", 0, std::move(sources));
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    return Cat("http://127.0.0.1:", server_->port());
  }

  std::unique_ptr<HttpServer> server_;
};

TEST_F(StatusCommand, ShowsARunningAgent) {
  const std::string url = Serve(std::make_shared<Snapshot>(Example()));
  const Result table = Status({"--server", url, "--window", "0"});
  EXPECT_EQ(table.exit_code, 0) << table.err;
  EXPECT_THAT(table.out, AllOf(HasSubstr("podfence 0.1.0 (local)"), HasSubstr("postgres"), HasSubstr("300.0 s")));

  const Result json = Status({"--server", url, "--output", "json"});
  EXPECT_EQ(json.exit_code, 0) << json.err;
  EXPECT_EQ(nlohmann::json::parse(json.out), SnapshotToJson(Example()));
}

TEST_F(StatusCommand, AnActiveFindingIsExitCode1) {
  auto snapshot = std::make_shared<Snapshot>(Example());
  snapshot->findings.resize(1);
  snapshot->findings[0].active = true;
  const std::string url = Serve(snapshot);
  EXPECT_EQ(Status({"--server", url, "--window", "0.01"}).exit_code, 1);
  EXPECT_EQ(Status({"--server", url, "--output", "json"}).exit_code, 1);
}

TEST_F(StatusCommand, AStartingAgentIsSaidToBe) {
  const Result result = Status({"--server", Serve(nullptr)});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("/api/v1/state: the agent answered 503"));
}

TEST_F(StatusCommand, NoAgentIsExitCode2) {
  const std::string url = Serve(std::make_shared<Snapshot>(Example()));
  ASSERT_TRUE(FetchFromAgent(url, "/-/healthy").ok());
  server_.reset();
  const Result result = Status({"--server", url});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.out, IsEmpty());
  EXPECT_THAT(result.err, HasSubstr("is podfence agent running there"));
}

TEST(FetchFromAgent, TakesAServerNotAPath) {
  for (const char* wrong : {"", "127.0.0.1:9551", "ftp://a", "http://", "http://a/b", "http://a?b", "http://a b"}) {
    EXPECT_EQ(FetchFromAgent(wrong, "/").status().code(), absl::StatusCode::kInvalidArgument) << wrong;
  }
}

TEST_F(StatusCommand, ANotFoundStaysOne) {
  const std::string url = Serve(std::make_shared<Snapshot>(Example()));
  const absl::Status status = FetchFromAgent(url, "/api/v1/explain?pod=x").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("no such pod"));
}

}  // namespace
}  // namespace podfence
