#include "tests/fuzz/corpus.h"

namespace podfence {
namespace {

TEST(FilesCorpusTest, EveryInputIsReadOrRefusedWithAReason) { EXPECT_GT(TakeCorpus("files"), 15); }

}  // namespace
}  // namespace podfence
