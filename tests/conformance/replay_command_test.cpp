#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "agent/commands/commands.h"

namespace podfence {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr const char* kMerge =
    R"({"name":"m-1","distances":[[10,20],[20,10]],"policy":"restricted","preferClosestNuma":false,"providers":[)"
    R"([{"resource":"cpu","hints":[{"numa":[1],"preferred":true},{"numa":[0,1],"preferred":false}]}],[]],)"
    R"("expect":{"numa":[1],"preferred":true,"admit":true,"reference_ns":1000}})";

constexpr const char* kScenario =
    R"({"name":"s-1","topology":[{"id":0,"memory":8589934592,"distances":[10],"cores":[{"socket":0,"threads":[0]},)"
    R"({"socket":0,"threads":[1]}]}],"config":{"cpuManagerPolicy":"static","memoryManagerPolicy":"None",)"
    R"("topologyManagerPolicy":"none","reserved":{"cpu":"1"}},"ops":[{"op":"admit","pod":{"metadata":{"name":"p",)"
    R"("uid":"u"},"spec":{"containers":[{"name":"c","image":"i","resources":{"limits":{"cpu":"1","memory":"1Gi"}}}]}}},)"
    R"({"op":"remove","uid":"u"}],"expect":{"start":{"shared_cpus":"0-1"},"steps":[{"admitted":true,)"
    R"("qos":"Guaranteed","metrics":{"resource_manager_allocations{resource_name=cpu,source=node}":1,)"
    R"("resource_manager_container_assignments{assignment_type=node_exclusive,resource_name=cpu}":1},)"
    R"("state":{"shared_cpus":"0","cpus":{"u":{"c":"1"}},"containers":{"u":{"c":{"cpus":"1","cpu_isolation":)"
    R"("container","memory_isolation":"host"}}}},"reference_ns":5000},{"state":{"shared_cpus":"0-1"}}]}})";

std::string Replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

class ReplayCommand : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = std::filesystem::path(testing::TempDir()) /
                 (std::string("replay-") + testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::create_directories(directory_);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string Write(const std::string& name, const std::string& text) {
    std::string path = directory_ / name;
    std::ofstream(path) << text;
    return path;
  }
  int Run(const std::vector<std::string>& arguments) {
    out_.str("");
    err_.str("");
    CLI::App app;
    Invocation invocation{out_, err_};
    AddReplayCommand(app, invocation);
    std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
    reversed.emplace_back("replay");
    app.parse(reversed);
    return invocation.exit_code;
  }
  std::string out() const { return out_.str(); }
  std::string err() const { return err_.str(); }

 private:
  std::filesystem::path directory_;
  std::ostringstream out_;
  std::ostringstream err_;
};

TEST_F(ReplayCommand, AgreementEndsWithZero) {
  EXPECT_EQ(Run({Write("s.jsonl", std::string(kScenario) + "\n\n")}), 0) << out() << err();
  EXPECT_EQ(out(), "replayed 1 scenarios, 2 steps: 0 mismatches\n");
  EXPECT_EQ(Run({Write("m.jsonl", std::string(kMerge) + "\n")}), 0) << out() << err();
  EXPECT_EQ(out(), "replayed 1 merges: 0 mismatches\n");
}

TEST_F(ReplayCommand, ADifferenceIsNamedWithItsPlace) {
  const std::string changed = Replaced(kScenario, R"("u":{"c":"1"})", R"("u":{"c":"0"})");
  EXPECT_EQ(Run({Write("s.jsonl", changed)}), 1);
  EXPECT_EQ(out(),
            "s-1: op 0 admit p: state.cpus.u.c\n  expected 0\n  got      1\n"
            "replayed 1 scenarios, 2 steps: 1 mismatches\n");
  EXPECT_EQ(Run({Write("s.jsonl", Replaced(kScenario, R"("admitted":true)", R"("admitted":false)"))}), 1);
  EXPECT_THAT(out(), HasSubstr("op 0 admit p: admitted\n  expected false\n  got      true\n"));
  EXPECT_EQ(Run({Write("m.jsonl", Replaced(kMerge, R"("numa":[1],"preferred":true,"admit")",
                                           R"("numa":[0],"preferred":true,"admit")"))}),
            1);
  EXPECT_THAT(out(), StartsWith("m-1: op merge: numa\n  expected [0]\n  got      [1]\n"));
}

TEST_F(ReplayCommand, AConfigurationThatShouldBeRefusedAndIsNot) {
  std::string changed = Replaced(kScenario, R"({"start":{"shared_cpus":"0-1"},)", R"({"configError":"no",)");
  EXPECT_EQ(Run({Write("s.jsonl", changed)}), 1);
  EXPECT_THAT(out(), HasSubstr("s-1: op configuration: configError\n  expected refused\n  got      accepted\n"));
  changed = Replaced(changed, R"("cpuManagerPolicy":"static")", R"("cpuManagerPolicy":"dynamic")");
  EXPECT_EQ(Run({Write("s.jsonl", changed)}), 0) << out();
}

TEST_F(ReplayCommand, GzippedFilesAreReadToo) {
  const std::string path = Write("m.jsonl.gz", "");
  gzFile file = gzopen(path.c_str(), "wb");
  ASSERT_NE(file, nullptr);
  gzputs(file, kMerge);
  gzclose(file);
  EXPECT_EQ(Run({path, Write("s.jsonl", kScenario)}), 0) << err();
  EXPECT_EQ(out(), "replayed 1 scenarios, 2 steps, 1 merges: 0 mismatches\n");
}

TEST_F(ReplayCommand, BadInputIsNamedByFileLineAndField) {
  const auto complaint = [&](const std::string& text) {
    const std::string path = Write("bad.jsonl", text);
    EXPECT_EQ(Run({path}), 2);
    EXPECT_THAT(err(), StartsWith("podfence replay: " + path));
    return err().substr(err().find("bad.jsonl") + 9);
  };
  EXPECT_EQ(complaint("{"), ": line 1: is not JSON\n");
  EXPECT_EQ(complaint("\n[]"), ": line 2: expected an object, got array\n");
  EXPECT_EQ(complaint("{}"), ": line 1: has neither ops (a scenario) nor providers (a merge)\n");
  EXPECT_THAT(complaint(Replaced(kScenario, R"("op":"remove")", R"("op":"kill")")),
              EndsWith("ops[1].op: expected admit, start or remove, got \"kill\"\n"));
  EXPECT_THAT(complaint(Replaced(kScenario, R"("cpu":"1"})", R"("cpu":"1x"})")), HasSubstr("config.reserved.cpu: "));
  EXPECT_THAT(complaint(Replaced(kScenario, R"("threads":[1])", R"("threads":["1"])")),
              HasSubstr("topology[0].cores[1].threads[0]: "));
  EXPECT_THAT(complaint(Replaced(kMerge, R"("numa":[1],"preferred":true})", R"("numa":[2],"preferred":true})")),
              HasSubstr("providers[0][0].hints[0].numa: expected node numbers below 2, got 2"));
  EXPECT_THAT(complaint(Replaced(kMerge, R"("preferClosestNuma":false,)", "")),
              HasSubstr("preferClosestNuma: is missing"));
  EXPECT_EQ(Run({"/nonexistent/v.jsonl"}), 2);
  EXPECT_EQ(err(), "podfence replay: cannot open /nonexistent/v.jsonl: No such file or directory\n");
}

TEST_F(ReplayCommand, OneScenarioStepByStep) {
  const std::string path = Write("s.jsonl", kScenario);
  EXPECT_EQ(Run({path, "--scenario", "s-1"}), 0);
  EXPECT_THAT(out(), HasSubstr("op 0 admit p\n"));
  EXPECT_THAT(out(), HasSubstr("  cpus.u: {\"c\":\"1\"}\n"));
  EXPECT_THAT(out(), HasSubstr("op 1 remove u\n"));
  EXPECT_EQ(Run({path, "--scenario", "s-2"}), 2);
  EXPECT_EQ(err(), "podfence replay: no vector is named s-2\n");
}

TEST_F(ReplayCommand, TheSameAsJson) {
  EXPECT_EQ(Run({Write("s.jsonl", Replaced(kScenario, R"("u":{"c":"1"})", R"("u":{"c":"0"})")), "--output", "json",
                 "--timing", "--scenario", "s-1"}),
            1);
  const nlohmann::json report = nlohmann::json::parse(out());
  EXPECT_EQ(report["steps"], 2);
  EXPECT_EQ(report["mismatches"], 1);
  EXPECT_EQ(report["differences"][0]["path"], "state.cpus.u.c");
  EXPECT_EQ(report["timing"]["admit"]["mean"]["reference_us"], 5.0);
  EXPECT_GT(report["timing"]["admit"]["max"]["ratio"], 0);
  ASSERT_EQ(report["trace"].size(), 3u);
  EXPECT_EQ(report["trace"][1]["admitted"], true);
}

TEST_F(ReplayCommand, TimesStandBesideTheReferences) {
  EXPECT_EQ(Run({Write("m.jsonl", kMerge), "--timing"}), 0);
  EXPECT_THAT(out(), StartsWith("merge"));
  EXPECT_THAT(out(), HasSubstr("p99"));
}

}  // namespace
}  // namespace podfence
