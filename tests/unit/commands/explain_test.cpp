#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "agent/commands/commands.h"
#include "agent/core/text.h"
#include "agent/server/http_server.h"

namespace podfence {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class ExplainTest : public testing::Test {
 protected:
  void SetUp() override {
    absl::StatusOr<std::unique_ptr<HttpServer>> server =
        HttpServer::Start("127.0.0.1", 0,
                          {.snapshot = [] { return std::make_shared<const Snapshot>(); },
                           .render_metrics = [](const Snapshot&) { return std::string(); },
                           .explain = [this](std::string_view pod) { return Answer(pod); }});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }

  absl::StatusOr<nlohmann::json> Answer(std::string_view pod) {
    asked_ = pod;
    if (pod == "odd") return nlohmann::json::array();
    if (pod.ends_with("wide")) {
      return nlohmann::json{{"pod", "default/wide"}, {"admitted", false}, {"reason", "TopologyAffinityError"}};
    }
    if (pod != "default/db") return absl::NotFoundError("no such pod; known: default/db");
    return nlohmann::json{{"pod", "default/db"},
                          {"admitted", true},
                          {"steps", {{{"container", "main"}, {"notes", {"took CPUs 1-3: whole cores"}}}}}};
  }

  int Run(const std::string& pod, std::vector<std::string> more = {}) {
    out_.str("");
    err_.str("");
    CLI::App app("test");
    Invocation invocation{.out = out_, .err = err_};
    AddExplainCommand(app, invocation);
    std::vector<std::string> arguments = {"explain", pod, "--server", Cat("http://127.0.0.1:", server_->port())};
    arguments.insert(arguments.end(), more.begin(), more.end());
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
    return invocation.exit_code;
  }

  std::string asked_;
  std::unique_ptr<HttpServer> server_;
  std::ostringstream out_;
  std::ostringstream err_;
};

TEST_F(ExplainTest, ShowsTheTraceOfAnAdmission) {
  EXPECT_EQ(Run("default/db"), 0) << err_.str();
  EXPECT_THAT(out_.str(), AllOf(HasSubstr("default/db: fits"), HasSubstr("Container main"),
                                HasSubstr("took CPUs 1-3: whole cores")));
}

TEST_F(ExplainTest, GivesTheAgentsAnswerAsJson) {
  EXPECT_EQ(Run("default/db", {"--output", "json"}), 0);
  EXPECT_EQ(nlohmann::json::parse(out_.str()), *Answer("default/db"));
}

TEST_F(ExplainTest, ARefusalIsOne) {
  EXPECT_EQ(Run("wide"), 1);
  EXPECT_THAT(out_.str(), HasSubstr("TopologyAffinityError"));
}

TEST_F(ExplainTest, TheNameReachesTheAgentWhole) {
  EXPECT_EQ(Run("a&b=c d%2F#?+wide"), 1);
  EXPECT_EQ(asked_, "a&b=c d%2F#?+wide");
}

TEST_F(ExplainTest, NoAnswerIsTwo) {
  EXPECT_EQ(Run("unknown"), 2);
  EXPECT_THAT(err_.str(), AllOf(HasSubstr("404"), HasSubstr("known: default/db")));
  EXPECT_EQ(Run("odd"), 2);
  EXPECT_THAT(err_.str(), HasSubstr("not a decision"));
  EXPECT_THAT(out_.str(), IsEmpty());
}

}  // namespace
}  // namespace podfence
