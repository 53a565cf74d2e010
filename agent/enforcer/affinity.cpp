#include "agent/enforcer/affinity.h"

#include <sched.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "agent/core/text.h"

namespace podfence {
namespace {

constexpr size_t kMaskWords = (CpuSet::kMaxCpu + 1) / 64;
using Mask = std::array<uint64_t, kMaskWords>;

CpuSet FromWords(const Mask& mask) {
  CpuSet cpus;
  for (size_t word = 0; word < kMaskWords; ++word) {
    for (uint64_t rest = mask[word]; rest != 0; rest &= rest - 1) {
      cpus.Add(static_cast<int>(word * 64) + std::countr_zero(rest));
    }
  }
  return cpus;
}

absl::Status TaskError(int error, std::string_view what, pid_t tid) {
  return absl::ErrnoToStatus(error, Cat(what, " of task ", tid));
}

}  // namespace

absl::StatusOr<CpuSet> GetAffinity(pid_t tid) {
  Mask mask{};
  if (sched_getaffinity(tid, sizeof(mask), reinterpret_cast<cpu_set_t*>(mask.data())) != 0) {
    return TaskError(errno, "read affinity", tid);
  }
  return FromWords(mask);
}

absl::Status SetAffinity(pid_t tid, const CpuSet& cpus) {
  Mask mask{};
  for (int cpu : cpus) mask[static_cast<size_t>(cpu) / 64] |= uint64_t{1} << (cpu % 64);
  if (sched_setaffinity(tid, sizeof(mask), reinterpret_cast<const cpu_set_t*>(mask.data())) != 0) {
    return TaskError(errno, Cat("set affinity ", cpus.ToString()), tid);
  }
  return absl::OkStatus();
}

absl::StatusOr<CpuSet> ParseHexMask(std::string_view text) {
  const absl::string_view trimmed = absl::StripAsciiWhitespace(ToAbsl(text));
  std::vector<absl::string_view> words = absl::StrSplit(trimmed, ',');
  std::reverse(words.begin(), words.end());
  Mask mask{};
  for (size_t word = 0; word < words.size(); ++word) {
    uint32_t bits = 0;
    if (words[word].size() > 8 || !absl::SimpleHexAtoi(words[word], &bits) || (bits != 0 && word / 2 >= kMaskWords)) {
      return absl::InvalidArgumentError(Cat("\"", text, "\" is no mask of CPUs (words of 8 hex digits)"));
    }
    if (bits != 0) mask[word / 2] |= uint64_t{bits} << (word % 2 * 32);
  }
  return FromWords(mask);
}

std::string ToHexMask(const CpuSet& cpus) {
  std::vector<uint32_t> words(1, 0);
  for (int cpu : cpus) {
    const size_t word = static_cast<size_t>(cpu) / 32;
    if (words.size() <= word) words.resize(word + 1, 0);
    words[word] |= uint32_t{1} << (cpu % 32);
  }
  std::string text = absl::StrFormat("%x", words.back());
  for (size_t i = words.size() - 1; i > 0; --i) absl::StrAppendFormat(&text, ",%08x", words[i - 1]);
  return text;
}

CpuSet Confine(const CpuSet& original, const CpuSet& limit) {
  CpuSet kept = original & limit;
  return kept.empty() ? limit : kept;
}

}  // namespace podfence
