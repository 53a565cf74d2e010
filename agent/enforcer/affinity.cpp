#include "agent/enforcer/affinity.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "agent/cgroup/unique_fd.h"
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

absl::StatusOr<TaskStat> TaskStat::Parse(std::string_view text) {
  // The name, in parentheses, may hold anything: the fields are counted from its end. Field 3 is the state.
  const size_t name_end = text.rfind(')');
  TaskStat stat;
  if (name_end != std::string_view::npos) {
    const std::vector<absl::string_view> fields =
        absl::StrSplit(ToAbsl(text.substr(name_end + 1)), ' ', absl::SkipEmpty());
    if (fields.size() > 19 && absl::SimpleAtoi(fields[6], &stat.flags) &&
        absl::SimpleAtoi(fields[19], &stat.start_time)) {
      return stat;
    }
  }
  return absl::DataLossError(Cat("\"", text.substr(0, 80), "\" is no line of /proc/PID/stat"));
}

absl::StatusOr<TaskStat> ReadTaskStat(const std::string& proc_root, pid_t tid) {
  const std::string path = Cat(proc_root, "/", tid, "/stat");
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return absl::ErrnoToStatus(errno, Cat("open ", path));
  std::array<char, 2048> buffer;
  const ssize_t count = read(fd.get(), buffer.data(), buffer.size());
  if (count < 0) return absl::ErrnoToStatus(errno, Cat("read ", path));
  return TaskStat::Parse({buffer.data(), static_cast<size_t>(count)});
}

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
