#include "agent/state/store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "agent/allocator/allocator.h"
#include "agent/core/text.h"
#include "agent/pods/defaults.h"
#include "agent/pods/manifest.h"
#include "agent/state/adopt.h"
#include "agent/state/state_json.h"

namespace podfence {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

constexpr uint64_t kGib = uint64_t{1} << 30;

Machine TwoNodes() {
  Machine machine;
  int cpu = 0;
  for (int id = 0; id < 2; ++id) {
    NumaNode& node = machine.nodes.emplace_back();
    node.id = id;
    node.memory = 64 * kGib;
    node.distances = id == 0 ? std::vector<uint64_t>{10, 21} : std::vector<uint64_t>{21, 10};
    for (int core = 0; core < 8; ++core) {
      node.cores.push_back({.socket = id, .l3 = id, .threads = {cpu, cpu + 1}});
      cpu += 2;
    }
  }
  return machine;
}

Allocator MakeAllocator(Machine machine, const std::string& scope, int reserved_cpus = 2) {
  Policy policy;
  policy.topology_manager_scope = scope;
  policy.reserved = {{"cpu", Quantity::FromInt(reserved_cpus)}, {"memory", *Quantity::Parse("1Gi")}};
  policy.reserved_memory = {{.numa_node = 0, .limits = {{"memory", *Quantity::Parse("1Gi")}}}};
  absl::StatusOr<Allocator> allocator = Allocator::Create(std::move(machine), std::move(policy));
  EXPECT_TRUE(allocator.ok()) << allocator.status();
  return *std::move(allocator);
}

// The node with both example pods on it.
NodeState Decided(const Allocator& allocator) {
  NodeState state = allocator.InitialState();
  for (const char* name : {"ml-workload.yaml", "tightly-coupled-database.yaml"}) {
    std::ifstream file(Cat(PODFENCE_SOURCE_DIR, "/config/examples/pods/", name));
    std::stringstream text;
    text << file.rdbuf();
    absl::StatusOr<std::vector<Pod>> pods = LoadManifests(text.str(), name);
    EXPECT_TRUE(pods.ok()) << pods.status();
    for (Pod& pod : *pods) {
      DefaultPod(pod);
      const AdmitResult result = allocator.Admit(state, std::make_shared<const Pod>(std::move(pod)));
      EXPECT_TRUE(result.admitted());
      Apply(std::get<StateChange>(result.outcome), state);
    }
  }
  state.ended.insert("an-ended-pod");
  return state;
}

class StoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/podfence-store.XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    directory_ = name;
  }
  void TearDown() override { fs::remove_all(directory_); }

  StateStore Open() {
    absl::StatusOr<StateStore> store = StateStore::Open(directory_);
    EXPECT_TRUE(store.ok()) << store.status();
    return *std::move(store);
  }
  std::string File() const { return directory_ + "/state.json"; }
  std::string Text() const {
    std::ifstream file(File());
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  }
  void Write(const std::string& text) { std::ofstream(File(), std::ios::trunc) << text; }

  std::string directory_;
};

TEST_F(StoreTest, WhatIsCommittedIsLoadedUnderBothScopes) {
  for (const char* scope : {"pod", "container"}) {
    const NodeState state = Decided(MakeAllocator(TwoNodes(), scope));
    StateStore store = Open();
    ASSERT_TRUE(store.Commit(state).ok());
    const absl::StatusOr<LoadedState> loaded = store.Load();
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_TRUE(loaded->found);
    EXPECT_TRUE(loaded->damage.empty());
    EXPECT_EQ(StateToJson(loaded->state), StateToJson(state));
    EXPECT_EQ(loaded->state.shared_cpus, state.shared_cpus);
    EXPECT_EQ(loaded->state.nodes, state.nodes);
    EXPECT_EQ(loaded->state.ended, state.ended);
    EXPECT_EQ(loaded->state.pods.begin()->second.pod->qos, QosClass::kGuaranteed);
  }
}

TEST_F(StoreTest, ACheckpointOfBeforeTheBootIsTold) {
  StateStore store = Open();
  ASSERT_TRUE(store.Commit(Decided(MakeAllocator(TwoNodes(), "pod"))).ok());
  EXPECT_FALSE(store.Load()->rebooted);
  std::filesystem::last_write_time(File(), std::filesystem::file_time_type::clock::now() - std::chrono::years(5));
  EXPECT_TRUE(store.Load()->rebooted);
}

TEST_F(StoreTest, NothingCommittedIsNoDamage) {
  const absl::StatusOr<LoadedState> loaded = Open().Load();
  ASSERT_TRUE(loaded.ok());
  EXPECT_FALSE(loaded->found);
  EXPECT_TRUE(loaded->damage.empty());
}

