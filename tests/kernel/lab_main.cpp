// main of the programs that change the machine they run on (mounts, cgroups, /etc, what a kubelet keeps): only in the
// lab guest, which is thrown away.

#include <gtest/gtest.h>
#include <unistd.h>

#include <iostream>

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (access("/lab/job", F_OK) != 0 && !GTEST_FLAG_GET(list_tests)) {
    std::cerr << argv[0] << ": changes the machine it runs on, and this is not the lab guest: nothing is done. Run it "
              << "there, with scripts/lab run (tests/kernel/README.md), a node's with tests/e2e/run --lab\n";
    return 2;
  }
  return RUN_ALL_TESTS();
}
