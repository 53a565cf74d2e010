#include "tests/fuzz/corpus.h"

namespace podfence {
namespace {

TEST(NriCorpusTest, EveryInputIsTaken) { EXPECT_GT(TakeCorpus("nri"), 20); }

}  // namespace
}  // namespace podfence