TEST_F(StoreTest, ATemporaryLeftByACrashDoesNotMatter) {
  StateStore store = Open();
  const NodeState state = Decided(MakeAllocator(TwoNodes(), "pod"));
  ASSERT_TRUE(store.Commit(state).ok());
  std::ofstream(directory_ + "/state.json.new") << "half a";
  EXPECT_EQ(StateToJson(store.Load()->state), StateToJson(state));
  EXPECT_TRUE(store.Commit(state).ok());
}

TEST_F(StoreTest, OneAgentANode) {
  const StateStore store = Open();
  const absl::StatusOr<StateStore> second = StateStore::Open(directory_);
  EXPECT_TRUE(absl::IsFailedPrecondition(second.status()));
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(Cat("process ", getpid())));
}

TEST_F(StoreTest, ACommitThatCannotBeWrittenIsAnErrorAndTheFormerOneStands) {
  StateStore store = Open();
  const NodeState state = Decided(MakeAllocator(TwoNodes(), "pod"));
  ASSERT_TRUE(store.Commit(state).ok());
  fs::create_directory(directory_ + "/state.json.new");
  EXPECT_FALSE(store.Commit(NodeState()).ok());
  fs::remove(directory_ + "/state.json.new");
  EXPECT_EQ(StateToJson(store.Load()->state), StateToJson(state));
}

TEST_F(StoreTest, AnyTextOfAPodCanBeKept) {
  NodeState state = Decided(MakeAllocator(TwoNodes(), "pod"));
  auto pod = std::make_shared<Pod>(*state.pods.begin()->second.pod);
  pod->containers[0].image = "i\xff";
  state.pods.begin()->second.pod = pod;
  StateStore store = Open();
  ASSERT_TRUE(store.Commit(state).ok());
  EXPECT_EQ(store.Load()->state.pods.size(), 2u);
}

TEST_F(StoreTest, EveryDamageIsSetAsideAndNamed) {
  StateStore store = Open();
  ASSERT_TRUE(store.Commit(Decided(MakeAllocator(TwoNodes(), "pod"))).ok());
  const std::string good = Text();
  std::string flipped = good;
  flipped[good.size() / 2] ^= 1;
  const std::pair<std::string, const char*> damages[] = {
      {"", "is not a podfence checkpoint"},
      {"no header", "is not a podfence checkpoint"},
      {good.substr(0, good.size() - 7), "bytes instead of"},
      {flipped, "does not match its checksum"},
      {"podfence-state 9" + good.substr(16), "has version 9"},
  };
  int number = 0;
  for (const auto& [text, why] : damages) {
    Write(text);
    const absl::StatusOr<LoadedState> loaded = store.Load();
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_FALSE(loaded->found);
    EXPECT_THAT(loaded->damage, HasSubstr(why));
    EXPECT_EQ(loaded->set_aside, Cat(directory_, "/state.damaged-", ++number));
    EXPECT_TRUE(fs::exists(loaded->set_aside));
    EXPECT_FALSE(fs::exists(File()));
  }
}

TEST(StateJsonTest, ErrorsNameThePlace) {
  nlohmann::json json = StateToJson(Decided(MakeAllocator(TwoNodes(), "pod")));
  const std::string uid = json["pods"].begin().key();
  const auto message = [](const nlohmann::json& document) {
    return std::string(StateFromJson(document).status().message());
  };
  nlohmann::json bad = json;
  bad["sharedCpus"] = "3-1";
  EXPECT_THAT(message(bad), HasSubstr("sharedCpus: "));
  bad = json;
  bad["pods"][uid]["containers"][0]["cpus"] = 7;
  EXPECT_THAT(message(bad), HasSubstr(Cat("pods.", uid, ".containers[0].cpus: must be a string")));
  bad = json;
  bad["pods"][uid]["containers"].erase(0);
  EXPECT_THAT(message(bad), HasSubstr(Cat("pods.", uid, ".containers")));
  bad = json;
  bad["nodes"][1]["memory"][0]["free"] = -1;
  EXPECT_THAT(message(bad), HasSubstr("nodes[1].memory[0].free: must be a whole number"));
  bad = json;
  bad["pods"]["another"] = bad["pods"][uid];
  EXPECT_THAT(message(bad), HasSubstr("another UID"));
  EXPECT_THAT(message(nlohmann::json::array()), HasSubstr("must be an object"));
}

