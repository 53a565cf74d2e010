#include "agent/kubelet_state/kubelet_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "agent/core/text.h"

namespace podfence {
namespace {

using testing::HasSubstr;

constexpr char kData[] = PODFENCE_SOURCE_DIR "/tests/data/kubelet_state/";
constexpr char kPod[] = "7d1f1c3e-0b1c-4a53-9d6c-0d6b0f7a3c11";
constexpr char kStaticPod[] = "0fca9a5eab5a2a0d5c1f6c3f0e0a8d90";

std::string ReadData(const std::string& name) {
  std::ifstream file(kData + name);
  std::stringstream text;
  text << file.rdbuf();
  EXPECT_TRUE(file.good()) << name;
  return text.str();
}

std::string Replaced(std::string text, std::string_view from, std::string_view to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  if (at != std::string::npos) text.replace(at, from.size(), to);
  return text;
}

CpuSet Cpus(std::string_view list) { return CpuSet::Parse(list).value(); }

KubeletCpuState ExpectedCpus() {
  return {.policy = "static",
          .shared = Cpus("0-1,5-11,13,18-23"),
          .containers = {{kPod, {{"app", Cpus("2-3")}, {"log", Cpus("4")}, {"warm-up", Cpus("2-3")}}},
                         {kStaticPod, {{"db", Cpus("12,14-17")}}}},
          .pods = {}};
}

TEST(CpuManagerStateTest, EveryVersionSaysTheSame) {
  KubeletCpuState expected = ExpectedCpus();
  const absl::StatusOr<KubeletCpuState> v2 = ParseCpuManagerState(ReadData("cpu_v2"), "cpu_v2");
  ASSERT_TRUE(v2.ok()) << v2.status();
  EXPECT_EQ(*v2, expected);
  expected.shared = Cpus("0-1,5-9,11,13,18-23");
  expected.pods = {{kPod, Cpus("2-4,10")}};
  for (const char* name : {"cpu_v3", "cpu_v4"}) {
    const absl::StatusOr<KubeletCpuState> state = ParseCpuManagerState(ReadData(name), name);
    ASSERT_TRUE(state.ok()) << state.status();
    EXPECT_EQ(*state, expected) << name;
  }
}

TEST(CpuManagerStateTest, WithoutAPolicyThereIsNothingInIt) {
  const absl::StatusOr<KubeletCpuState> state = ParseCpuManagerState(ReadData("cpu_v2_empty"), "cpu_v2_empty");
  ASSERT_TRUE(state.ok()) << state.status();
  EXPECT_EQ(*state, (KubeletCpuState{.policy = "none", .shared = {}, .containers = {}, .pods = {}}));
}

TEST(MemoryManagerStateTest, EveryVersionSaysTheSame) {
  const std::vector<MemoryBlock> app = {{NumaSet{1, 2}, "memory", uint64_t{4} << 30},
                                        {NumaSet{1}, "hugepages-2Mi", uint64_t{4} << 20}};
  for (const char* name : {"memory_v1", "memory_v2", "memory_v3"}) {
    const absl::StatusOr<KubeletMemoryState> state = ParseMemoryManagerState(ReadData(name), name);
    ASSERT_TRUE(state.ok()) << state.status();
    EXPECT_EQ(state->policy, "Static");
    ASSERT_EQ(state->nodes.size(), 11u);
    EXPECT_EQ(state->nodes[2].id, 2) << "by number, not by text: 10 is the last";
    const NumaNodeMemory node = {.id = 1,
                                 .assignments = 2,
                                 .cells = NumaSet{1, 2},
                                 .memory = {{"hugepages-2Mi", 64 << 20, 60 << 20, 4 << 20},
                                            {"memory", uint64_t{8} << 30, uint64_t{5} << 30, uint64_t{3} << 30}}};
    EXPECT_EQ(state->nodes[1], node);
    EXPECT_EQ(state->containers.at(kPod).at("app"), app);
    EXPECT_EQ(state->containers.at(kPod).at("log")[0].bytes, ~uint64_t{0});
    EXPECT_EQ(state->pods.size(), std::string_view(name) == "memory_v1" ? 0u : 1u);
  }
  EXPECT_EQ(ParseMemoryManagerState(ReadData("memory_v1_empty"), "")->policy, "None");
}

TEST(KubeletStateTest, WhatAKubeletWroteByItself) {
  constexpr char kWorkload[] = "568ef9dbec29d307b8f88b5b3da1ba6e";
  const absl::StatusOr<KubeletCpuState> cpu = ParseCpuManagerState(ReadData("cpu_kubelet"), "cpu_kubelet");
  ASSERT_TRUE(cpu.ok()) << cpu.status();
  EXPECT_EQ(*cpu, (KubeletCpuState{.policy = "static",
                                   .shared = Cpus("0,4-23"),
                                   .containers = {{kWorkload, {{"ml-training", Cpus("1-3")}}}},
                                   .pods = {}}));
  const absl::StatusOr<KubeletMemoryState> memory =
      ParseMemoryManagerState(ReadData("memory_kubelet"), "memory_kubelet");
  ASSERT_TRUE(memory.ok()) << memory.status();
  const std::vector<MemoryBlock> blocks = {{NumaSet{0}, "memory", 6442450944}};
  EXPECT_EQ(memory->containers.at(kWorkload).at("ml-training"), blocks);
  ASSERT_EQ(memory->nodes.size(), 2u);
  EXPECT_EQ(memory->nodes[0].memory[1].free, 18172096512u);
}

TEST(KubeletStateTest, AnyOtherContentHasAnotherChecksum) {
  const auto expect_damaged = [](const absl::Status& status, const std::string& name) {
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << name << ": " << status;
    EXPECT_THAT(status.message(), HasSubstr(name)) << status;
  };
  for (const std::string name : {"cpu_v2", "cpu_v3", "cpu_v4"}) {
    // The last one: of version 4 what older kubelets read stands before the data.
    std::string text = ReadData(name);
    text.replace(text.rfind("12,14-17"), 8, "12,14-16");
    expect_damaged(ParseCpuManagerState(text, name).status(), name);
  }
  for (const std::string name : {"memory_v1", "memory_v2", "memory_v3"}) {
    std::string text = ReadData(name);
    text.replace(text.rfind("4294967296"), 10, "4294967297");
    expect_damaged(ParseMemoryManagerState(text, name).status(), name);
  }
  // A version of podEntries without them is another text, and so are some fewer of them.
  expect_damaged(
      ParseCpuManagerState(Replaced(ReadData("cpu_v3"), R"("cpuSet":"2-4,10")", R"("cpuSet":"2-4")"), "v3").status(),
      "v3");
}

// Whatever happens to one byte of a file, nothing else is read from it than what the kubelet wrote.
TEST(KubeletStateTest, NoDamageGoesUnseen) {
  const auto damage = [](const std::string& name, size_t step, auto parse) {
    const std::string good = ReadData(name);
    const auto state = parse(good, name);
    ASSERT_TRUE(state.ok()) << state.status();
    for (size_t at = 0; at < good.size(); at += step) {
      for (const char flipped : {'\x01', '\x80'}) {
        std::string bad = good;
        bad[at] = static_cast<char>(bad[at] ^ flipped);
        const auto other = parse(bad, name);
        EXPECT_TRUE(!other.ok() || *other == *state) << name << " at " << at << ": " << bad;
      }
      EXPECT_FALSE(parse(good.substr(0, at), name).ok()) << name << " cut at " << at;
    }
  };
  for (const char* name : {"cpu_v2", "cpu_v3", "cpu_v4", "cpu_kubelet"}) damage(name, 1, ParseCpuManagerState);
  for (const char* name : {"memory_v1", "memory_v2", "memory_v3"}) damage(name, 7, ParseMemoryManagerState);
}

TEST(KubeletStateTest, AFileWithoutAChecksumIsTaken) {
  const std::string text = R"({"policyName": "static", "defaultCpuSet": "0-3", "checksum": 0})";
  EXPECT_EQ(ParseCpuManagerState(text, "")->shared, Cpus("0-3"));
  EXPECT_EQ(ParseCpuManagerState(R"({"policyName": "none", "defaultCpuSet": ""})", "")->policy, "none");
}

TEST(KubeletStateTest, EveryDefectIsSaidWithItsPlace) {
  const auto cpu = [](std::string_view text) {
    return std::string(ParseCpuManagerState(text, "S").status().message());
  };
  EXPECT_THAT(cpu(""), HasSubstr("S"));
  EXPECT_THAT(cpu("{"), HasSubstr("S:1:"));
  EXPECT_THAT(cpu("[]"), HasSubstr("S:1:1: is a list, must be a map"));
  EXPECT_THAT(cpu("{}"), HasSubstr("has no policyName"));
  EXPECT_THAT(cpu(R"({"policyName": "static", "defaultCpuSet": "3-x"})"), HasSubstr("S:1:47: defaultCpuSet: "));
  EXPECT_THAT(cpu(R"({"policyName": "static", "entries": {"u": {"c": 3}}})"), HasSubstr("entries.u.c: is a number"));
  // Version 1, before Kubernetes 1.18, had containers' ids there.
  EXPECT_THAT(cpu(R"({"policyName": "static", "entries": {"id": "0-3"}})"), HasSubstr("entries.id: is a string"));
  EXPECT_THAT(cpu(R"({"data": "{\"policyName\":1}", "dataChecksum": 1})"), HasSubstr("dataChecksum"));
  EXPECT_THAT(cpu(R"({"policyName": "static", "checksum": -1})"), HasSubstr("whole number"));
  const auto memory = [](std::string_view text) {
    return std::string(ParseMemoryManagerState(text, "S").status().message());
  };
  EXPECT_THAT(memory(R"({"policyName": "Static", "machineState": {"64": {}}})"), HasSubstr("machineState.64: is no"));
  EXPECT_THAT(memory(R"({"policyName": "Static", "entries": {"u": {"c": [{"type": "memory", "size": 1.5}]}}})"),
              HasSubstr("entries.u.c[0].size"));
}

class ReadKubeletStateTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "kubelet_state_XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }
  std::string directory_;
};

TEST_F(ReadKubeletStateTest, NeedsBothFiles) {
  absl::StatusOr<KubeletState> state = ReadKubeletState(directory_);
  EXPECT_EQ(state.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(state.status().message(), HasSubstr("cpu_manager_state: is not there"));
  std::filesystem::copy(Cat(kData, "cpu_v4"), Cat(directory_, "/cpu_manager_state"));
  state = ReadKubeletState(directory_);
  EXPECT_THAT(state.status().message(), HasSubstr("memory_manager_state: is not there"));
  std::filesystem::copy(Cat(kData, "memory_v3"), Cat(directory_, "/memory_manager_state"));
  state = ReadKubeletState(directory_);
  ASSERT_TRUE(state.ok()) << state.status();
  EXPECT_EQ(state->cpu.policy, "static");
  EXPECT_EQ(state->memory.policy, "Static");
}

}  // namespace
}  // namespace podfence
