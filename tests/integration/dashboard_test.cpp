// The dashboard and the rules, held against a real Prometheus that has scraped what an agent and a kubelet export.

#include <yaml-cpp/yaml.h>

#include <regex>
#include <set>
#include <sstream>
#include <vector>

#include "tests/integration/prometheus.h"

namespace podfence {
namespace {

std::string Read(const std::string& path) {
  std::ifstream file(Cat(PODFENCE_SOURCE_DIR, "/", path));
  EXPECT_TRUE(file) << path;
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

struct Expression {
  std::string where;
  std::string query;
};

std::vector<Expression> DashboardQueries() {
  std::vector<Expression> queries;
  const nlohmann::json dashboard = nlohmann::json::parse(Read("metrics/dashboards/podfence.json"));
  for (const nlohmann::json& panel : dashboard["panels"]) {
    for (const nlohmann::json& target : panel.value("targets", nlohmann::json::array())) {
      queries.push_back({panel["title"], target["expr"]});
    }
  }
  return queries;
}

std::vector<Expression> RuleQueries() {
  std::vector<Expression> queries;
  for (const char* file : {"metrics/rules/alerts.yaml", "metrics/rules/recording.yaml"}) {
    for (const YAML::Node& group : YAML::Load(Read(file))["groups"]) {
      for (const YAML::Node& rule : group["rules"]) {
        const YAML::Node name = rule["alert"] ? rule["alert"] : rule["record"];
        queries.push_back({name.as<std::string>(), rule["expr"].as<std::string>()});
      }
    }
  }
  return queries;
}

// Every name in a query that is a metric of ours or the kubelet's; names of recording rules have a colon.
std::set<std::string> Metrics(const std::string& query) {
  static const std::regex name("[a-z_:][a-z0-9_:]*");
  std::set<std::string> names;
  for (std::sregex_iterator match(query.begin(), query.end(), name), end; match != end; ++match) {
    const std::string word = match->str();
    if (word.find(':') != std::string::npos) continue;
    for (const char* prefix : {"podfence_", "resource_manager_", "kubelet_", "process_"}) {
      if (word.starts_with(prefix)) names.insert(word);
    }
  }
  return names;
}

std::string Substitute(std::string text, const std::string& what, const std::string& with) {
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + with.size())) {
    text.replace(at, what.size(), with);
  }
  return text;
}

class DashboardTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (access(kPrometheus, X_OK) != 0) GTEST_SKIP() << kPrometheus << " (package prometheus) is not installed";
    const std::string scrape = Read("tests/data/metrics.golden") + Read("tests/data/metrics.kubelet");
    server_.Get("/metrics", [scrape](const httplib::Request&, httplib::Response& response) {
      response.set_content(scrape, "text/plain; version=0.0.4");
    });
    const int port = server_.bind_to_any_port("127.0.0.1");
    ASSERT_GT(port, 0);
    thread_ = std::thread([this] { server_.listen_after_bind(); });
    prometheus_ = std::make_unique<Prometheus>(port);
    // rate() needs two scrapes.
    for (int tries = 0; tries < 120 && prometheus_->Query("count_over_time(up[1m])") < 3; ++tries) {
      std::this_thread::sleep_for(std::chrono::milliseconds(500));
    }
  }
  void TearDown() override {
    server_.stop();
    if (thread_.joinable()) thread_.join();
  }

  void CheckNames(const Expression& expression) {
    for (const std::string& name : Metrics(expression.query)) {
      const nlohmann::json answer = prometheus_->Ask(name);
      EXPECT_FALSE(answer["data"]["result"].empty()) << expression.where << ": there is no metric " << name;
    }
  }

  httplib::Server server_;
  std::thread thread_;
  std::unique_ptr<Prometheus> prometheus_;
};

TEST_F(DashboardTest, EveryQueryIsValidAndHasAnAnswer) {
  const std::vector<Expression> queries = DashboardQueries();
  EXPECT_GT(queries.size(), 30U);
  for (const Expression& expression : queries) {
    std::string query = Substitute(expression.query, "$__rate_interval", "1m");
    query = Substitute(Substitute(query, "$__range", "1m"), "$node", "127.0.0.1.*");
    EXPECT_EQ(query.find('$'), std::string::npos) << expression.where << ": unknown variable in " << query;
    // What only shows trouble is empty without it.
    const bool filters = query.ends_with("> 0") || query.ends_with("== 0");
    nlohmann::json answer = prometheus_->Ask(query);
    ASSERT_EQ(answer.value("status", ""), "success") << expression.where << ": " << query << ": " << answer.dump();
    // After a scrape that took too long there is no answer until the next.
    for (int i = 0; i < 20 && !filters && answer["data"]["result"].empty(); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(500));
      answer = prometheus_->Ask(query);
    }
    EXPECT_TRUE(filters || !answer["data"]["result"].empty()) << expression.where << ": no answer to " << query;
    CheckNames(expression);
  }
}

TEST_F(DashboardTest, TheNodeVariableFindsTheNode) {
  const nlohmann::json dashboard = nlohmann::json::parse(Read("metrics/dashboards/podfence.json"));
  const std::string definition = dashboard["templating"]["list"][1]["definition"];
  std::smatch parts;
  ASSERT_TRUE(std::regex_match(definition, parts, std::regex("label_values\\((.+), ([a-z_]+)\\)"))) << definition;
  const nlohmann::json answer = prometheus_->Ask(parts[1]);
  ASSERT_EQ(answer["data"]["result"].size(), 1U) << definition;
  EXPECT_TRUE(answer["data"]["result"][0]["metric"].contains(parts[2].str())) << definition;
}

TEST_F(DashboardTest, RulesNameMetricsThatThereAre) {
  const std::vector<Expression> queries = RuleQueries();
  EXPECT_GT(queries.size(), 20U);
  for (const Expression& expression : queries) CheckNames(expression);
}

TEST(DashboardFile, PanelsHaveIdsOfTheirOwnAndDoNotOverlap) {
  const nlohmann::json dashboard = nlohmann::json::parse(Read("metrics/dashboards/podfence.json"));
  EXPECT_EQ(dashboard["uid"], "podfence");
  std::set<int> ids;
  std::set<std::pair<int, int>> cells;
  for (const nlohmann::json& panel : dashboard["panels"]) {
    EXPECT_TRUE(ids.insert(panel["id"].get<int>()).second) << panel["title"];
    const nlohmann::json& place = panel["gridPos"];
    EXPECT_LE(place["x"].get<int>() + place["w"].get<int>(), 24) << panel["title"];
    for (int x = 0; x < place["w"].get<int>(); ++x) {
      for (int y = 0; y < place["h"].get<int>(); ++y) {
        EXPECT_TRUE(cells.insert({place["x"].get<int>() + x, place["y"].get<int>() + y}).second) << panel["title"];
      }
    }
    if (panel["type"] == "row") continue;
    EXPECT_EQ(panel["datasource"]["uid"], "${datasource}") << panel["title"];
  }
}

}  // namespace
}  // namespace podfence
