#include "agent/commands/decision_view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>
#include <string>

#include "tests/unit/commands/shown.h"

namespace podfence {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

json Refusal() {
  return json::parse(R"({"pod": "default/wide", "admitted": false, "reason": "TopologyAffinityError",
    "message": "container a asks for 20 exclusive CPUs: too wide. Free: NUMA node 0 12 of 15 CPUs. Ask for 12.",
    "remedy": "Ask for 12", "asked": {"cpu": 20},
    "nodes": [{"numa": 0, "type": "cpu", "free": 12, "capacity": 15}]})");
}

TEST(DecisionView, ARefusalGivesItsFactsOnce) {
  EXPECT_EQ(RenderDecision(Refusal(), kPlain80),
            "default/wide: does not fit: TopologyAffinityError\n"
            "  container a asks for 20 exclusive CPUs: too wide.\n"
            "  Resource  NUMA node  Asked  Free  Allocatable\n"
            "  CPUs              0     20    12           15\n"
            "  Ask for 12.\n");
}

TEST(DecisionView, AnAdmissionShowsWhoseCpusTheyAre) {
  const json decision = json::parse(R"({"pod": "default/db", "admitted": true, "cpus": "2-5", "memory": [],
    "containers": [
      {"name": "main", "cpus": "2-4", "cpu_isolation": "container",
       "memory": [{"numa": [0, 1], "type": "memory", "size": 1073741824}]},
      {"name": "side", "cpus": "5", "cpu_isolation": "pod", "memory": []},
      {"name": "rest", "cpu_isolation": "host", "memory": []}]})");
  const std::string text = RenderDecision(decision, kPlain80);
  EXPECT_THAT(text, AllOf(HasSubstr("main             2-4     its own     1 GiB on NUMA 0-1"),
                          HasSubstr("side             5       the pod's   any"),
                          HasSubstr("rest             shared  the node's  any")));
}

TEST(DecisionView, ManyHintsAreCountedAndThePreferredOnesShownFirst) {
  json hints = json::array();
  for (int node = 0; node < 60; ++node) hints.push_back({{"numa", {node}}, {"preferred", node >= 50}});
  const json step = {{"container", "c"},
                     {"hints",
                      {{{"resource", "cpu"}, {"no_preference", false}, {"total", 4000000000000}, {"hints", hints}},
                       {{"resource", "gpu"}, {"no_preference", true}, {"total", 0}, {"hints", json::array()}},
                       {{"resource", "memory"}, {"no_preference", false}, {"total", 0}, {"hints", json::array()}}}},
                     {"merged", {50}},
                     {"preferred", true},
                     {"admitted", true},
                     {"notes", {"took CPUs 1-3 of NUMA node 50: whole cores"}}};
  const std::string text = RenderTrace({{"steps", {step}}}, kPlain80);
  EXPECT_THAT(text, AllOf(HasSubstr("4000000000000"), HasSubstr("{50} {51}"), HasSubstr("and 2 more"),
                          HasSubstr("and 42 more"), HasSubstr("no preference"), HasSubstr("no set of NUMA nodes"),
                          HasSubstr("Merged: NUMA 50, preferred"), HasSubstr("took CPUs 1-3")));
  EXPECT_LT(std::ranges::count(text, '\n'), 20);
}

TEST(DecisionView, ForeignShapesAndControlCharactersDoNoHarm) {
  const json odd = json::parse(R"({"pod": "a\u001b[31m", "admitted": true, "containers": [1, "x", {"name": 7}],
    "memory": {"a": 1}, "cpus": [], "steps": [3, {"hints": [null], "merged": [-1, 99, "z"], "notes": [5]}]})");
  EXPECT_THAT(RenderDecision(odd, kPlain80), AllOf(HasSubstr("a?[31m"), Not(HasSubstr("\x1b"))));
  EXPECT_THAT(RenderTrace(odd, kPlain80), HasSubstr("any NUMA node"));
  EXPECT_EQ(RenderTrace(json(3), kPlain80), "");
  EXPECT_THAT(RenderDecision(json(), kPlain80), HasSubstr("does not fit"));
}

}  // namespace
}  // namespace podfence
