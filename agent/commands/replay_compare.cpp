#include "agent/commands/replay_compare.h"

#include <algorithm>

#include "agent/core/text.h"

namespace podfence {
namespace {

using nlohmann::json;

constexpr const char* kAbsent = "absent";

std::string Show(const json& value) { return value.is_string() ? value.get<std::string>() : value.dump(); }

// Lists of plain values read better whole.
bool IsPlainList(const json& value) {
  return value.is_array() && std::ranges::none_of(value, [](const json& element) { return element.is_structured(); });
}

}  // namespace

void CompareJson(const json& expected, const json& got, const std::string& path, std::vector<Difference>& differences) {
  if (expected == got) return;
  const auto add = [&](const std::string& where, const std::string& want, const std::string& have) {
    differences.push_back({.scenario = {}, .op = {}, .path = where, .expected = want, .got = have});
  };
  if (expected.is_object() && got.is_object()) {
    for (const auto& [key, value] : expected.items()) {
      const std::string where = path.empty() ? key : Cat(path, ".", key);
      const auto other = got.find(key);
      if (other == got.end()) {
        add(where, Show(value), kAbsent);
      } else {
        CompareJson(value, *other, where, differences);
      }
    }
    for (const auto& [key, value] : got.items()) {
      if (!expected.contains(key)) add(path.empty() ? key : Cat(path, ".", key), kAbsent, Show(value));
    }
    return;
  }
  if (expected.is_array() && got.is_array() && !(IsPlainList(expected) && IsPlainList(got))) {
    for (size_t i = 0; i < std::max(expected.size(), got.size()); ++i) {
      const std::string where = Cat(path, "[", i, "]");
      if (i >= expected.size()) {
        add(where, kAbsent, Show(got[i]));
      } else if (i >= got.size()) {
        add(where, Show(expected[i]), kAbsent);
      } else {
        CompareJson(expected[i], got[i], where, differences);
      }
    }
    return;
  }
  add(path, Show(expected), Show(got));
}

}  // namespace podfence
