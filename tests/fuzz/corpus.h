#pragma once

// A fuzz target's corpus as a unit test, also where there is no fuzzer.

#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace podfence {

// Hands every input of tests/fuzz/NAME_corpus to the target that is linked in; how many there are.
inline int TakeCorpus(const std::string& name) {
  int inputs = 0;
  for (const auto& entry : std::filesystem::directory_iterator(PODFENCE_SOURCE_DIR "/tests/fuzz/" + name + "_corpus")) {
    std::ifstream file(entry.path(), std::ios::binary);
    const std::string input((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    SCOPED_TRACE(entry.path().string());
    EXPECT_EQ(LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size()), 0);
    ++inputs;
  }
  return inputs;
}

}  // namespace podfence
