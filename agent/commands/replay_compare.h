#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace podfence {

// One place where what came out differs from what was recorded.
struct Difference {
  std::string scenario;
  std::string op;    // "3 admit db", "start", "merge"
  std::string path;  // "state.cpus.db.database"
  std::string expected;
  std::string got;  // "absent" where there is nothing
};

// Appends a difference for every leaf under path in which the two disagree.
void CompareJson(const nlohmann::json& expected, const nlohmann::json& got, const std::string& path,
                 std::vector<Difference>& differences);

}  // namespace podfence