// From what each pod's containers carry along the node's whole state comes back.
TEST(RestoreTest, WhatPodsHoldRebuildsTheState) {
  for (const std::string scope : {"pod", "container"}) {
    const Allocator allocator = MakeAllocator(TwoNodes(), scope);
    NodeState decided = Decided(allocator);
    decided.ended.clear();  // of these nothing runs
    ASSERT_EQ(decided.pods.size(), 2u);
    NodeState rebuilt = allocator.InitialState();
    for (const auto& [uid, held] : decided.pods) {
      absl::StatusOr<PodAllocation> carried =
          AllocationFromJson(nlohmann::json::parse(AllocationToJson(held).dump()), held.pod);
      ASSERT_TRUE(carried.ok()) << carried.status();
      const absl::StatusOr<StateChange> change = allocator.Restore(rebuilt, *carried);
      ASSERT_TRUE(change.ok()) << change.status();
      Apply(*change, rebuilt);
      EXPECT_EQ(allocator.Restore(rebuilt, *carried).status().code(), absl::StatusCode::kAlreadyExists);
    }
    EXPECT_EQ(StateToJson(rebuilt), StateToJson(decided)) << scope;
  }
}

TEST(RestoreTest, WhatIsNotFreeIsNotTaken) {
  const Allocator allocator = MakeAllocator(TwoNodes(), "container");
  const NodeState decided = Decided(allocator);
  PodAllocation again = decided.pods.begin()->second;
  auto other = std::make_shared<Pod>(*again.pod);
  other->uid = "another";
  again.pod = other;
  const absl::Status cpus = allocator.Restore(decided, again).status();
  EXPECT_EQ(cpus.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(cpus.message()), HasSubstr("which are not free now"));
  // The same with free CPUs and too much memory.
  NodeState empty = allocator.InitialState();
  bool grown = false;
  for (ContainerAllocation& container : again.containers) {
    for (MemoryBlock& block : container.memory) {
      block.bytes = 100 * kGib;
      grown = true;
    }
  }
  ASSERT_TRUE(grown);
  const absl::Status memory = allocator.Restore(empty, again).status();
  EXPECT_EQ(memory.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(memory.message()), HasSubstr("bytes of memory on NUMA nodes"));
}

TEST(RestoreTest, WhatIsNoDecisionIsAnErrorWithItsPlace) {
  const Allocator allocator = MakeAllocator(TwoNodes(), "container");
  const PodAllocation held = Decided(allocator).pods.begin()->second;
  const auto message = [&](const nlohmann::json& json) {
    return std::string(AllocationFromJson(json, held.pod).status().message());
  };
  nlohmann::json json = AllocationToJson(held);
  json["containers"][0]["cpus"] = "3-1";
  EXPECT_THAT(message(json), HasSubstr("decision.containers[0].cpus"));
  json = AllocationToJson(held);
  json["containers"].erase(0);
  EXPECT_THAT(message(json), HasSubstr("in the pod's order"));
  EXPECT_THAT(message(nlohmann::json("text")), HasSubstr("decision: must be an object"));
}

TEST(AdoptTest, TheSameMachineAndPolicyChangeNothing) {
  for (const char* scope : {"pod", "container"}) {
    const Allocator allocator = MakeAllocator(TwoNodes(), scope);
    const NodeState state = Decided(allocator);
    const AdoptedState adopted =
        AdoptState(state, allocator.InitialState(), allocator.machine(), allocator.reserved_cpus());
    EXPECT_EQ(StateToJson(adopted.state), StateToJson(state));
    EXPECT_TRUE(adopted.misfits.empty());
  }
}

TEST(AdoptTest, WhatNoLongerFitsStaysAndIsNamed) {
  const NodeState state = Decided(MakeAllocator(TwoNodes(), "pod"));
  const Allocator strict = MakeAllocator(TwoNodes(), "pod", /*reserved_cpus=*/4);
  const AdoptedState kept = AdoptState(state, strict.InitialState(), strict.machine(), strict.reserved_cpus());
  EXPECT_THAT(kept.misfits, ::testing::Contains(HasSubstr("which are reserved now")));
  Machine shrunk = TwoNodes();
  shrunk.nodes[0].cores.resize(3);
  const Allocator smaller = MakeAllocator(shrunk, "pod");
  const AdoptedState adopted = AdoptState(state, smaller.InitialState(), smaller.machine(), smaller.reserved_cpus());
  EXPECT_THAT(adopted.misfits, ::testing::Contains(HasSubstr("does not have online now")));
  EXPECT_EQ(adopted.state.pods.size(), 2u);
  for (const auto& [uid, allocation] : adopted.state.pods) {
    EXPECT_FALSE(adopted.state.shared_cpus.Intersects(*allocation.cpus)) << "no second owner";
  }
  Machine one_node = TwoNodes();
  one_node.nodes.pop_back();
  one_node.nodes[0].distances = {10};
  const Allocator half = MakeAllocator(one_node, "pod");
  const AdoptedState lost = AdoptState(state, half.InitialState(), half.machine(), half.reserved_cpus());
  EXPECT_EQ(lost.state.pods.size(), 2u);
}

}  // namespace
}  // namespace podfence
