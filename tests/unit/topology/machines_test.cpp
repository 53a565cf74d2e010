// The 18 machines of hwloc's own tests, against what the kubelet's topology reader was fed for them. They are other
// people's files and not part of this project: the directory is PODFENCE_MACHINES, by default beside the sources.

#include <gtest/gtest.h>
#include <stdlib.h>
#include <zlib.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "agent/topology/machine_json.h"
#include "agent/topology/topology.h"

namespace podfence {
namespace {

using nlohmann::json;

std::string ReadGzip(const std::string& path) {
  std::string text;
  gzFile file = gzopen(path.c_str(), "rb");
  if (file == nullptr) return text;
  char buffer[65536];
  for (int got = 0; (got = gzread(file, buffer, sizeof(buffer))) > 0;) text.append(buffer, static_cast<size_t>(got));
  gzclose(file);
  return text;
}

TEST(Machines, EqualTheVectors) {
  const char* chosen = getenv("PODFENCE_MACHINES");
  const std::filesystem::path directory = chosen == nullptr ? PODFENCE_MACHINES : chosen;
  if (!std::filesystem::is_directory(directory)) {
    ASSERT_EQ(chosen, nullptr) << "PODFENCE_MACHINES names no directory: " << directory;
    GTEST_SKIP() << "hwloc's test machines are not here: no directory " << directory
                 << "; set PODFENCE_MACHINES to a directory of them";
  }
  const std::filesystem::path vectors = directory.parent_path() / "vectors" / "machines.jsonl.gz";
  const std::string text = ReadGzip(vectors.string());
  ASSERT_FALSE(text.empty()) << "cannot read " << vectors;

  int machines = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const json vector = json::parse(text.substr(begin, end - begin));
    begin = end + 1;
    const std::string name = vector["machine"].get<std::string>();
    std::string notes;
    LoadOptions options;
    options.notes = &notes;
    const absl::StatusOr<Machine> machine = LoadMachine((directory / name).string(), options);
    ASSERT_TRUE(machine.ok()) << machine.status();
    EXPECT_EQ(json(MachineToJson(*machine)), vector["topology"]) << name;
    EXPECT_EQ(notes, "") << name;
    ++machines;
  }
  EXPECT_EQ(machines, 18);
}

}  // namespace
}  // namespace podfence
