#include "agent/topology/machine_json.h"

#include <gtest/gtest.h>

#include "agent/core/text.h"

namespace podfence {
namespace {

using nlohmann::json;

json TwoNodes() {
  return json::parse(R"([
    {"id": 0, "memory": 68719476736, "distances": [10, 21],
     "cores": [{"socket": 0, "l3": 0, "threads": [0, 4]}, {"socket": 0, "threads": [1]}],
     "hugepages": [{"page_size_kb": 2048, "count": 7}, {"page_size_kb": 1048576, "count": 0}]},
    {"id": 3, "memory": 18446744073709551615, "distances": [21, 10], "cores": []}])");
}

TEST(MachineJson, ReadsWhatItWrites) {
  const absl::StatusOr<Machine> machine = MachineFromJson(TwoNodes(), "two");
  ASSERT_TRUE(machine.ok()) << machine.status();
  EXPECT_EQ(machine->name, "two");
  ASSERT_EQ(machine->nodes.size(), 2u);
  EXPECT_EQ(machine->nodes[0].memory, 68719476736u);
  EXPECT_EQ(machine->nodes[0].cores[0], (Core{0, 0, {0, 4}}));
  EXPECT_EQ(machine->nodes[0].cores[1].l3, std::nullopt);
  EXPECT_EQ(machine->nodes[0].hugepages, (std::vector<HugePages>{{2048, 7}, {1048576, 0}}));
  EXPECT_EQ(machine->nodes[1].id, 3);
  EXPECT_TRUE(machine->nodes[1].cores.empty());

  EXPECT_EQ(json(MachineToJson(*machine)), TwoNodes());
  const absl::StatusOr<Machine> again = MachineFromJson(MachineToJson(*machine));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->nodes, machine->nodes);
}

TEST(MachineJson, PutsCoresThreadsAndPoolsInOrder) {
  json topology = TwoNodes();
  topology[0]["cores"] = json::parse(R"([{"socket": 1, "threads": [9, 2]}, {"socket": 0, "threads": [4, 0]}])");
  std::swap(topology[0]["hugepages"][0], topology[0]["hugepages"][1]);
  topology[1].erase("cores");
  const absl::StatusOr<Machine> machine = MachineFromJson(topology);
  ASSERT_TRUE(machine.ok()) << machine.status();
  EXPECT_EQ(machine->nodes[0].cores, (std::vector<Core>{{0, {}, {0, 4}}, {1, {}, {2, 9}}}));
  EXPECT_EQ(machine->nodes[0].hugepages.front().page_size_kb, 2048u);
}

struct Broken {
  const char* pointer;  // JSON pointer of what is replaced; a null value there removes it
  json value;
  const char* message;
};

class BrokenMachineJson : public ::testing::TestWithParam<Broken> {};

TEST_P(BrokenMachineJson, NamesThePlace) {
  json topology = TwoNodes();
  const json::json_pointer pointer(GetParam().pointer);
  if (GetParam().value.is_null()) {
    topology[pointer.parent_pointer()].erase(pointer.back());
  } else {
    topology[pointer] = GetParam().value;
  }
  const absl::StatusOr<Machine> machine = MachineFromJson(topology);
  EXPECT_EQ(machine.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ToStd(machine.status().message()), GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(
    All, BrokenMachineJson,
    ::testing::Values(Broken{"", json::object(), "topology: expected an array, got object"},
                      Broken{"", json::array(), "topology: machine has no NUMA node"},
                      Broken{"/1", 4, "topology[1]: expected an object, got number"},
                      Broken{"/1/id", nullptr, "topology[1]: lacks id"},
                      Broken{"/1/id", 64, "topology[1].id: 64 exceeds 63"},
                      Broken{"/1/id", 0, "topology: NUMA node 0: ids must ascend and lie in 0 to 63"},
                      Broken{"/0/memory", -1, "topology[0].memory: is negative"},
                      Broken{"/0/memory", 1.5, "topology[0].memory: expected a whole number, got number"},
                      Broken{"/0/distances", nullptr, "topology[0]: lacks distances"},
                      Broken{"/0/distances", {10}, "topology: NUMA node 0: has 1 distances for 2 nodes"},
                      Broken{"/0/distances/1", "x", "topology[0].distances[1]: expected a whole number, got string"},
                      Broken{"/0/cores", 3, "topology[0].cores: expected an array, got number"},
                      Broken{"/0/cores/1/threads", nullptr, "topology[0].cores[1]: lacks threads"},
                      Broken{"/0/cores/1/threads", json::array(), "topology[0].cores[1].threads: is empty"},
                      Broken{"/0/cores/1/threads/0", 8192, "topology[0].cores[1].threads[0]: 8192 exceeds 8191"},
                      Broken{"/0/cores/1/threads/0", 4, "topology: CPU 4 is on two cores"},
                      Broken{"/0/cores/1/socket", nullptr, "topology[0].cores[1]: lacks socket"},
                      Broken{"/0/cores/0/l3", 4294967296, "topology[0].cores[0].l3: 4294967296 exceeds 2147483647"},
                      Broken{"/0/hugepages/1/count", nullptr, "topology[0].hugepages[1]: lacks count"},
                      Broken{"/0/hugepages/1/page_size_kb", 2048, "topology[0].hugepages: has page_size_kb 2048 twice"},
                      Broken{"/0/hugepages/0/count", 9007199254740992,
                             "topology[0].hugepages[0]: holds more than 2^64 bytes"}));

}  // namespace
}  // namespace podfence
