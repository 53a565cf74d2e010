#pragma once

// Looks at a fake node that must change nothing of it, and the findings that they give.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <utility>

#include "agent/enforcer/inspect.h"
#include "agent/enforcer/plan.h"
#include "tests/unit/cgroup/cgroup_tree.h"

namespace podfence {

// What a look gives, a function without arguments that returns StatusOr<Inspection>.
template <typename Take>
Inspection LookWithoutTouching(const CgroupTree& tree, Take take) {
  const std::map<std::string, std::string> before = tree.Contents();
  absl::StatusOr<Inspection> inspection = take();
  EXPECT_EQ(tree.Contents(), before) << "a look writes nothing";
  EXPECT_TRUE(inspection.ok()) << inspection.status();
  return inspection.ok() ? *std::move(inspection) : Inspection();
}

// The CPUs of the fence at a path.
inline std::string CpusOf(const Plan& plan, const std::string& path) {
  const Fence* fence = plan.Find(path);
  return fence == nullptr ? "no such fence" : fence->cpus.ToString();
}

// A finding that nothing was done about.
inline auto IsFinding(FindingKind kind, const std::string& container, const std::string& file,
                      const std::string& expected, const std::string& found) {
  using testing::Field;
  return testing::AllOf(Field(&Finding::kind, kind), Field(&Finding::container, container), Field(&Finding::file, file),
                        Field(&Finding::expected, expected), Field(&Finding::found, found),
                        Field(&Finding::repaired, false));
}

}  // namespace podfence
