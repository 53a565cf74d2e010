// How long the kernel's verifier had to look at each program before it took it: what grows here grows towards its
// limit, and mostly what a program costs at each run. Held against tests/data/bpf-instructions.tsv.
#include <bpf/bpf.h>
#include <gtest/gtest.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cstdio>
#include <map>
#include <sstream>
#include <string>

#include "agent/cgroup/unique_fd.h"
#include "agent/verifier/move_probe.h"
#include "agent/verifier/sched_probe.h"
#include "agent/verifier/verifier.h"
#include "bpf_instructions.h"

namespace podfence {
namespace {

constexpr char kRecord[] =
    "for k in 6.1 6.12; do PODFENCE_LAB_KERNEL=$k scripts/lab run small -- build/kernel_instructions | "
    "grep -aP '^6[.]\\d+\\t'; done | tr -d '\\r' >tests/data/bpf-instructions.tsv";

// "6.12", of "6.12.117+deb12-amd64".
std::string Kernel() {
  utsname name = {};
  uname(&name);
  const std::string release = name.release;
  return release.substr(0, release.find('.', release.find('.') + 1));
}

std::map<std::string, uint64_t> Recorded(const std::string& kernel) {
  std::map<std::string, uint64_t> recorded;
  std::istringstream lines(kBpfInstructions);
  std::string of;
  std::string program;
  uint64_t count = 0;
  while (lines >> of >> program >> count) {
    if (of == kernel) recorded[program] = count;
  }
  return recorded;
}

// Of all programs that are loaded; the kernel keeps 15 bytes of a name.
std::map<std::string, uint64_t> Loaded() {
  std::map<std::string, uint64_t> loaded;
  for (__u32 id = 0; bpf_prog_get_next_id(id, &id) == 0;) {
    const UniqueFd fd(bpf_prog_get_fd_by_id(id));
    bpf_prog_info info = {};
    __u32 length = sizeof(info);
    if (!fd || bpf_obj_get_info_by_fd(fd.get(), &info, &length) != 0) continue;
    loaded[info.name] = info.verified_insns;
  }
  return loaded;
}

TEST(InstructionsTest, NoProgramGrowsUnseen) {
  // What another test loaded is freed a moment after its end.
  for (int i = 0; i < 1000 && !Loaded().empty(); ++i) usleep(10000);
  ASSERT_TRUE(Loaded().empty()) << "others' programs are loaded here; run it in a guest of its own";
  const auto verifier = Verifier::Start({.max_fences = 64, .measure_interrupts = true});
  ASSERT_TRUE(verifier.ok()) << verifier.status();
  // What takes its place on kernels that cannot trace functions; the tables' program is the same.
  const auto tables = SchedProbe::Start({.cpus = 8, .max_fences = 64}, true, 65536);
  ASSERT_TRUE(tables.ok()) << tables.status();
  const auto fallback = MoveProbe::Start(MoveMeans::kTracepoint, **tables);
  ASSERT_TRUE(fallback.ok()) << fallback.status();
  const std::string kernel = Kernel();
  const std::map<std::string, uint64_t> recorded = Recorded(kernel);
  const std::map<std::string, uint64_t> loaded = Loaded();
  for (const auto& [program, count] : loaded) {
    printf("%s\t%s\t%lu\n", kernel.c_str(), program.c_str(), count);
    const auto before = recorded.find(program);
    if (before == recorded.end()) {
      ADD_FAILURE() << program << " is not recorded; record with: " << kRecord;
      continue;
    }
    EXPECT_LE(count * 10, before->second * 11) << program << " grew from " << before->second << " to " << count
                                               << " instructions, by more than 10%. If it must be: " << kRecord;
  }
  for (const auto& [program, count] : recorded) {
    EXPECT_TRUE(loaded.contains(program)) << program << " is recorded and not loaded; record with: " << kRecord;
  }
}

}  // namespace
}  // namespace podfence
