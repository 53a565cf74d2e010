#include "agent/commands/topology.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <sstream>

#include "agent/commands/commands.h"
#include "agent/topology/topology.h"
#include "tests/unit/commands/shown.h"

namespace podfence {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

Result Call(const std::vector<std::string>& arguments) {
  std::ostringstream out;
  std::ostringstream err;
  Invocation invocation{out, err};
  CLI::App app;
  AddTopologyCommand(app, invocation);
  AddVersionCommand(app, invocation);
  app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  return {invocation.exit_code, out.str(), err.str()};
}

TEST(Topology, ShowsNodesCoresAndDistances) {
  const absl::StatusOr<Machine> machine = LoadMachine("package:2 [numa(memory=24GiB)] l3:1 core:2 pu:2");
  ASSERT_TRUE(machine.ok()) << machine.status();
  Machine shown = *machine;
  shown.name = "two";
  shown.offline = CpuSet{8, 9};
  shown.nodes[1].hugepages = {{2048, 512}, {1048576, 4}};
  EXPECT_EQ(RenderTopology(shown, {80, false}),
            "two: 8 CPUs, 4 cores, 2 NUMA nodes, 2 sockets\n"
            "Offline CPUs: 8-9\n"
            "\n"
            "NUMA node  Memory  Huge pages              Socket  L3  Cores  CPUs\n"
            "        0  24 GiB  -                       0       0       2  0-3\n"
            "        1  24 GiB  512 x 2 MiB, 4 x 1 GiB  1       1       2  4-7\n"
            "\n"
            "NUMA node  Socket  L3  Cores, as their CPUs\n"
            "        0       0   0  0+1 2+3\n"
            "        1       1   1  4+5 6+7\n"
            "\n"
            "Distances\n"
            "from/to  0  1\n"
            "      0 10 20\n"
            "      1 20 10\n");
}

TEST(Topology, JsonIsTheTopologyArrayAlone) {
  const Result result = Call({"topology", "--machine", "numa:2 core:2 pu:1", "--output", "json"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, IsEmpty());
  EXPECT_EQ(nlohmann::json::parse(result.out), nlohmann::json::parse(R"([
    {"id": 0, "memory": 1073741824, "distances": [10, 20],
     "cores": [{"socket": 0, "threads": [0]}, {"socket": 0, "threads": [1]}]},
    {"id": 1, "memory": 1073741824, "distances": [20, 10],
     "cores": [{"socket": 0, "threads": [2]}, {"socket": 0, "threads": [3]}]}])"));
}

TEST(Topology, BadInputIsExitCode2) {
  const Result result = Call({"topology", "--machine", "./none.xml"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.out, IsEmpty());
  EXPECT_THAT(result.err, HasSubstr("podfence topology: machine \"./none.xml\", read as an hwloc XML file: open: "));
}

TEST(Version, NamesLibrariesAndKernel) {
  const Result result = Call({"version", "--output", "json"});
  EXPECT_EQ(result.exit_code, 0);
  const auto json = nlohmann::json::parse(result.out);
  for (const char* key : {"podfence", "kernel", "libbpf", "hwloc_api", "compiler"}) {
    EXPECT_THAT(json.value(key, ""), Not(IsEmpty())) << key;
  }
  EXPECT_THAT(Call({"version"}).out, HasSubstr("libbpf v1."));
}

}  // namespace
}  // namespace podfence
