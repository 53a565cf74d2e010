// Every input of the corpus of fuzz_files, also where there is no fuzzer (tests/fuzz).

#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace podfence {
namespace {

TEST(FilesCorpusTest, EveryInputIsReadOrRefusedWithAReason) {
  int inputs = 0;
  for (const auto& entry : std::filesystem::directory_iterator(PODFENCE_SOURCE_DIR "/tests/fuzz/files_corpus")) {
    std::ifstream file(entry.path(), std::ios::binary);
    const std::string input((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    SCOPED_TRACE(entry.path().string());
    EXPECT_EQ(LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size()), 0);
    ++inputs;
  }
  EXPECT_GT(inputs, 15);
}

}  // namespace
}  // namespace podfence
